"""Evaluation: counts worked by hand, boundaries by brute force, PerSeg's layout, and what is refused."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sam_models import constant_segmenter, random_sam, scene

from persam_dreambooth.commands.evaluate_masks import evaluate_masks
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.evaluation import NUM_WORST, Case, boundary, evaluate, overlap, table
from persam_dreambooth.masks.perseg import read_binary, read_cases, read_layout, scored_stems
from persam_dreambooth.photos import write_mask

SIZE = (40, 48)


def strip(*columns):
    """Return a mask of 1 x 10 pixels that is True in these columns."""
    mask = np.zeros((1, 10), bool)
    mask[0, list(columns)] = True
    return mask


def case(name, stem, truth, prediction):
    return Case(name, stem, Path(f"{stem}.jpg"), truth, prediction)


def write_object(data, name, masks, size=SIZE):
    """Write an object in PerSeg's layout: photos as JPEG, masks as RGB (128, 0, 0)."""
    for number, mask in enumerate(masks):
        photo, _ = scene(*size, seed=number)
        paths = [
            data / "Images" / name / f"{number:02}.jpg",
            data / "Annotations" / name / f"{number:02}.png",
        ]
        pixels = np.where(mask[..., None], np.array([128, 0, 0], np.uint8), np.uint8(0))
        for path, image in zip(paths, (photo, pixels), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def square(row, column, side, size=SIZE):
    mask = np.zeros(size, bool)
    mask[row : row + side, column : column + side] = True
    return mask


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Return a data set of two objects, by a relative path, as the test's own folder may have 00 in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("cup", "dog"):
        write_object(Path("data"), name, [square(4, 6, 20), square(8, 8, 16), square(10, 4, 8)])
    return Path("data")


@pytest.fixture
def predictions(data):
    """Return predictions for it: the first photo right, the second half right; none of the reference."""
    for name in ("cup", "dog"):
        write_mask(Path("found") / name / "01.png", square(8, 8, 16))
        write_mask(Path("found") / name / "02.png", square(10, 8, 8))
    return Path("found")


def test_pooled_and_mean_differ_as_worked_by_hand():
    large = case("a", "01", strip(*range(8)), strip(*range(8)))
    small = case("a", "02", strip(0, 1), strip(1, 2))
    other = case("b", "01", strip(0, 1, 2, 3), strip(0))
    result = evaluate(["a", "b"], [large, small, other])
    a, b = result.objects
    # a: 8 + 1 pixels shared of 8 + 3 that either has and 8 + 2 that are true; b: 1 of 4 and 4.
    assert a.iou == pytest.approx(9 / 11)
    assert a.accuracy == pytest.approx(9 / 10)
    assert a.photo_iou == pytest.approx((1 + 1 / 3) / 2)
    assert (b.iou, b.accuracy, b.photo_iou) == pytest.approx((1 / 4, 1 / 4, 1 / 4))
    assert result.miou == pytest.approx((9 / 11 + 1 / 4) / 2)
    assert result.accuracy == pytest.approx((9 / 10 + 1 / 4) / 2)
    assert result.photo_iou == pytest.approx((1 + 1 / 3 + 1 / 4) / 3)


def test_boundaries_are_pooled_and_averaged_alike():
    # One pixel high: every pixel is boundary, so the numbers are those of the masks.
    result = evaluate(["a"], [case("a", "01", strip(0, 1), strip(0)), case("a", "02", strip(0), strip(0))])
    assert result.boundary_iou == pytest.approx(2 / 3)
    assert result.photo_boundary_iou == pytest.approx((1 / 2 + 1) / 2)


@pytest.mark.parametrize(("size", "distance"), [((9, 12), 1), ((60, 80), 2), ((90, 120), 3)])
def test_boundary_is_what_brute_force_finds(size, distance):
    rng = np.random.default_rng(distance)
    coarse = rng.random((size[0] // 3 + 1, size[1] // 3 + 1)) < 0.85
    mask = np.kron(coarse, np.ones((3, 3), bool))[: size[0], : size[1]]
    outside = np.pad(mask, distance)
    near = np.zeros(size, bool)
    for dy, dx in product(range(2 * distance + 1), repeat=2):
        near |= ~outside[dy : dy + size[0], dx : dx + size[1]]
    assert (boundary(mask) == (mask & near)).all()
    assert (mask & ~boundary(mask)).any()


def test_a_full_mask_ends_at_the_picture():
    assert boundary(np.ones((100, 100), bool)).sum() == 100**2 - 94**2


def test_boundary_iou_sees_edges_only():
    truth, found = square(10, 10, 60, (90, 120)), square(10, 11, 60, (90, 120))
    counts = overlap(truth, found)
    # Frames 3 wide, one pixel apart: top and bottom bars share 59 columns, the sides 2 of 4 columns.
    shared = 2 * 3 * 59 + 2 * 2 * 54
    assert counts.boundary_intersection == shared
    assert counts.boundary_union == 2 * (60**2 - 54**2) - shared


def test_nothing_there_and_nothing_found_is_right():
    nothing, something = strip(), strip(3)
    result = evaluate(["a"], [case("a", "01", nothing, nothing), case("a", "02", something, nothing)])
    assert [photo.iou for photo in result.photos] == [1, 0]
    assert [photo.boundary_iou for photo in result.photos] == [1, 0]


def test_an_object_without_photos_scores_0_as_in_the_authors_script():
    result = evaluate(["a", "b"], [case("a", "01", strip(1), strip(1))])
    assert result.miou == pytest.approx(0.5)
    assert result.objects[1].iou == 0
    assert evaluate(["a"], []).photo_iou == 0


def test_the_worst_are_kept_the_worst_first():
    cases = [case("a", f"{n:02}", strip(*range(10)), strip(*range(n % 7 + 1))) for n in range(20)]
    worst = evaluate(["a"], cases).worst
    found = [each.prediction.sum() for each in worst]
    assert found == sorted(found)
    assert (len(found), found[0]) == (NUM_WORST, 1)


def test_the_table_has_a_line_for_each_object_and_the_means():
    lines = table(evaluate(["a", "long_name"], [case("a", "01", strip(0, 1), strip(0))])).splitlines()
    assert lines[1].split() == ["a", "1", "50.00", "50.00", "50.00", "50.00", "50.00"]
    assert lines[-1].split() == ["mean", "1", "25.00", "25.00", "25.00", "50.00", "50.00"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("colour", "is_object"),
    [((128, 0, 0), True), ((1, 1, 1), True), ((2, 0, 0), True), ((1, 0, 0), False), ((0, 0, 4), False)],
)
def test_a_pixel_is_object_where_its_rounded_grey_is_above_0(tmp_path, colour, is_object):
    Image.new("RGB", (3, 2), colour).save(tmp_path / "mask.png")
    assert (read_binary(tmp_path / "mask.png") == is_object).all()


def test_masks_of_16_bits_are_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 1, 65535]], np.uint16)).save(tmp_path / "mask.png")
    assert read_binary(tmp_path / "mask.png").tolist() == [[False, True, True]]


