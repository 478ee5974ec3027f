"""Every hint reaches the method: as flags of the command, as arguments from Python, or as none at all."""

import json

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth.cli import main
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.stage import find_masks
from persam_dreambooth.photos import read_photos, write_mask
from persam_dreambooth.toyworld.scene import render

SIZE = (128, 128)
SCENES = [render("cat", place, 20031, seed, size=128) for place, seed in [("room", 11), ("beach", 2)]]


@pytest.fixture
def album(tmp_path):
    """Two photos of the sample cat, at the size that the toy SAM sees."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number, scene in enumerate(SCENES):
        Image.fromarray(scene.image).save(folder / f"{number:02}.png")
    return folder


def middle(number):
    """Return (x, y) of a pixel well inside the cat."""
    rows, columns = np.nonzero(SCENES[number].mask)
    return float(np.median(columns)), float(np.median(rows))


def box_around(number):
    rows, columns = np.nonzero(SCENES[number].mask)
    return tuple(float(value) for value in (columns.min(), rows.min(), columns.max(), rows.max()))


def references(folder):
    return json.loads((folder / "masks.json").read_text())["references"]


def run(album, **options):
    arguments = {"sam": "toy", "method": "persam", "min_confidence": 0, "out_dir": album.parent / "masks"}
    return find_masks(read_photos(album), **arguments, **options)


def scribble(path, number):
    picture = np.zeros((*SIZE, 3), np.uint8)
    x, y = (int(value) for value in middle(number))
    picture[y - 2 : y + 2, x - 10 : x + 10] = 255
    Image.fromarray(picture).save(path)


@pytest.mark.parametrize("kind", ["box", "points", "scribble"])
def test_a_hint_becomes_the_mask_of_its_photo_and_the_reference(album, tmp_path, kind):
    scribble(tmp_path / "strokes.png", 1)
    hint = {
        "box": {"reference_box": box_around(1)},
        "points": {"reference_points": middle(1), "reference_labels": (1,)},
        "scribble": {"reference_scribble": tmp_path / "strokes.png"},
    }[kind]
    masks = run(album, reference_photo="01", **hint)
    assert {stem: mask.source for stem, mask in masks.items()} == {"00": "persam", "01": kind}
    assert references(tmp_path / "masks") == [
        {"hint": f"--reference_{kind}", "photo": "01.png", "source": kind}
    ]
    assert run(album, reference_photo="01", **hint) == masks


def test_several_masks_are_several_references(album, tmp_path):
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"{number:02}.png")
        write_mask(paths[-1], SCENES[number].mask)
    Image.fromarray(render("cat", "forest", 20031, 3, size=128).image).save(album / "02.png")
    one = run(album, reference_mask=paths[0])
    both = run(album, reference_mask=paths)
    assert [told["photo"] for told in references(tmp_path / "masks")] == ["00.png", "01.png"]
    assert both["01"].source == "given"
    assert one["02"].digest != both["02"].digest or one["02"].confidence != both["02"].confidence


def test_two_masks_of_one_photo_are_refused(album, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        write_mask(path, SCENES[0].mask)
    with pytest.raises(UserError, match=r"^--reference_mask .*b\.png: belongs to 00\.png, as .*a\.png does"):
        run(album, reference_mask=paths)
    with pytest.raises(UserError, match=r"^--reference_photo 01: one photo, but 2 of --reference_mask"):
        run(album, reference_mask=paths, reference_photo="01")


def test_a_choice_among_proposals_and_a_mask_are_refused(album, tmp_path):
    write_mask(album / "00.mask.png", SCENES[0].mask)
    with pytest.raises(
        UserError, match=r"^--reference_choice 2: chooses among proposals, but .*00\.mask\.png"
    ):
        run(album, reference_choice=2)


def test_without_a_hint_a_proposal_is_the_reference_and_the_page_shows_the_others(album, tmp_path):
    masks = run(album, reference_choice=1)
    assert sorted(mask.source for mask in masks.values()) == ["persam", "proposed"]
    assert (tmp_path / "masks" / "proposals.png").is_file()
    page = (tmp_path / "masks" / "masks.html").read_text()
    assert "Nobody said what the subject is" in page
    with pytest.raises(UserError, match=r"^--reference_choice 99: there are \d+ proposals"):
        run(album, reference_choice=99)


def test_the_command_takes_the_same_flags(album, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["segment", "--photos", str(album), "--out", str(out), "--sam", "toy", "--method", "persam"]
    x, y = middle(0)
    hint = ["--reference-points", str(x), str(y), "--min-confidence=0", "--save_intermediates"]
    main([*argv, *hint])
    assert "00: points, " in capsys.readouterr().out
    assert {path.suffix for path in out.iterdir()} == {".png", ".npz", ".json", ".html"}


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "--photos and --video: both missing; one of them is needed"),
        (["--photos", "a", "--video", "b"], "--photos and --video: both given; one of them is needed"),
    ],
)
def test_photos_or_a_video(flags, text, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["segment", "--out", str(tmp_path / "out"), *flags])
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export-masks", "verify-export", "evaluate-masks", "segment"])
def test_every_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    assert "usage: " in told
    # Where tyro cannot read a docstring, it shows it whole and the flags without a text.
    assert "Args:" not in told


@pytest.mark.parametrize("number", [0, 1])
def test_a_click_beside_the_subject_takes_its_place_out_of_the_mask(tmp_path, number):
    folder = tmp_path / "album"
    folder.mkdir()
    Image.fromarray(SCENES[number].image).save(folder / "00.png")
    x, y = middle(number)
    before = run(folder, reference_points=(x, y))["00"].mask
    # A pixel of that mask, among the farthest from the first click.
    rows, columns = np.nonzero(before)
    far = np.argsort((columns - x) ** 2 + (rows - y) ** 2)[int(0.9 * len(rows))]
    points = (x, y, float(columns[far]), float(rows[far]))
    taken_out, kept = (
        run(folder, reference_points=points, reference_labels=(1, label))["00"].mask for label in (0, 1)
    )
    assert not taken_out[rows[far], columns[far]]
    assert taken_out[int(y), int(x)]
    assert taken_out.sum() < before.sum()
    assert kept[rows[far], columns[far]]
