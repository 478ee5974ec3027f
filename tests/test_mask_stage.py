"""The stage from photos to masks: what is given stays, what is found is kept, what is edited is respected."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sam_models import random_sam, scene

from persam_dreambooth.diffusion.geometry import Geometry, square
from persam_dreambooth.diffusion.latent_mask import LatentMask
from persam_dreambooth.diffusion.latent_mask import latent_mask as diffusion_mask
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.confidence import SIGNS, expected_iou
from persam_dreambooth.masks.page import masks_page
from persam_dreambooth.masks.sheet import TILE, Row, contact_sheet, latent_mask
from persam_dreambooth.masks.stage import find_masks
from persam_dreambooth.photos import read_mask, read_photos, write_mask
from persam_dreambooth.sam.segmenter import Segmenter

SIZES = [(96, 128), (120, 80), (128, 128)]
OVERVIEW = ("masks.json", "masks.html", "contact_sheet.png")


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    random_sam().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def album(tmp_path):
    """Return a folder of three photos 00 to 02, without masks."""
    folder = tmp_path / "cat"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        Image.fromarray(scene(*size, seed=number)[0]).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def hinted(album):
    """Return the same folder with a mask beside 00."""
    write_mask(album / "00.mask.png", scene(*SIZES[0])[1])
    return album


def run(folder, sam, **options):
    # A SAM with random weights is sure of nothing.
    arguments = {"min_confidence": 0, "sam": sam, "method": "persam", "out_dir": folder.parent / "masks"}
    return find_masks(read_photos(folder), **{**arguments, **options})


def written(folder):
    """Return when each file in the folder was last written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def sources(masks):
    return {stem: mask.source for stem, mask in masks.items()}


def edit(path):
    """Paint a square into a mask, as a person might."""
    pixels = np.array(Image.open(path))
    pixels[:20, :20] = 255 - pixels[:20, :20]
    pixels[0, 0], pixels[0, 1] = 0, 255
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("method", ["persam", "persam_f"])
def test_one_mask_becomes_a_mask_for_every_photo(hinted, sam, tmp_path, method):
    masks = run(hinted, sam, method=method, latent_size=(16, 16))
    out_dir = tmp_path / "masks"
    assert sources(masks) == {"00": "given", "01": method, "02": method}
    assert np.array_equal(masks["00"].mask, scene(*SIZES[0])[1])
    assert set(written(out_dir)) == {"00.png", "01.png", "02.png", *OVERVIEW}
    for (stem, mask), size in zip(masks.items(), SIZES, strict=True):
        assert mask.mask.shape == size
        assert np.array_equal(read_mask(out_dir / f"{stem}.png", size), mask.mask)
        assert mask.area_fraction == pytest.approx(mask.mask.mean())
    found = masks["01"]
    assert len(found.point_coords) == len(found.point_labels) == (2 if method == "persam" else 1)
    assert len(found.box) == 4
    assert (found.mask_weights is None) == (method == "persam")


def test_the_record_can_be_read(hinted, sam, tmp_path):
    masks = run(hinted, sam, method="persam_f", latent_size=(16, 16))
    text = (tmp_path / "masks" / "masks.json").read_text()
    record = json.loads(text)
    assert text == json.dumps(record, indent=2, sort_keys=True) + "\n"
    assert record["references"] == [{"hint": "00.mask.png", "photo": "00.png", "source": "given"}]
    assert (record["method"], record["latent_size"]) == ("persam_f", [16, 16])
    assert list(record["masks"]) == ["00", "01", "02"]
    entry = record["masks"]["01"]
    assert (entry["photo"], entry["source"], entry["digest"]) == ("01.png", "persam_f", masks["01"].digest)
    assert sum(entry["mask_weights"]) == pytest.approx(1)
    assert set(entry["confidence_parts"]) == set(SIGNS)
    assert entry["confidence"] == pytest.approx(expected_iou(entry["confidence_parts"]), abs=1e-3)
    assert isinstance(entry["flags"], dict)
    assert record["masks"]["00"]["confidence"] is None