def test_the_reference_is_left_out_by_its_name(data):
    cup, _ = read_layout(data)
    assert scored_stems(cup) == ["01", "02"]
    for folder, suffix in (("Images", "jpg"), ("Annotations", "png")):
        (data / folder / "cup" / f"02.{suffix}").rename(data / folder / "cup" / f"100.{suffix}")
    cup, _ = read_layout(data)
    assert scored_stems(cup) == ["01", "100"]
    assert scored_stems(cup, legacy=True) == ["01"]


def test_legacy_leaves_out_all_of_a_folder_with_00_in_its_name(data, predictions, capsys):
    result = evaluate_masks(data=data, predictions=predictions)
    assert result.miou > 0.5
    assert evaluate_masks(data=data, predictions=predictions, legacy=True) == result
    data.rename("run_2004")
    assert evaluate_masks(data=Path("run_2004"), predictions=predictions) == result
    empty = evaluate_masks(data=Path("run_2004"), predictions=predictions, legacy=True)
    assert (empty.miou, empty.photos) == (0, ())
    assert "mean" in capsys.readouterr().out


def test_predictions_are_compared_with_the_truth(data, predictions):
    # 16 x 16 pixels right; 8 x 8 of which half is right, so 32 shared of 96.
    result = evaluate_masks(data=data, predictions=predictions, out=Path("out"))
    assert result.miou == pytest.approx((256 + 32) / (256 + 96))
    assert result.photo_iou == pytest.approx((1 + 1 / 3) / 2)
    record = json.loads(Path("out/evaluation.json").read_text())
    assert record["miou"] == pytest.approx(result.miou)
    assert [each["name"] for each in record["objects"]] == ["cup", "dog"]
    assert record["predictions"] == "found"
    assert "worst" not in record
    with Image.open("out/worst.png") as sheet:
        assert sheet.height > 4 * 256
        assert len(sheet.getcolors(sheet.width * sheet.height)) > 100
    assert not Path("out/predictions").exists()


