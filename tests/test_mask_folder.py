"""A folder of masks while it is filled: what is left out, what survives, what lies beside the masks."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from sam_models import constant_segmenter, random_sam, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import confidence
from persam_dreambooth.masks.confidence import Factor
from persam_dreambooth.masks.folder import MaskFolder
from persam_dreambooth.masks.record import LeftOut
from persam_dreambooth.masks.stage import conclude, find_masks
from persam_dreambooth.photos import read_photos, write_mask
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import SearchConfig

SIZES = [(96, 128), (120, 80), (128, 128)]
ARRAYS = {
    *("target_embedding", "target_feature", "similarity", "point_coords", "point_labels", "mask_weights"),
    *("attention_similarity", "box_1", "box_2"),
    *(f"{name}_{k}" for name in ("low_res_logits", "iou_predictions") for k in range(3)),
}


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    random_sam().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A SAM whose masks are all empty."""
    folder = tmp_path_factory.mktemp("blind")
    constant_segmenter(-1.0).model.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def album(tmp_path):
    """Three photos 00 to 02, the first with a mask beside it."""
    folder = tmp_path / "cat"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        Image.fromarray(scene(*size, seed=number)[0]).save(folder / f"{number:02}.png")
    write_mask(folder / "00.mask.png", scene(*SIZES[0])[1])
    return folder


def run(folder, sam, **options):
    arguments = {"min_confidence": 0, "sam": sam, "method": "persam", "out_dir": folder.parent / "masks"}
    return find_masks(read_photos(folder), **{**arguments, **options})


def record(folder):
    return json.loads((folder / "masks.json").read_text())


def test_a_photo_without_the_subject_is_left_out_with_a_reason(album, sam, tmp_path, capsys):
    out = tmp_path / "masks"
    run(album, sam)
    masks = run(album, sam, min_confidence=1)
    assert list(masks) == ["00"]
    assert not (out / "01.png").exists()
    told = record(out)
    assert (list(told["masks"]), list(told["left_out"])) == (["00"], ["01", "02"])
    assert "is below 1)" in told["left_out"]["01"]["reason"]
    assert "2 of 3 photos are left out (01: " in capsys.readouterr().out
    assert "left out" in (out / "masks.html").read_text()


@pytest.fixture
def lenient(monkeypatch):
    """A random SAM is never trusted: below the four digits that are kept. Here it is, a little."""
    monkeypatch.setattr(confidence, "IDENTITY", Factor(2.0, {"colour": 0.2}))
    monkeypatch.setattr(confidence, "QUALITY", Factor(0.0, {"stability": 0.2, "flip": 0.2}))


def test_a_lower_threshold_takes_the_photo_back_and_a_higher_one_looks_again(
    album, sam, tmp_path, monkeypatch, lenient
):
    run(album, sam, min_confidence=1)
    # What is decided stays decided: no model is needed.
    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "load", None)
        assert list(run(album, sam, min_confidence=1)) == ["00"]
    masks = run(album, sam, min_confidence=0)
    assert list(masks) == ["00", "01", "02"]
    assert record(tmp_path / "masks")["left_out"] == {}
    lower = min(masks[stem].confidence for stem in ("01", "02")) / 2
    assert lower > 0
    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "load", None)
        assert list(run(album, sam, min_confidence=lower)) == ["00", "01", "02"]


def test_a_mask_that_a_person_drops_in_brings_a_photo_back(album, sam, tmp_path, capsys):
    run(album, sam, min_confidence=1)
    write_mask(tmp_path / "masks" / "01.png", scene(*SIZES[1], seed=1)[1])
    capsys.readouterr()
    masks = run(album, sam, min_confidence=1)
    assert {stem: mask.source for stem, mask in masks.items()} == {"00": "given", "01": "edited"}
    assert "keeping the masks edited by hand (01)" in capsys.readouterr().out
    assert list(record(tmp_path / "masks")["left_out"]) == ["02"]


def test_nothing_found_is_no_mask_and_no_error_while_a_photo_is_left(album, blind, tmp_path):
    masks = run(album, blind)
    assert list(masks) == ["00"]
    left = record(tmp_path / "masks")["left_out"]
    assert {entry["reason"] for entry in left.values()} == {
        "subject not found: every mask is empty or covers the whole photo"
    }
    assert left["01"]["confidence"] is None


def test_no_photo_left_is_an_error_that_names_the_page(album, tmp_path):
    photos = read_photos(album)
    folder = MaskFolder(tmp_path / "masks", photos)
    for photo in photos:
        folder.leave_out(LeftOut(photo.stem, "not there", 0.1, {}))
    expected = r"^--min_confidence 0\.2: each of the 3 photos was left out; .*masks\.html"
    with pytest.raises(UserError, match=expected):
        conclude(photos, folder, latent_size=None, min_confidence=0.2)
    assert "not there" in (tmp_path / "masks" / "masks.html").read_text()


