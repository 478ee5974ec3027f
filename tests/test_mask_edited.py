"""A mask that a person put right on a reference photo: it is the reference from then on."""

import json

import numpy as np
import pytest
from PIL import Image
from sam_models import random_sam, scene

from persam_dreambooth.masks.stage import find_masks
from persam_dreambooth.masks.subjects import find_subjects
from persam_dreambooth.photos import read_photos, write_mask
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import SearchConfig
from persam_dreambooth.toyworld.scene import render

SCENES = [render("cat", place, 20031, seed, size=128) for place, seed in [("room", 11), ("beach", 2)]]


@pytest.fixture
def album(tmp_path):
    """Two photos of the sample cat."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number, each in enumerate(SCENES):
        Image.fromarray(each.image).save(folder / f"{number:02}.png")
    return folder


def run(album, out="masks", **options):
    arguments = {"sam": "toy", "method": "persam", "min_confidence": 0, "out_dir": album.parent / out}
    return find_masks(read_photos(album), **{**arguments, **options})


def told(album, out="masks"):
    return json.loads((album.parent / out / "masks.json").read_text())["references"]


def hint_of(kind, folder):
    """Return a hint on photo 01: the middle of the cat, or all of it."""
    rows, columns = np.nonzero(SCENES[1].mask)
    x, y = int(np.median(columns)), int(np.median(rows))
    strokes = np.zeros((128, 128, 3), np.uint8)
    strokes[y - 2 : y + 2, x - 10 : x + 10] = 255
    Image.fromarray(strokes).save(folder / "strokes.png")
    write_mask(folder / "01.png", SCENES[1].mask)
    box = (columns.min(), rows.min(), columns.max(), rows.max())
    return {
        "box": {"reference_box": tuple(map(float, box))},
        "points": {"reference_points": (float(x), float(y))},
        "scribble": {"reference_scribble": folder / "strokes.png"},
        "mask": {"reference_mask": folder / "01.png"},
    }[kind]


def upper_half():
    """Return a mask that no hint leads to: the cat's upper half."""
    rows, _ = np.nonzero(SCENES[1].mask)
    mask = SCENES[1].mask.copy()
    mask[int(np.median(rows)) :] = False
    return mask


@pytest.mark.parametrize("kind", ["box", "points", "scribble", "mask"])
def test_an_edited_mask_of_the_reference_photo_is_the_reference(album, tmp_path, kind, capsys):
    hint = {"reference_photo": "01", **hint_of(kind, tmp_path)}
    first = run(album, **hint)
    edited = tmp_path / "masks" / "01.png"
    write_mask(edited, upper_half())
    capsys.readouterr()
    again = run(album, **hint)
    assert {stem: mask.source for stem, mask in again.items()} == {"00": "persam", "01": "edited"}
    assert told(album) == [{"hint": "01.png", "photo": "01.png", "source": "edited"}]
    of_reference = [line for line in capsys.readouterr().out.splitlines() if "is the reference" in line]
    assert len(of_reference) == 1
    assert f"01.png, edited by hand, is the reference in place of {named(kind, tmp_path)}" in of_reference[0]
    # As if it had been given from the start.
    write_mask(tmp_path / "given" / "01.png", upper_half())
    given = run(album, "other", reference_photo="01", reference_mask=tmp_path / "given" / "01.png")
    assert again["00"].digest == given["00"].digest
    assert again["00"].confidence == given["00"].confidence != first["00"].confidence
    # Once it is deleted, the hint is the reference again.
    edited.unlink()
    back = run(album, **hint)
    assert back == first
    assert told(album)[0]["source"] == first["01"].source


def named(kind, folder):
    return str(folder / "01.png") if kind == "mask" else f"--reference_{kind}"


def test_an_edited_reference_needs_no_model_until_something_changes(album, tmp_path, monkeypatch):
    hint = {"reference_photo": "01", **hint_of("box", tmp_path)}
    run(album, **hint)
    write_mask(tmp_path / "masks" / "01.png", upper_half())
    masks = run(album, **hint)
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "masks").iterdir()}
    monkeypatch.setattr(Segmenter, "load", None)
    assert run(album, **hint) == masks
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "masks").iterdir()} == written


def test_an_edited_mask_of_another_photo_is_no_reference(album, tmp_path, capsys):
    hint = {"reference_photo": "01", **hint_of("box", tmp_path)}
    first = run(album, **hint)
    write_mask(tmp_path / "masks" / "00.png", SCENES[0].mask)
    again = run(album, **hint)
    assert {stem: mask.source for stem, mask in again.items()} == {"00": "edited", "01": "box"}
    assert again["01"] == first["01"]
    assert [entry["photo"] for entry in told(album)] == ["01.png"]
    assert "is the reference" not in capsys.readouterr().out


def test_an_edited_proposal_is_the_reference_until_another_is_chosen(album, tmp_path, capsys):
    first = run(album, reference_choice=1)
    (proposed,) = [stem for stem, mask in first.items() if mask.source == "proposed"]
    assert told(album) == [{"hint": "proposal 1", "photo": f"{proposed}.png", "source": "proposed"}]
    assert run(album, reference_choice=1) == first
    assert told(album)[0]["source"] == "proposed"
    mask = SCENES[int(proposed)].mask
    write_mask(tmp_path / "masks" / f"{proposed}.png", mask)
    for _ in range(2):
        capsys.readouterr()
        again = run(album, reference_choice=1)
        assert sorted(each.source for each in again.values()) == ["edited", "persam"]
        assert told(album) == [{"hint": f"{proposed}.png", "photo": f"{proposed}.png", "source": "edited"}]
        assert "is the reference in place of the proposal" in capsys.readouterr().out
    write_mask(tmp_path / "given" / f"{proposed}.png", mask)
    given = run(album, "other", reference_mask=tmp_path / "given" / f"{proposed}.png")
    (found,) = {"00", "01"} - {proposed}
    assert again[found].digest == given[found].digest
    assert run(album, reference_choice=2)[proposed].source == "edited"
    assert told(album)[0]["hint"] == "proposal 2"


def test_an_edited_mask_of_one_of_several_subjects_is_its_reference(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(scene(96, 128, seed=number)[0]).save(folder / f"{number:02}.png")
    random_sam().save_pretrained(tmp_path / "sam")
    corner, block = np.zeros((2, 96, 128), bool)
    corner[:40, :50] = True
    block[50:90, 60:120] = True
    write_mask(tmp_path / "00.cat.png", scene(96, 128)[1])
    for name, mask in (("00.dog.png", corner), ("given/00.dog.png", block)):
        write_mask(tmp_path / name, mask)

    def found(dog, out):
        named = [f"cat={tmp_path / '00.cat.png'}", f"dog={tmp_path / dog}"]
        settings = SearchConfig(min_confidence=0, fit_solver="lbfgs")
        return find_subjects(
            read_photos(folder), named, settings, out_dir=tmp_path / out, sam=str(tmp_path / "sam")
        )

    first = found("00.dog.png", "masks")
    write_mask(tmp_path / "masks" / "dog" / "00.png", block)
    again, given = found("00.dog.png", "masks"), found("given/00.dog.png", "other")
    assert again["dog"]["00"].source == "edited"
    others = [{name: masks.get("01") for name, masks in each.items()} for each in (again, given, first)]
    assert others[0] == others[1] != others[2]
    record = json.loads((tmp_path / "masks" / "dog" / "masks.json").read_text())
    assert [entry["source"] for entry in record["references"]] == ["edited"]
