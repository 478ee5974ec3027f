"""What other trainers make of an export, whole and tampered with; that no mask is ignored without a word."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from export_cases import SIZE, build_album, subject
from PIL import Image

from persam_dreambooth.commands.export_masks import export_masks
from persam_dreambooth.commands.verify_export import verify_export
from persam_dreambooth.errors import UserError, user_errors
from persam_dreambooth.masks.export.album import read_album
from persam_dreambooth.masks.export.replay import check, replay
from persam_dreambooth.masks.export.trainers import TRAINERS
from persam_dreambooth.masks.export.writing import export


@pytest.fixture
def exported(tmp_path):
    """Return a function that exports an album of three photos to a trainer."""

    def write(to: str) -> Path:
        export(read_album(*build_album(tmp_path), "a photo of sks cat"), to, tmp_path / "out")
        return tmp_path / "out"

    return write


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text that must be in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def repaint(path: Path, value: int, mode: str = "L") -> None:
    """Paint a picture in one grey."""
    Image.new("L", SIZE[::-1], value).convert(mode).save(path)


@pytest.mark.parametrize("to", TRAINERS)
def test_a_fresh_export_is_seen_as_it_was_meant(exported, to):
    replayed = replay(exported(to), to)
    check(replayed)
    assert [seen.photo.name for seen in replayed.photos] == ["00.png", "01.png", "02.png"]
    for seen in replayed.photos:
        # The subject is one of six latent cells, 64 of 384 pixels, in black and white.
        assert seen.pixel_weight == pytest.approx(1 / 6)
        # Antialiased bilinear reads half a cell beyond each: the white columns weigh 48 of 56 in the first
        # cell and 8 of 64 in the second, and the white rows 48 and 8 of 56.
        blurred = (48 / 56 + 8 / 64) * (48 / 56 + 8 / 56) / 6
        assert seen.cell_weight == pytest.approx(blurred if to == "onetrainer" else 1 / 6)
        assert (seen.outside_share, seen.grey_fraction) == (0, 0)


TAMPERED = {
    "kohya": [
        (lambda out: replace(out / "train.toml", "true", "false"), "train.toml: masked_loss is not true"),
        (
            lambda out: replace(out / "dataset.toml", "conditioning_data_dir", "# "),
            "neither alpha_mask nor conditioning_data_dir is set",
        ),
        (
            lambda out: replace(out / "dataset.toml", "num_repeats", "random_crop = true\nnum_repeats"),
            "random_crop is set beside conditioning_data_dir, which kohya refuses",
        ),
        (
            lambda out: replace(
                out / "dataset.toml", "num_repeats = 1", f'[[datasets.subsets]]\nimage_dir = "{out}"'
            ),
            "only some subsets of a dataset have conditioning_data_dir",
        ),
        (lambda out: (out / "masks/01.png").unlink(), "images/01.png: has no mask, and kohya stops"),
        (lambda out: repaint(out / "masks/99.png", 0), "99.png: belongs to no photo, and kohya stops"),
        (
            lambda out: Image.new("L", SIZE).save(out / "masks/01.png"),
            "01.png: is 16 x 24 and its photo 24 x 16",
        ),
        (lambda out: repaint(out / "masks/01.png", 255), "01.png: is white all over"),
        (lambda out: repaint(out / "masks/01.png", 0), "01.png: is black all over as kohya reads it"),
        (lambda out: shutil.rmtree(out / "masks"), "conditioning_data_dir .*masks: no such folder"),
        (lambda out: (out / "train.toml").unlink(), "train.toml: no such file; the trainer's settings"),
        (
            lambda out: (out / "train.toml").write_text("?"),
            r"train.toml: cannot be read \(.*\); TOML is needed",
        ),
        (
            lambda out: (out / "train.toml").write_text(""),
            "dataset.toml and train.toml: not as kohya needs it",
        ),
        (
            lambda out: [path.unlink() for path in out.rglob("0*")],
            "kohya finds no photos where its settings point",
        ),
    ],
    "kohya-alpha": [
        (lambda out: replace(out / "dataset.toml", "alpha_mask = true", ""), "neither alpha_mask nor"),
        (
            lambda out: repaint(out / "images/01.png", 9, "RGB"),
            "01.png: has no alpha channel, so the whole photo",
        ),
        (lambda out: repaint(out / "images/01.png", 9, "RGBA"), "01.png: is white all over"),
        (
            lambda out: (
                (out / "images/01_16x24_sd.npz").touch(),
                os.utime(out / "images/01_16x24_sd.npz", (1, 1)),
            ),
            "01_16x24_sd.npz: latents cached before 01.png changed",
        ),
    ],
    "onetrainer": [
        (
            lambda out: replace(out / "config.json", '"masked_training": true', '"masked_training": false'),
            "masked_tr",
        ),
        (
            lambda out: (out / "images/00-masklabel.png").unlink(),
            "images/00.png: has no mask, and OneTrainer trains the whole photo, without a message",
        ),
        (
            lambda out: (out / "images/00-masklabel.png").rename(out / "images/00-masklabel.webp"),
            "images/00.png: has no mask",
        ),
        (
            lambda out: Image.new("L", SIZE).save(out / "images/00-masklabel.png"),
            "another shape, which is stretched",
        ),
        (lambda out: repaint(out / "images/00-masklabel.png", 0), "black all over, which makes the loss NaN"),
        (lambda out: (out / "concepts.json").write_text("[{}]"), "config.json: not as onetrainer needs it"),
    ],
    "simpletuner": [
        (
            lambda out: replace(out / "multidatabackend.json", '"conditioning_data": "subject-masks",', ""),
            "subject: conditioning_data is not set, and SimpleTuner trains whole photos",
        ),
        (
            lambda out: replace(
                out / "multidatabackend.json",
                '"conditioning_data": "subject-masks"',
                '"conditioning_data": "no"',
            ),
            "conditioning_data no: no data set has this id",
        ),
        (
            lambda out: replace(
                out / "multidatabackend.json", '"conditioning_type": "mask"', '"conditioning_type": "canny"'
            ),
            "conditioning_data subject-masks is no data set of masks",
        ),
        (
            lambda out: (out / "masks/01.png").rename(out / "masks/01.webp"),
            "01.png: has no mask, and SimpleTuner stops",
        ),
    ],
    "ai-toolkit": [
        (lambda out: replace(out / "config.yaml", "mask_path", "no_path"), "mask_path is not set"),
        (lambda out: replace(out / "config.yaml", "buckets: true", "buckets: false"), "buckets is false"),
        (
            lambda out: replace(out / "config.yaml", "invert_mask: false", "invert_mask: true"),
            "invert_mask is true",
        ),
        (
            lambda out: replace(
                out / "config.yaml", "batch_size: 1", "batch_size: 2\n      inverted_mask_prior: true"
            ),
            "inverted_mask_prior with batch_size 2 uses the first photo's mask",
        ),
        (
            lambda out: repaint(out / "masks/00.jpg", 128),
            "masks/00.png: ignored, because ai-toolkit takes 00.jpg; remove one",
        ),
        (
            lambda out: (out / "masks/00.png").unlink(),
            "00.png: has no mask, and ai-toolkit trains the whole photo, or",
        ),
    ],
    "diffusion-pipe": [
        (lambda out: replace(out / "dataset.toml", "mask_path", "no_path"), "mask_path is not set"),
        (
            lambda out: (out / "masks/00.png").unlink(),
            "00.png: has no mask, and diffusion-pipe trains the whole",
        ),
        (lambda out: repaint(out / "masks/00.webp", 128), "00.webp: a second mask for 00.png beside 00.png"),
        (
            lambda out: Image.new("L", (12, 8)).save(out / "masks/00.png"),
            "00.png: is 12 x 8 and its photo 24 x 16",
        ),
    ],
}


@pytest.mark.parametrize(
    ("to", "tamper", "text"), [(to, *case) for to, cases in TAMPERED.items() for case in cases]
)
def test_what_would_go_wrong_without_a_word_is_one_line(exported, capsys, to, tamper, text):
    out = exported(to)
    tamper(out)
    with pytest.raises(SystemExit) as stopped, user_errors():
        verify_export(export=out)
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(text, line), line


def test_simpletuner_cuts_photo_and_mask_alike(exported):
    out = exported("simpletuner")
    backends = json.loads((out / "multidatabackend.json").read_text())
    backends[1]["resolution"] = 1024
    (out / "multidatabackend.json").write_text(json.dumps(backends))
    with pytest.raises(
        UserError, match="resolution is 512 for the photos and 1024 for their masks, so that the"
    ):
        check(replay(out, "simpletuner"))


def test_several_problems_are_counted(exported):
    out = exported("diffusion-pipe")
    for name in ("00", "01", "02"):
        (out / f"masks/{name}.png").unlink()
    with pytest.raises(UserError, match=r"00\.png: has no mask.* \(2 more such problems\)\.$"):
        check(replay(out, "diffusion-pipe"))


def test_class_images_need_no_masks(exported, tmp_path):
    out = exported("kohya-alpha")
    (tmp_path / "class").mkdir()
    Image.new("RGB", (24, 16)).save(tmp_path / "class/0.png")
    subset = f'\n[[datasets.subsets]]\nimage_dir = "{tmp_path}/class"\nis_reg = true\n'
    with open(out / "dataset.toml", "a") as file:
        file.write(subset)
    replayed = replay(out, "kohya-alpha")
    check(replayed)
    assert len(replayed.photos) == 3


def test_ai_toolkit_finds_masks_in_its_other_two_places(exported):
    out = exported("ai-toolkit")
    (out / "images/_controls").mkdir()
    for mask in (out / "masks").iterdir():
        mask.rename(out / "images/_controls" / f"{mask.stem}.mask.png")
    (out / "masks").rmdir()
    replace(out / "config.yaml", f"mask_path: {out}/masks", "controls: [mask]")
    check(replay(out, "ai-toolkit"))
    replace(out / "config.yaml", "controls: [mask]", "alpha_mask: true")
    for photo in (out / "images").glob("*.png"):
        pixels = np.asarray(Image.open(photo))
        Image.fromarray(np.dstack([pixels, subject() * np.uint8(255)])).save(photo)
    replayed = replay(out, "ai-toolkit")
    check(replayed)
    assert replayed.photos[0].pixel_weight == pytest.approx(1 / 6)


def test_a_default_mask_serves_diffusion_pipe(exported):
    out = exported("diffusion-pipe")
    (out / "masks/00.png").unlink()
    replace(out / "dataset.toml", "num_repeats", f'default_mask_file = "{out}/masks/01.png"\nnum_repeats')
    assert replay(out, "diffusion-pipe").photos[0].mask.name == "01.png"


def test_background_that_is_trained_shows_in_the_table(exported, capsys):
    out = exported("onetrainer")
    replace(out / "config.json", '"unmasked_weight": 0.0', '"unmasked_weight": 0.1')
    verify_export(export=out)
    # 1/6 of weight 1 and 5/6 of weight 0.1: a quarter of the photo's weight, of which a third is background.
    assert re.search(r"00\.png +00-masklabel\.png +25\.0% +\d+\.\d% +33\.3% ", capsys.readouterr().out)


def test_captions_that_are_missing_are_noted(exported):
    out = exported("kohya")
    (out / "images/01.txt").unlink()
    assert replay(out, "kohya").notes == ("1 of 3 photos have no caption, the first is 01.png",)


def test_the_commands_say_what_they_did(tmp_path, capsys):
    photos, masks = build_album(tmp_path)
    export_masks(photos=photos, masks=masks, to="kohya", out=tmp_path / "out", instance_prompt="sks cat")
    text = capsys.readouterr().out
    assert "kohya: 3 of 3 photos have a mask" in text
    assert re.search(r"02\.png +02\.png +16\.7% +16\.7% +0\.0%  none \(128 would weigh 0\.50\)", text)
    assert text.splitlines()[-1] == f"how to train with it: {tmp_path}/out/README.txt"
    assert "--config_file" in (tmp_path / "out/README.txt").read_text()
    verify_export(export=tmp_path / "out")
    assert capsys.readouterr().out.splitlines()[-1] == "every mask is used"
    with pytest.raises(
        UserError, match=r"photos: no manifest\.json in it; a folder that export-masks wrote is n"
    ):
        verify_export(export=photos)
    with pytest.raises(
        UserError, match=r"--resolution 500: not a multiple of 8, the width of a latent cell\. Give"
    ):
        export_masks(photos=photos, masks=masks, to="kohya", out=tmp_path / "no", resolution=500)
    (tmp_path / "out/manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"manifest\.json: is no manifest of an export"):
        verify_export(export=tmp_path / "out")