@pytest.mark.parametrize("compat", [False, True])
def test_masks_are_found_where_none_are_given(tmp_path, monkeypatch, capsys, compat):
    monkeypatch.chdir(tmp_path)
    write_object(Path("data"), "disc", [scene(80, 100, seed=n)[1] for n in range(3)], (80, 100))
    random_sam().save_pretrained("sam")
    out = Path("out")
    result = evaluate_masks(data=Path("data"), sam="sam", method="persam", persam_compat=compat, out=out)
    again = evaluate_masks(data=Path("data"), predictions=out / "predictions")
    assert again == result
    assert json.loads((out / "evaluation.json").read_text())["persam_compat"] is compat
    assert "evaluation.json and worst.png are in out" in capsys.readouterr().out


def test_a_subject_that_is_not_found_scores_0_and_the_rest_goes_on(data, capsys):
    constant_segmenter(-1.0).model.save_pretrained("empty")
    result = evaluate_masks(data=data, sam="empty", method="persam", out=Path("out"))
    assert (result.miou, len(result.photos)) == (0, 4)
    assert capsys.readouterr().out.count("not found, counted as an empty mask: ") == 4
    assert len(json.loads(Path("out/evaluation.json").read_text())["not_found"]) == 4


def test_a_reference_without_a_cell_scores_0_for_its_object(data):
    write_object(data, "dot", [square(5, 5, 1), square(4, 4, 9)])
    random_sam().save_pretrained("sam")
    result = evaluate_masks(data=data, sam="sam", method="persam", out=Path("out"))
    assert result.objects[2].iou == 0
    assert "too small for the model" in json.loads(Path("out/evaluation.json").read_text())["not_found"][-1]


def move(source, target):
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(source).rename(target)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda: move("data", "x"), r"^--data data: no such folder; a folder with Images/<object>/NN\.jpg"),
        (lambda: move("data/Images", "x"), r"^--data data: has no folder Images; .* are needed\.$"),
        (
            lambda: [move(f"data/Annotations/{name}", f"x/{name}") for name in ("cup", "dog")],
            r"^--data data: Annotations holds no object; ",
        ),
        (lambda: move("data/Images/cup", "x/cup"), r"^data/Images/cup: no such folder; a folder of photos"),
        (
            lambda: move("data/Images/cup/01.jpg", "x/01.jpg"),
            r"^data/Annotations/cup/01\.png: nothing of this",
        ),
        (
            lambda: move("data/Annotations/cup/01.png", "x/01.png"),
            r"^data/Images/cup/01\.jpg: nothing of this",
        ),
        (lambda: move("found", "x"), r"^--predictions found: no such folder; <object>/NN\.png are needed"),
        (lambda: move("found/dog", "found/dogs"), r"^--predictions found: has no .* Did you mean dogs\?$"),
        (lambda: move("found/dog/02.png", "x/02.png"), r"^--predictions found: dog/02\.png is missing; "),
        (lambda: move("found/dog/02.png", "found/dog/03.png"), r"^found/dog/03\.png: no true mask has"),
        (
            lambda: write_mask(Path("found/dog/02.png"), square(1, 1, 3, (30, 20))),
            r"^found/dog/02\.png: 20 x 30 pixels, and data/Annotations/dog/02\.png 48 x 40; the two must",
        ),
        (
            lambda: Path("found/dog/02.png").write_text("x"),
            r"^found/dog/02\.png: cannot be read as a picture",
        ),
        (
            lambda: [write_mask(path, np.zeros(SIZE)) for path in Path("data/Annotations/dog").iterdir()],
            r"^data/Annotations/dog: no object in any mask; some pixels must not be black\. ",
        ),
    ],
)
def test_what_does_not_fit_is_named(data, predictions, spoil, expected):
    spoil()
    with pytest.raises(UserError, match=expected):
        evaluate_masks(data=data, predictions=predictions)


def test_a_contact_sheet_beside_the_predictions_is_no_mask(data, predictions):
    write_mask(predictions / "cup" / "contact_sheet.png", square(1, 1, 3))
    assert len(list(read_cases(read_layout(data), predictions))) == 4


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["01", "02"], r"has no 00\.png; the reference's mask is needed"),
        (["00"], r"only the reference; at least"),
    ],
)
def test_a_reference_and_another_photo_are_needed(data, stems, expected):
    for path in [*data.glob("*/cup/*")]:
        if path.stem not in stems:
            path.unlink()
    with pytest.raises(UserError, match=expected):
        evaluate_masks(data=data, sam="nowhere", predictions=Path("data"))


def test_a_mask_of_another_size_than_its_photo_is_named(data):
    Image.fromarray(scene(50, 60)[0]).save(data / "Images/cup/01.jpg")
    random_sam().save_pretrained("sam")
    expected = r"^data/Annotations/cup/01\.png: 48 x 40 pixels, and data/Images/cup/01\.jpg 60 x 50; "
    with pytest.raises(UserError, match=expected):
        evaluate_masks(data=data, sam="sam", method="persam")
