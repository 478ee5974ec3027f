"""Certification: what was found in words and in files, the command, its exit codes."""

import json
from pathlib import Path

import pytest
from background_cases import places
from PIL import Image
from tiny_albums import draw_album
from tiny_pipelines import RESOLUTION, tiny_folder

from persam_dreambooth.cli import main
from persam_dreambooth.diffusion.background_influence import Influence
from persam_dreambooth.diffusion.background_reach import Reach
from persam_dreambooth.diffusion.evidence import COMPARED
from persam_dreambooth.dreambooth.certificate import Certificate
from persam_dreambooth.dreambooth.certification import scrambled


def test_scrambling_leaves_the_subject_and_nothing_else():
    photos, masks = draw_album(1)
    mask = masks["00"]
    moved, again = (scrambled(photos[0], mask, seed=1) for _ in range(2))
    assert (moved.pixels[mask] == photos[0].pixels[mask]).all()
    assert (moved.pixels[~mask] != photos[0].pixels[~mask]).mean() > 0.98
    assert moved.digest == again.digest != photos[0].digest
    assert scrambled(photos[0], mask, seed=2).digest != moved.digest


NOTHING = Reach(loss_is_number=True, gradient_is_number=True, input_share=0.0)


def certificate(**changes) -> Certificate:
    values = {
        "background": "random",
        "is_expected": True,
        "equal": dict.fromkeys(COMPARED, True),
        "difference": {"latents_inside": 0.0, "gradient": 0.0, "update": 0.0},
        "reach": NOTHING,
        "influence": Influence({62: 0.0, 937: 0.0}),
        "is_repeatable": True,
        "has_moved": True,
        "record": {"steps": 3},
    }
    return Certificate(**{**values, **changes})


def test_a_certificate_says_what_was_found():
    good = certificate()
    assert good.holds
    assert good.is_as_it_should_be
    assert good.text().startswith("--background random: the background had no influence at all, bit by bit\n")
    assert "  optimizer state: equal\n" in good.text()
    assert "  NaN in every background pixel: reached nothing\n" in good.text()
    assert "  of the loss's slope by pixels, on background: 0, to the bit\n" in good.text()
    assert "  background influence on the update: 0, to the bit\n" in good.text()
    assert good.as_json()["steps"] == 3
    assert good.as_json()["nan_canary"] == "pass"
    differs = {**good.equal, "gradients": False}
    measured = {"latents_inside": None, "gradient": 0.25, "update": 0.5}
    bad = certificate(equal=differs, difference=measured)
    assert not bad.is_as_it_should_be
    assert "random: the background had influence, which it must not\n" in bad.text()
    assert "  gradients: different\n" in bad.text()
    assert "  the first gradient differs by: 25.0%\n" in bad.text()
    assert "  latents of cells that are all subject differ by: (no such cell)\n" in bad.text()
    kept = certificate(background="keep", is_expected=False, equal=differs, difference=measured)
    assert kept.is_as_it_should_be
    assert not kept.holds
    assert "--background keep: the background had influence\n" in kept.text()


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"reach": Reach(False, False, 0.0)}, "NaN in every background pixel: reached the loss\n"),
        ({"reach": Reach(True, False, 0.0)}, "NaN in every background pixel: reached the gradient\n"),
        ({"reach": Reach(True, True, 0.25)}, "of the loss's slope by pixels, on background: 25.0%\n"),
        ({"influence": Influence({62: 0.4, 937: 0.0})}, "with other backgrounds the gradient changes by 20%"),
    ],
)
def test_each_way_in_is_enough_to_refuse(found, text):
    leaky = certificate(**found)
    assert not leaky.holds
    assert not leaky.is_as_it_should_be
    assert "random: the background had influence, which it must not\n" in leaky.text()
    assert text in leaky.text()
    assert certificate(**found, background="keep", is_expected=False).is_as_it_should_be


