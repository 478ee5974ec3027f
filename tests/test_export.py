"""Exports to other trainers: which files, what is in them, and that nothing is half-written or lost."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from export_cases import SIZE, build_album, subject, tree, write_masks
from PIL import Image

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.export.album import read_album
from persam_dreambooth.masks.export.layouts import config_texts
from persam_dreambooth.masks.export.trainers import TRAINERS
from persam_dreambooth.masks.export.writing import export
from persam_dreambooth.photos import read_mask, read_photo, write_mask

PROMPT = "a photo of sks cat"
FOLDER_OF_MASKS = {"README.txt", "manifest.json"} | {
    f"{folder}/{stem}.{suffix}"
    for stem in ("00", "01", "02")
    for folder, suffix in (("images", "png"), ("images", "txt"), ("masks", "png"))
}
TREES = {
    "kohya": FOLDER_OF_MASKS | {"dataset.toml", "train.toml"},
    "kohya-alpha": {name for name in FOLDER_OF_MASKS if "masks/" not in name}
    | {"dataset.toml", "train.toml"},
    "onetrainer": {
        name.replace("masks/", "images/").replace(".png", "-masklabel.png") if "masks/" in name else name
        for name in FOLDER_OF_MASKS
    }
    | {"concepts.json", "config.json"},
    "simpletuner": FOLDER_OF_MASKS | {"multidatabackend.json"},
    "ai-toolkit": FOLDER_OF_MASKS | {"config.yaml"},
    "diffusion-pipe": FOLDER_OF_MASKS | {"dataset.toml"},
}


@pytest.fixture
def album(tmp_path):
    return build_album(tmp_path)


@pytest.mark.parametrize("to", TRAINERS)
def test_every_trainer_gets_its_files_and_no_others(tmp_path, album, to):
    export(read_album(*album, PROMPT), to, tmp_path / "new" / "out")
    assert tree(tmp_path / "new") == {f"out/{name}" for name in TREES[to]}


def test_photos_are_upright_png_with_their_masks_and_captions(tmp_path, album):
    photos, masks = album
    (photos / "02.txt").write_text("\ufeffsks cat,\n on a sofa\n", encoding="utf-8")
    export(read_album(photos, masks, PROMPT), "kohya", tmp_path / "out")
    for name in ("00.png", "01.jpg", "02.png"):
        written = tmp_path / "out/images" / f"{name[:2]}.png"
        with Image.open(written) as image:
            assert (image.format, image.mode) == ("PNG", "RGB")
            assert not image.getexif()
            assert np.array_equal(np.asarray(image), read_photo(photos / name).pixels)
        with Image.open(tmp_path / "out/masks" / f"{name[:2]}.png") as mask:
            assert mask.mode == "L"
            assert np.array_equal(np.asarray(mask), subject() * 255)
    assert (tmp_path / "out/images/00.txt").read_text() == f"{PROMPT}\n"
    assert (tmp_path / "out/images/02.txt").read_text() == "sks cat, on a sofa\n"


def test_alpha_is_the_mask_and_hides_grey(tmp_path, album):
    photos, masks = album
    export(read_album(photos, masks, PROMPT), "kohya-alpha", tmp_path / "out")
    with Image.open(tmp_path / "out/images/00.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (*SIZE, 4)
    assert np.array_equal(pixels[..., 3], subject() * 255)
    assert np.array_equal(pixels[:8, :8, :3], read_photo(photos / "00.png").pixels[:8, :8])
    assert (pixels[~subject(), :3] == 128).all()


def test_kohya_and_diffusion_pipe_settings(tmp_path, album):
    # Quotes and backslashes in a path must not break the TOML.
    out = tmp_path / 'my "best" album'
    export(read_album(*album, PROMPT), "kohya", out, resolution=768)
    dataset = tomllib.loads((out / "dataset.toml").read_text())["datasets"][0]
    assert dataset["resolution"] == 768
    assert dataset["subsets"] == [
        {
            "image_dir": str(out / "images"),
            "conditioning_data_dir": str(out / "masks"),
            "caption_extension": ".txt",
            "num_repeats": 1,
        }
    ]
    train = tomllib.loads((out / "train.toml").read_text())
    assert train == {"dataset_config": str(out / "dataset.toml"), "masked_loss": True}
    export(read_album(*album, PROMPT), "kohya-alpha", tmp_path / "alpha")
    subset = tomllib.loads((tmp_path / "alpha/dataset.toml").read_text())["datasets"][0]["subsets"][0]
    assert subset["alpha_mask"] is True
    assert "conditioning_data_dir" not in subset
    export(read_album(*album, PROMPT), "diffusion-pipe", tmp_path / "pipe")
    settings = tomllib.loads((tmp_path / "pipe/dataset.toml").read_text())
    assert settings["resolutions"] == [512]
    assert settings["directory"][0]["mask_path"] == str(tmp_path / "pipe/masks")


def test_onetrainer_simpletuner_and_ai_toolkit_settings(tmp_path, album):
    export(read_album(*album, PROMPT), "onetrainer", tmp_path / "one")
    config = json.loads((tmp_path / "one/config.json").read_text())
    assert config["masked_training"] is True
    assert config["normalize_masked_area_loss"] is True
    assert config["unmasked_weight"] == config["masked_prior_preservation_weight"] == 0
    assert config["clear_cache_before_training"] is True
    concept = json.loads((tmp_path / "one/concepts.json").read_text())[0]
    assert concept["path"] == str(tmp_path / "one/images")
    export(read_album(*album, PROMPT), "simpletuner", tmp_path / "simple")
    subject_set, mask_set, text = json.loads((tmp_path / "simple/multidatabackend.json").read_text())
    assert subject_set["conditioning_data"] == mask_set["id"]
    assert (mask_set["dataset_type"], mask_set["conditioning_type"]) == ("conditioning", "mask")
    assert all(subject_set[key] == mask_set[key] for key in ("resolution", "resolution_type", "crop"))
    assert subject_set["cache_dir_vae"] != mask_set["cache_dir_vae"]
    assert text["dataset_type"] == "text_embeds"
    export(read_album(*album, PROMPT), "ai-toolkit", tmp_path / "ai")
    dataset = yaml.safe_load((tmp_path / "ai/config.yaml").read_text())["config"]["process"][0]["datasets"][0]
    assert dataset["mask_path"] == str(tmp_path / "ai/masks")
    assert (dataset["mask_min_value"], dataset["invert_mask"], dataset["buckets"]) == (0.0, False, True)


def test_the_manifest_says_what_was_exported(tmp_path, album):
    photos, masks = album
    repainted = np.zeros(SIZE, dtype=np.uint8)
    repainted[:8] = 255
    Image.fromarray(repainted).save(masks / "02.png")
    export(read_album(photos, masks, PROMPT), "kohya", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert set(manifest["files"]) == TREES["kohya"] - {"manifest.json"}
    first, _, last = manifest["photos"]
    assert (first["photo"], first["image"], first["mask"]) == ("00.png", "images/00.png", "masks/00.png")
    assert first["area_fraction"] == pytest.approx(1 / 6)
    assert (first["iou_prediction"], first["confidence"]) == (0.9, 0.8)
    # What SAM said of its own mask does not hold for one that a person has painted.
    assert last["area_fraction"] == pytest.approx(1 / 2)
    assert "iou_prediction" not in last


def test_photos_that_segment_left_out_are_left_out(tmp_path, album):
    photos, masks = album
    shutil.rmtree(masks)
    write_masks(photos, masks, left_out={"01": "subject not in this photo"})
    found = read_album(photos, masks, PROMPT)
    assert found.left_out == {"01.jpg": "subject not in this photo"}
    export(found, "simpletuner", tmp_path / "out")
    assert tree(tmp_path / "out" / "images") == {"00.png", "00.txt", "02.png", "02.txt"}
    # A person may paint the mask that was not found.
    write_mask(masks / "01.png", subject())
    assert [entry.stem for entry in read_album(photos, masks, PROMPT).entries] == ["00", "01", "02"]
    shutil.rmtree(masks)
    write_masks(photos, masks, left_out=dict.fromkeys(("00", "01", "02"), "too dark"))
    with pytest.raises(UserError, match=r"masks: segment left out every photo; .* first reason: too dark"):
        read_album(photos, masks, PROMPT)


def test_a_folder_with_one_photo(tmp_path):
    photos, masks = build_album(tmp_path, ("only.png",))
    export(read_album(photos, masks, PROMPT), "onetrainer", tmp_path / "out")
    assert {"only.png", "only-masklabel.png", "only.txt"} == tree(tmp_path / "out/images")


def test_an_export_replaces_only_itself(tmp_path, album):
    out = tmp_path / "out"
    out.mkdir()
    export(read_album(*album, PROMPT), "kohya", out)
    export(read_album(*album, "another prompt"), "onetrainer", out)
    assert tree(out) == TREES["onetrainer"]
    (out / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"--out .*out: config\.json in it was changed after the export"):
        export(read_album(*album, PROMPT), "onetrainer", out)
    shutil.rmtree(out)
    export(read_album(*album, PROMPT), "kohya", out)
    (out / "images/00.npz").touch()
    with pytest.raises(
        UserError, match=r"images/00\.npz in it is not from an export and would be lost; a new"
    ):
        export(read_album(*album, PROMPT), "kohya", out)
    before = tree(album[0])
    with pytest.raises(UserError, match=r"--out .*photos: 00\.png in it is not from an export"):
        export(read_album(*album, PROMPT), "kohya", album[0])
    assert tree(album[0]) == before
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out .*file.* is a file; a folder is needed"):
        export(read_album(*album, PROMPT), "kohya", tmp_path / "file")


def test_a_failed_export_leaves_everything_as_it_was(tmp_path, album):
    photos, masks = album
    out = tmp_path / "out"
    export(read_album(photos, masks, PROMPT), "kohya", out)
    before = {name: (out / name).read_bytes() for name in tree(out)}
    Image.new("L", (5, 5)).save(masks / "02.png")
    for place in (out, tmp_path / "never"):
        with pytest.raises(UserError, match=r"02\.png: the mask is 5 x 5 pixels and its photo 24 x 16"):
            export(read_album(photos, masks, PROMPT), "kohya", place)
    assert {name: (out / name).read_bytes() for name in tree(out)} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "out", "photos"]


def test_masks_that_do_not_fit(tmp_path, album):
    photos, masks = album
    Image.new("RGB", SIZE[::-1], "blue").save(photos / "00.png")
    with pytest.raises(
        UserError, match=r"00\.png: has changed since its mask was made; .* Run segment again"
    ):
        export(read_album(photos, masks, PROMPT), "kohya", tmp_path / "out")
    Image.new("RGB", SIZE[::-1]).save(photos / "03.png")
    with pytest.raises(UserError, match=r"03\.png: has no mask in .*masks; .* learns the whole photo"):
        read_album(photos, masks, PROMPT)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "no such file; the folder that segment wrote"),
        ("[]", "no record"),
        ('{"masks": {"00": 1}}', "no record"),
        ('{"masks": {"00": {"photo_digest": 1}}}', "no record"),
    ],
)
def test_folders_without_a_record(album, text, what):
    photos, masks = album
    (masks / "masks.json").unlink()
    if text is not None:
        (masks / "masks.json").write_text(text)
    with pytest.raises(UserError, match=rf"masks\.json: .*{what}"):
        read_album(photos, masks, PROMPT)


def test_captions_that_cannot_be(album):
    photos, masks = album
    with pytest.raises(
        UserError, match=r"00\.png: has no caption; .* --instance_prompt, or write it to 00\.txt"
    ):
        read_album(photos, masks)
    (photos / "00.txt").write_text(" \n")
    with pytest.raises(UserError, match=r"00\.txt: is empty; a caption is needed\. Write one, or delete"):
        read_album(photos, masks, PROMPT)
    (photos / "00.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"00\.txt: is no UTF-8 text \(.*\); a caption is needed"):
        read_album(photos, masks, PROMPT)


def test_names_that_onetrainer_takes_for_masks(tmp_path):
    photos, masks = build_album(tmp_path, ("cat-masklabel.png",))
    with pytest.raises(
        UserError, match=r"cat-masklabel\.png: OneTrainer takes names that end in -masklabel or"
    ):
        export(read_album(photos, masks, PROMPT), "onetrainer", tmp_path / "out")
    export(read_album(photos, masks, PROMPT), "kohya", tmp_path / "out")
    assert read_mask(tmp_path / "out/masks/cat-masklabel.png", SIZE).sum() == 64


@pytest.mark.parametrize("to", TRAINERS)
def test_the_docs_show_the_settings_that_are_written(to):
    text = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
    for name, settings in config_texts(to, Path(f"/data/cat-{to}"), 512).items():
        assert f"`{name}`:\n\n```{name.split('.')[1]}\n{settings}```\n" in text
    assert f"--to {to} --out /data/cat-{to}" in text