def test_a_second_run_does_nothing(hinted, sam, tmp_path, monkeypatch):
    first = run(hinted, sam)
    before = written(tmp_path / "masks")
    monkeypatch.setattr(Segmenter, "load", None)
    second = run(hinted, sam)
    assert written(tmp_path / "masks") == before
    assert second == first
    assert all(np.array_equal(second[stem].mask, first[stem].mask) for stem in first)


def test_a_new_photo_is_the_only_one_to_be_segmented(hinted, sam, tmp_path):
    run(hinted, sam)
    before = written(tmp_path / "masks")
    Image.fromarray(scene(100, 90, seed=3)[0]).save(hinted / "03.png")
    assert sources(run(hinted, sam))["03"] == "persam"
    after = written(tmp_path / "masks")
    assert {name for name in after if after[name] != before.get(name)} == {"03.png", *OVERVIEW}


def test_another_method_model_or_reference_finds_the_masks_again(hinted, sam, tmp_path):
    found = run(hinted, sam)
    assert sources(run(hinted, sam, method="persam_f"))["01"] == "persam_f"
    random_sam(seed=3).save_pretrained(tmp_path / "other")
    assert run(hinted, str(tmp_path / "other"))["01"].box != found["01"].box
    write_mask(tmp_path / "smaller.png", np.roll(scene(*SIZES[0])[1], 30, axis=1))
    again = run(hinted, sam, reference_mask=tmp_path / "smaller.png")
    assert again["00"].digest != found["00"].digest
    assert again["01"].point_coords != found["01"].point_coords


def test_an_edited_mask_is_kept_until_it_is_deleted(hinted, sam, tmp_path, capsys):
    found = run(hinted, sam)
    path = tmp_path / "masks" / "01.png"
    edit(path)
    edited = path.read_bytes()
    capsys.readouterr()
    masks = run(hinted, sam)
    assert sources(masks) == {"00": "given", "01": "edited", "02": "persam"}
    assert masks["01"].digest != found["01"].digest
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert "keeping the masks edited by hand (01)" in lines[0]
    # Still theirs on the next run, and when everything else is found again.
    random_sam(seed=3).save_pretrained(tmp_path / "other")
    again = run(hinted, str(tmp_path / "other"))
    assert sources(again) == sources(masks)
    assert again["02"].digest != masks["02"].digest
    assert path.read_bytes() == edited
    path.unlink()
    again = run(hinted, sam)
    assert again["01"].source == "persam"
    assert again["01"].digest == found["01"].digest


def test_an_edited_mask_goes_when_its_photo_is_replaced(hinted, sam, tmp_path):
    run(hinted, sam)
    edit(tmp_path / "masks" / "01.png")
    Image.fromarray(scene(*SIZES[1], seed=7)[0]).save(hinted / "01.png")
    assert sources(run(hinted, sam))["01"] == "persam"


def test_an_edited_mask_that_is_empty_is_refused(hinted, sam, tmp_path):
    run(hinted, sam)
    Image.new("L", SIZES[1][::-1]).save(tmp_path / "masks" / "01.png")
    with pytest.raises(UserError, match=r"01\.png: the mask is empty"):
        run(hinted, sam)


def test_every_given_mask_is_kept_and_the_named_one_is_the_reference(hinted, sam, tmp_path):
    write_mask(hinted / "02.mask.png", scene(*SIZES[2], seed=2)[1])
    masks = run(hinted, sam)
    assert sources(masks) == {"00": "given", "01": "persam", "02": "given"}
    assert run(hinted, sam, reference_photo="02.png")["01"].digest != masks["01"].digest
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert [told["photo"] for told in record["references"]] == ["02.png"]


@pytest.mark.parametrize(
    ("name", "photo"), [("02.mask.png", "02.png"), ("02.bmp", "02.png"), ("x.png", "00.png")]
)
def test_a_reference_mask_belongs_to_the_photo_it_is_named_after_or_the_first(
    album, sam, tmp_path, name, photo
):
    number = int(photo[:2])
    write_mask(tmp_path / name, scene(*SIZES[number], seed=number)[1])
    masks = run(album, sam, reference_mask=tmp_path / name)
    assert masks[photo[:2]].source == "given"
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert [told["photo"] for told in record["references"]] == [photo]