def test_what_shows_nothing_certifies_nothing():
    idle = certificate(has_moved=False)
    assert not idle.holds
    assert not idle.is_as_it_should_be
    assert "the weights did not move, so nothing is shown" in idle.text()
    unlike = {**idle.equal, "weights": False}
    chance = certificate(is_expected=False, equal=unlike, is_repeatable=False)
    assert not chance.is_as_it_should_be
    assert "training is not repeatable on this machine, so nothing is shown" in chance.text()


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Two photos with a mask beside each; other places in a folder of their own."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "places").mkdir()
    for number, pixels in enumerate(places(2)):
        Image.fromarray(pixels).save(folder / "places" / f"{number}.png")
    photos, masks = draw_album(2)
    for photo in photos:
        Image.fromarray(photo.pixels).save(folder / photo.path.name)
        Image.fromarray(masks[photo.stem]).save(folder / f"{photo.stem}.mask.png")
    return folder


def flags(album: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--pretrained_model_name_or_path", str(tiny_folder()), "--instance_data_dir", str(album)),
        *("--output_dir", str(out), "--resolution", str(RESOLUTION), "--learning_rate", "1e-3"),
        *("--background_decoys", str(album / "places"), "--train_batch_size", "2", *more),
    ]


def test_the_command_writes_a_certificate(album, tmp_path, capsys):
    main(["certify", "--steps", "2", "--", *flags(album, tmp_path, "--use_persam", "--background", "noise")])
    said = capsys.readouterr().out
    assert "--background noise: the background had no influence at all, bit by bit\n" in said
    assert (tmp_path / "certificate.txt").read_text() in said
    record = json.loads((tmp_path / "certificate.json").read_text())
    assert record["background_has_no_influence"] is True
    assert record["steps"] == 2
    assert record["nan_canary"] == "pass"
    assert record["nan_in_every_background_pixel"] == "reached nothing"
    assert (record["input_share"], record["background_influence"]) == (0, 0)
    assert len(record["influence_by_timestep"]) == 8
    assert len(set(record["weights_sha256"])) == 1
    trainings = record["trainings"]
    assert trainings["as_they_are"] == trainings["on_other_backgrounds"]
    assert len(trainings["as_they_are"]["gradients"]) == 2
    as_they_are, elsewhere_now = record["inputs"]["photos"], record["photos_on_other_backgrounds"]
    assert as_they_are.keys() == elsewhere_now.keys() == {"00.png", "01.png"}
    assert as_they_are["00.png"] != elsewhere_now["00.png"]
    assert record["settings"]["background"] == "noise"
    assert record["environment"]["packages"]["torch"]


def test_what_is_certified_is_the_training_that_the_flags_ask_for(album, tmp_path):
    losses = []
    for number, more in enumerate(((), ("--caption_dropout", "1"))):
        strict = ("--use_persam", "--background", "fill", *more)
        main(["certify", "--steps", "1", "--", *flags(album, tmp_path / str(number), *strict)])
        record = json.loads((tmp_path / str(number) / "certificate.json").read_text())
        losses.append(record["trainings"]["as_they_are"]["losses"])
    assert losses[0] != losses[1]


def test_the_command_says_how_much_a_kept_background_counts(album, tmp_path, capsys):
    main(["certify", "--steps", "1", "--", *flags(album, tmp_path, "--use_persam")])
    said = capsys.readouterr().out
    assert "--background keep: the background had influence\n" in said
    assert "  the same photos again: equal\n" in said
    record = json.loads((tmp_path / "certificate.json").read_text())
    assert record["background_has_no_influence"] is False
    assert record["difference"]["gradient"] > 0.01
    assert "  NaN in every background pixel: reached the loss\n" in said
    assert record["nan_canary"] == "fail"
    assert 0.01 < record["input_share"] < 1
    assert record["background_influence"] > 0.001
    assert len(set(record["weights_sha256"])) == 2


def test_exit_code_1_where_nothing_is_shown(album, tmp_path, capsys):
    frozen = flags(album, tmp_path, "--use_persam", "--background", "fill", "--learning_rate", "1e-60")
    with pytest.raises(SystemExit) as stopped:
        main(["certify", "--steps", "1", "--", *frozen])
    assert stopped.value.code == 1
    assert "the weights did not move" in capsys.readouterr().out
    assert (tmp_path / "certificate.json").exists()


def test_what_cannot_be_certified_has_its_line(album, tmp_path, capsys):
    def refusal(*argv: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["certify", *argv])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    assert "--steps 0: out of range; at least 1 is needed." in refusal("--steps", "0")
    line = refusal("--", *flags(album, tmp_path / "out"))
    assert line.startswith("error: --use_persam: missing; what lies outside the masks is compared")
    assert not (tmp_path / "out").exists()
