"""Weak labels from files, and one line for each thing that can be wrong with them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sam_models import constant_segmenter
from wesam_cases import album

from persam_dreambooth.cli import main
from persam_dreambooth.commands.adapt_sam import WeakLabels, adapt_sam
from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import photo_paths, write_mask
from persam_dreambooth.sam.adaptation.weak_labels import look_at, read_labels
from persam_dreambooth.settings.adaptation import AdaptConfig, plan_of


@pytest.fixture
def photos(tmp_path):
    folder, _, _ = album(tmp_path)
    return [look_at(path) for path in photo_paths(folder)]


def labels_of(tmp_path, photos, flag, value):
    path = tmp_path / "labels.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return read_labels(photos, **{"boxes": None, "points": None, "masks": None, flag: path})


def test_boxes_by_name_or_stem_one_or_several(tmp_path, photos):
    found = labels_of(
        tmp_path, photos, "boxes", {"00.png": [1, 2, 30, 40], "01": [[0, 0, 5, 5], [3, 3, 9, 9]]}
    )
    assert [prompt.box for prompt in found["00"]] == [(1, 2, 30, 40)]
    assert [prompt.box for prompt in found["01"]] == [(0, 0, 5, 5), (3, 3, 9, 9)]
    assert "02" not in found


def test_points_of_one_thing_or_several(tmp_path, photos):
    one, two = [[3, 4, 1], [90, 80, 0]], [[[3, 4, 1]], [[50, 60, 1], [7, 8, 0]]]
    found = labels_of(tmp_path, photos, "points", {"00.png": one, "02.png": two})
    assert found["00"][0].points.tolist() == [[3, 4], [90, 80]]
    assert found["00"][0].labels.tolist() == [1, 0]
    assert [len(prompt.points) for prompt in found["02"]] == [1, 2]


def test_coarse_masks_by_stem(tmp_path, photos):
    mask = np.zeros((96, 128), bool)
    mask[10:40, 20:60] = True
    write_mask(tmp_path / "coarse" / "01.png", mask)
    found = read_labels(photos, boxes=None, points=None, masks=tmp_path / "coarse")
    (prompt,) = found["01"]
    # A thousand masks of large photos would not fit: they are read when they are needed.
    assert prompt.mask is None
    (read,) = replace(photos[1], prompts=[prompt]).read_prompts()
    assert np.array_equal(read.mask, mask)


WRONG = [
    ("boxes", {"cat.png": [0, 0, 5, 5]}, r"cat\.png is none of the 3 photos; labels of photos .* needed"),
    ("boxes", {"0.png": [0, 0, 5, 5]}, r"0\.png is none .* Did you mean 0[012]\.png\?"),
    ("boxes", {"00.png": [0, 0, 128, 5]}, r"0 0 128 5 of 00\.png reaches outside .* is 128 x 96 pixels"),
    ("boxes", {"00.png": [9, 0, 3, 5]}, r"box 9 0 3 5 of 00\.png is empty; left < right, top < bottom"),
    ("boxes", {"00.png": [1, 2, 3]}, r"the label of 00\.png is \[1, 2, 3\]; left, top, right, bottom is"),
    ("boxes", {"00.png": "here"}, r'the label of 00\.png is "here"; left, top, right, bottom is needed'),
    (
        "boxes",
        {"00": [0, 0, 5, 5], "00.png": [1, 1, 5, 5]},
        r"00\.png is the second label of 00\.png; one for each photo is needed\. Write several things as a",
    ),
    (
        "points",
        {"00": [[3, 4, 1]], "00.png": [[5, 6, 1]]},
        r"00\.png is the second label of 00\.png; one for",
    ),
    ("boxes", "{", r"no valid JSON \(.+\); labels by photo are needed"),
    ("boxes", {}, r"no labels by photo; for example"),
    ("points", {"00.png": [[3, 96, 1]]}, r"3 96 of 00\.png reaches outside the photo, which is 128 x 96"),
    ("points", {"00.png": [[3, 4, 2]]}, r"label 2 of 00\.png; 1 for a point on the thing or 0"),
    ("points", {"00.png": [[3, 4, 0]]}, r"no point of 00\.png is on the thing; at least one is needed"),
    ("points", {"00.png": [[3, 4]]}, r"the label of 00\.png is \[\[3, 4\]\]; x, y, 1 or 0 is needed"),
]


@pytest.mark.parametrize(("flag", "value", "text"), WRONG)
def test_wrong_labels_are_refused_in_one_line(flag, value, text, tmp_path, photos):
    with pytest.raises(UserError, match=rf"^--{flag} \S+labels\.json: {text}") as caught:
        labels_of(tmp_path, photos, flag, value)
    assert "\n" not in str(caught.value)


def test_a_file_of_labels_that_is_not_there(tmp_path, photos):
    with pytest.raises(UserError, match=r"^--boxes \S+none\.json: cannot be read \(No such file"):
        read_labels(photos, boxes=tmp_path / "none.json", points=None, masks=None)
    with pytest.raises(UserError, match=r"^--masks \S+none: no such folder; one with a mask"):
        read_labels(photos, boxes=None, points=None, masks=tmp_path / "none")


def test_masks_of_no_photo_or_of_another_size(tmp_path, photos):
    write_mask(tmp_path / "other" / "07.png", np.eye(96, 128, dtype=bool))
    with pytest.raises(UserError, match=r"^--masks \S+other: 07\.png is none of the 3 photos"):
        read_labels(photos, boxes=None, points=None, masks=tmp_path / "other")
    write_mask(tmp_path / "small" / "00.png", np.eye(50, dtype=bool))
    with pytest.raises(UserError, match=r"^--masks \S+00\.png: the mask is 50 x 50 pixels and its photo 128"):
        read_labels(photos, boxes=None, points=None, masks=tmp_path / "small")


def test_two_masks_of_one_photo(tmp_path, photos):
    mask = np.eye(96, 128, dtype=bool)
    write_mask(tmp_path / "coarse" / "00.png", mask)
    Image.fromarray(mask).save(tmp_path / "coarse" / "00.webp")
    with pytest.raises(UserError, match=r"^--masks \S+coarse: 00\.webp is the second label of 00\.png; one"):
        read_labels(photos, boxes=None, points=None, masks=tmp_path / "coarse")


def test_a_photo_has_one_kind_of_label(tmp_path, photos):
    boxes, points = tmp_path / "b.json", tmp_path / "p.json"
    boxes.write_text(json.dumps({"00.png": [0, 0, 5, 5]}))
    points.write_text(json.dumps({"00.png": [[3, 4, 1]]}))
    with pytest.raises(UserError, match=r"^--points \S+: 00 has labels in --boxes too; one kind for each"):
        read_labels(photos, boxes=boxes, points=points, masks=None)


def test_too_few_photos(tmp_path):
    photos, boxes, _ = album(tmp_path, num_photos=2)
    with pytest.raises(UserError, match=r"^--photos: 2 to adapt to; at least 3 are needed\. Add photos"):
        adapt_sam(photos=photos, out=tmp_path / "out", labels=WeakLabels(boxes=boxes))
    assert not (tmp_path / "out").exists()


def test_nothing_given_and_nothing_proposed_by_the_command(tmp_path, capsys):
    photos, _, _ = album(tmp_path)
    constant_segmenter(-5.0).model.save_pretrained(tmp_path / "sam")
    with pytest.raises(SystemExit):
        main(
            [
                "adapt-sam",
                "--photos",
                str(photos),
                "--out",
                str(tmp_path / "o"),
                "--sam",
                str(tmp_path / "sam"),
            ]
        )
    assert capsys.readouterr().err.endswith(
        "error: --photos: no labels, and SAM proposes nothing, in 3 of 3 photos (00.png); labels of at least "
        "3 are needed. Give --boxes, --points or --masks.\n"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "--out {0} --photos {0}/masks",
            r"--out \S+: the masks would be written over the files of --photos ",
        ),
        ("--out {0} --masks {0}/masks", r"--out \S+: the masks would be written over the files of --masks "),
        (
            "--out {0} --merge {0}/m --preset paper",
            r"--merge \S+: not with --input wesam, .* Add --input sam, or drop --merge\.",
        ),
        ("--out {0} --merge {0}/sam --sam {0}/sam", r"--merge \S+sam: that is the model of --sam, which the"),
        (
            "--out {0} --device nonsense",
            r"--device nonsense: cannot be used \(no such kind of device\); a dev",
        ),
        ("--out {0} --device cpu:0", r"--device cpu:0: accelerate chooses which; cpu is needed\."),
    ],
)
def test_what_would_go_wrong_late_is_said_at_once(words, text, tmp_path, capsys):
    photos, boxes, _ = album(tmp_path)
    (tmp_path / "sam").mkdir()
    given = words.format(tmp_path).split()
    if "--photos" in given:
        photos.rename(tmp_path / "masks")
    else:
        given += ["--photos", str(photos)]
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(["adapt-sam", *given, "--boxes", str(boxes)])
    assert stopped.value.code == 2
    assert re.search(f"^error: {text}", capsys.readouterr().err)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_out_that_cannot_be_written(tmp_path):
    photos, boxes, _ = album(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^--out \S+file: \S+file is a file; a folder is needed"):
        adapt_sam(photos=photos, out=tmp_path / "file", labels=WeakLabels(boxes=boxes))
    with pytest.raises(UserError, match=r"^--merge \S+file: \S+file is a file; a folder is needed"):
        adapt_sam(
            photos=photos, out=tmp_path / "out", labels=WeakLabels(boxes=boxes), merge=tmp_path / "file"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"rank": 0}, r"--rank 0: out of range; at least 1 is needed"),
        ({"iterations": 0}, r"--iterations 0: out of range; at least 1"),
        ({"learning_rate": 0.0}, r"--learning_rate 0\.0: out of range; a value above 0"),
        ({"ema_momentum": 1.5}, r"--ema_momentum 1\.5: out of range; at least 0 and at most 1"),
        ({"loss_weights": (1.0, 2.0)}, r"--loss_weights: 2 numbers; one each for focal, dice, iou, anchor"),
        ({"loss_weights": (0.0,) * 5}, r"--loss_weights: all are 0; at least one above 0"),
        ({"loss_weights": (1.0, 1, 1, 1, -1)}, r"--loss_weights -1: out of range; at least 0"),
    ],
)
def test_settings_out_of_range(settings, text):
    with pytest.raises(UserError, match=f"^{text}"):
        AdaptConfig(**settings)


def test_the_presets_differ_as_the_docs_say():
    few, paper = (plan_of(AdaptConfig(preset=name), 100) for name in ("few", "paper"))
    assert (few.iterations, few.learning_rate, few.warmup) == (1000, 1e-4, 100)
    assert (few.background, few.input, few.coarse, few.flips, few.selects) == (True, "sam", "mask", "h", True)
    assert (few.point_jitter, few.automatic) == (0.02, "box")
    assert (paper.iterations, paper.learning_rate, paper.warmup) == (500, 1e-4, 250)
    assert (paper.background, paper.input, paper.coarse) == (False, "wesam", "box")
    assert (paper.flips, paper.selects, paper.point_jitter, paper.automatic) == ("hv", False, 0.0, "point")
    assert plan_of(AdaptConfig(), 1000).iterations == 2000
    assert plan_of(AdaptConfig(preset="paper", input="sam", coarse="mask"), 3).input == "sam"


def test_pictures_that_are_no_masks_are_said(tmp_path, photos):
    (tmp_path / "coarse").mkdir()
    Image.new("L", (128, 96)).save(tmp_path / "coarse" / "00.png")
    with pytest.raises(UserError, match=r"^--masks \S+00\.png: the mask is empty"):
        read_labels(photos, boxes=None, points=None, masks=tmp_path / "coarse")