def test_a_failure_at_one_photo_keeps_the_others_and_the_next_run_goes_on(album, sam, tmp_path):
    out = tmp_path / "masks"
    out.mkdir()
    (out / "02.png").mkdir()  # in the way of the last mask
    with pytest.raises(UserError, match=r"02\.png: could not be segmented .* go on from there"):
        run(album, sam)
    assert list(record(out)["masks"]) == ["00", "01"]
    written = (out / "01.png").stat().st_mtime_ns
    (out / "02.png").rmdir()
    assert list(run(album, sam)) == ["00", "01", "02"]
    assert (out / "01.png").stat().st_mtime_ns == written


def test_a_record_of_the_first_version_is_read(album, sam, tmp_path):
    run(album, sam)
    path = tmp_path / "masks" / "masks.json"
    old = record(path.parent)
    del old["left_out"]
    for entry in old["masks"].values():
        for name in ("confidence", "confidence_parts", "how", "flags"):
            del entry[name]
    path.write_text(json.dumps(old))
    pixels = np.array(Image.open(path.parent / "01.png"))
    Image.fromarray(255 - pixels).save(path.parent / "01.png")
    assert run(album, sam)["01"].source == "edited"


@pytest.mark.parametrize("method", ["persam", "persam_f"])
def test_intermediates_have_the_names_and_shapes_that_are_promised(album, sam, tmp_path, method):
    run(album, sam, method=method, save_intermediates=True, fit_solver="lbfgs")
    height, width = SIZES[1]
    with np.load(tmp_path / "masks" / "01.npz") as file:
        arrays = dict(file)
    assert set(arrays) == ARRAYS
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes["similarity"] == (height, width)
    assert shapes["target_embedding"] == shapes["target_feature"] == (32,)
    assert np.linalg.norm(arrays["target_feature"]) == pytest.approx(1, abs=1e-5)
    assert shapes["low_res_logits_0"] == ((1, 64, 64) if method == "persam" else (3, 64, 64))
    assert shapes["low_res_logits_1"] == shapes["low_res_logits_2"] == (3, 64, 64)
    assert shapes["iou_predictions_2"] == (3,)
    assert shapes["attention_similarity"] == ((16, 16) if method == "persam" else (0,))
    assert shapes["mask_weights"] == ((0,) if method == "persam" else (3,))
    assert shapes["box_1"] == ((0,) if method == "persam" else (4,))
    assert shapes["box_2"] == (4,)
    point = arrays["point_coords"][0].astype(int)
    assert arrays["similarity"][point[1], point[0]] == arrays["similarity"].max()
    entry = record(tmp_path / "masks")["masks"]["01"]
    assert arrays["box_2"].tolist() == entry["box"]
    assert arrays["iou_predictions_2"].max() == pytest.approx(entry["iou_prediction"])


def test_intermediates_are_made_for_masks_that_are_there_already(album, sam, tmp_path):
    run(album, sam)
    before = (tmp_path / "masks" / "01.png").stat().st_mtime_ns
    run(album, sam, save_intermediates=True)
    assert {path.name for path in (tmp_path / "masks").glob("*.npz")} == {"00.npz", "01.npz", "02.npz"}
    assert (tmp_path / "masks" / "01.png").stat().st_mtime_ns == before


def test_the_page_needs_nothing_else_and_escapes_names(album, sam, tmp_path):
    (album / "01.png").rename(album / "a<b>&.png")
    run(album, sam, min_confidence=0)
    text = (tmp_path / "masks" / "masks.html").read_text()
    assert "a&lt;b&gt;&amp;.png" in text
    assert "<b>" not in text
    assert "http" not in text
    assert text.count("data:image/jpeg;base64,") == 3 * 3
    assert "$" not in text.split("</style>")[1]


def test_settings_are_a_record_and_single_ones_go_over_it(album, sam, tmp_path):
    mask = tmp_path / "00.png"
    write_mask(mask, scene(*SIZES[0])[1])
    (album / "00.mask.png").unlink()
    settings = SearchConfig(min_confidence=1)
    masks = find_masks(
        read_photos(album),
        settings,
        out_dir=tmp_path / "out",
        sam=sam,
        method="persam",
        reference_mask=mask,
        min_confidence=0,
    )
    assert list(masks) == ["00", "01", "02"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'reference_mosk'"):
        find_masks(read_photos(album), out_dir=tmp_path / "out", reference_mosk=mask)


def test_sheet_and_page_show_the_worst_first(album, sam, tmp_path, lenient):
    for number, seed in ((3, 5), (4, 9)):
        Image.fromarray(scene(90, 90, seed=seed)[0]).save(album / f"{number:02}.png")
    first = run(album, sam)
    values = sorted(mask.confidence for mask in first.values() if mask.confidence is not None)
    masks = run(album, sam, min_confidence=(values[1] + values[2]) / 2)
    found = [stem for stem in masks if stem != "00"]
    expected = [
        *(stem for stem in first if stem not in masks),
        *sorted(found, key=lambda stem: masks[stem].confidence),
        "00",
    ]
    text = (tmp_path / "masks" / "masks.html").read_text()
    assert re.findall(r"<h2>(\d+)\.png</h2>", text) == expected
