"""The command: photos and masks from folders, the table, the record, the exit code, and bad input."""

import json

import numpy as np
import pytest
from leakage_cases import disc, place, with_subject
from PIL import Image

from persam_dreambooth.cli import main
from persam_dreambooth.commands.validate import _folders
from persam_dreambooth.leakage.validation.presets import PRESETS
from persam_dreambooth.photos import write_mask


def write_album(folder, masks, number, count=3):
    """Write photos of a subject in a place of its own, and its masks."""
    folder.mkdir(parents=True)
    masks.mkdir(parents=True)
    for seed in range(count):
        Image.fromarray(with_subject(place(number, seed))).save(folder / f"{seed:02d}.png")
        write_mask(masks / f"{seed:02d}.png", disc())


@pytest.fixture
def album(tmp_path):
    """Return the flags of an album with enough pictures of other places."""
    write_album(tmp_path / "toy", tmp_path / "masks", 100)
    (tmp_path / "places").mkdir()
    for number in range(15):
        Image.fromarray(place(number)).save(tmp_path / "places" / f"{number:02d}.png")
    folders = {"photos": "toy", "masks": "masks", "decoys": "places", "out": "out"}
    flags = [f"--{flag}={tmp_path / name}" for flag, name in folders.items()]
    return ["validate", "--features", "ct", "--num_banks", "6", *flags]


def test_own_photos_are_validated_and_told(album, tmp_path, capsys):
    main(album)
    said = capsys.readouterr().out
    assert "one album of photos (toy)" in said
    assert said.count("ok  ") == 5
    record = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert record["preset"] == "quick"
    assert record["banks"]["num_decoys"] == [10, 10, 10]
    assert record["scores"]["attribution"]["modes"]["paste"]["rho"] > 0.6


@pytest.mark.slow
def test_a_failed_gate_is_exit_code_1(album, tmp_path, capsys):
    """All photos and all places are one and the same picture: none can be told, so nothing rises."""
    same = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    for path in (*(tmp_path / "toy").glob("*.png"), *(tmp_path / "places").glob("*.png")):
        Image.fromarray(same).save(path)
    with pytest.raises(SystemExit) as stopped:
        main(album)
    assert stopped.value.code == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--photos", "p"], "error: --masks: not given; --photos needs it"),
        (["--masks", "m"], "error: --photos: not given; --masks needs it"),
        (["--decoys", "d"], "error: --decoys d: given without --photos"),
        (["--num_banks", "0"], "error: --num_banks 0: out of range; at least 1 is needed."),
        (["--photos", "nowhere", "--masks", "m"], "error: --masks m: no such folder"),
        (["--features", "colour"], "error: --features colour: there are no such features"),
        (["--seed", "-1"], "error: --seed -1: out of range; at least 0 is needed."),
        (["--device", "gpu"], "error: --device gpu: cannot be used"),
        (["--features", "dift", "--base", "nowhere"], "error: --base nowhere: "),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(flags, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["validate", "--out", "out", *flags])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(text)
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_albums_without_enough_other_places_are_an_error(tmp_path, capsys):
    for number, name in enumerate(("cat", "dog")):
        write_album(tmp_path / "photos" / name, tmp_path / "masks" / name, number)
    with pytest.raises(SystemExit) as stopped:
        main(["validate", "--photos", str(tmp_path / "photos"), "--masks", str(tmp_path / "masks")])
    assert stopped.value.code == 2
    assert "3 pictures of other places than cat's; at least 24 are needed" in capsys.readouterr().err


def test_a_folder_of_masks_beside_the_photos_is_no_subject(tmp_path):
    write_album(tmp_path / "cat", tmp_path / "cat" / "masks", 1)
    assert _folders(tmp_path / "cat") == []
    (tmp_path / ".cache").mkdir()
    assert _folders(tmp_path) == [tmp_path / "cat"]


def test_presets_can_tell_a_leak_of_one_subject():
    assert all(preset.num_hosts >= 6 and preset.levels[0] == 0.1 for preset in PRESETS.values())


@pytest.mark.slow
def test_drawn_places_pass_every_gate(tmp_path, capsys):
    main(["validate", "--features", "ct", "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("ok  ") == 5
    scores = json.loads((tmp_path / "validation.json").read_text())["scores"]["attribution"]
    assert scores["modes"]["paste"]["smallest_share"] == 0.1
    assert scores["modes"]["scene"]["smallest_share"] == 0.1
    assert scores["false_alarms"]["benign"]["rate"] <= 0.1