def test_a_mask_for_every_photo_needs_no_model(album, tmp_path):
    for number, size in enumerate(SIZES):
        write_mask(album / f"{number:02}.mask.png", scene(*size, seed=number)[1])
    assert set(sources(run(album, "./nowhere")).values()) == {"given"}


def test_a_run_that_is_cut_off_leaves_nothing_that_looks_edited(hinted, sam, tmp_path):
    run(hinted, sam)
    sheet = tmp_path / "masks" / "contact_sheet.png"
    sheet.unlink()
    sheet.mkdir()  # in the way of the file that is written between the masks and the record
    with pytest.raises(OSError, match="contact_sheet"):
        run(hinted, sam, method="persam_f")
    sheet.rmdir()
    assert sources(run(hinted, sam)) == {"00": "given", "01": "persam", "02": "persam"}


def test_an_unknown_reference_photo_is_named(hinted, sam):
    expected = r"^--reference_photo 3\.png: no such photo; one of 00\.png, 01\.png, 02\.png is needed\."
    with pytest.raises(UserError, match=expected):
        run(hinted, sam, reference_photo="3.png")


def test_a_reference_photo_without_a_mask_is_named(hinted, sam):
    with pytest.raises(UserError, match=r"^--reference_photo 01: has no mask; .*01\.mask\.png\.$"):
        run(hinted, sam, reference_photo="01")


def test_a_reference_mask_of_another_size_is_named(album, sam, tmp_path):
    write_mask(tmp_path / "mask.png", scene(50, 60)[1])
    with pytest.raises(UserError, match=r"^--reference_mask .*mask\.png: the mask is 60 x 50 pixels"):
        run(album, sam, reference_mask=tmp_path / "mask.png")


@pytest.mark.parametrize("text", ["{", "[]", '{"masks": {"00": {}}}'])
def test_a_broken_record_is_named(hinted, sam, tmp_path, text):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "masks.json").write_text(text)
    with pytest.raises(UserError, match=r"masks\.json: .*; delete it to have the masks found again\.$"):
        run(hinted, sam)


def test_the_latent_mask_is_the_share_of_each_cell():
    mask = np.zeros((16, 32), bool)
    mask[:8, :4] = True
    mask[8:, 24:] = True
    assert latent_mask(mask, None).tolist() == [[0.5, 0, 0, 0], [0, 0, 0, 1]]
    assert latent_mask(mask, (1, 1)).tolist() == [[0.125, 0.25]]


def test_the_latent_mask_is_what_training_makes_of_a_photo():
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((8, 12)) < 0.5, np.ones((16, 16), bool))
    # At 64 pixels a photo of 128 x 192 is 64 x 96, of which training takes the middle 64 columns.
    inside = square((mask * 255).astype(np.uint8), Geometry(resolution=64, center_crop=True), "")
    loss_mask = diffusion_mask(torch.tensor(inside)[None].float() / 255, 8, LatentMask())[0].numpy()
    assert latent_mask(mask, (8, 8))[:, 2:10] == pytest.approx(loss_mask, abs=0.07)


def test_without_a_resolution_large_photos_are_taken_as_trained_at_512():
    mask = np.zeros((1024, 2048), bool)
    mask[:16] = True
    assert latent_mask(mask, None).shape == (64, 128)
    assert latent_mask(mask, None).sum() == 128
    row = Row(np.zeros((1024, 2048, 3), np.uint8), mask, "00.png")
    assert "shorter side is 512 pixels" in masks_page([row], None, title="")
    assert "one part in 32 of the photo’s shorter side wide" in masks_page([row], (32, 32), title="")


def test_the_sheet_has_a_line_for_every_photo():
    pixels, mask = scene(96, 128)
    sheet = contact_sheet([Row(pixels, mask, "00.png   given"), Row(pixels, mask, "01.png")], (16, 16))
    one_line = contact_sheet([Row(pixels, mask, "00.png")], None)
    assert sheet.width == one_line.width > 3 * TILE
    assert TILE < sheet.height - one_line.height < TILE + 90
    colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height)}
    assert {(255, 64, 32), (0, 0, 0), (255, 255, 255)} <= colours
