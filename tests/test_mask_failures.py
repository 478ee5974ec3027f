"""A failure at one photo names it and loses nothing; a mask never takes the place of something else."""

import json

import numpy as np
import pytest
from PIL import Image
from sam_models import random_sam, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.stage import find_masks
from persam_dreambooth.masks.subjects import find_subjects
from persam_dreambooth.photos import read_photos, write_mask
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import SearchConfig

SIZES = [(96, 128), (120, 80), (128, 128)]


class Breaking(Segmenter):
    """A segmenter with a defect that shows at one size of photo."""

    error = ZeroDivisionError
    size = SIZES[2]

    def encode_batch(self, photos):
        if any(pixels.shape[:2] == self.size for pixels in photos):
            raise self.error
        return super().encode_batch(photos)


@pytest.fixture
def album(tmp_path):
    """Three photos 00 to 02, the first with a mask beside it, and a SAM's folder."""
    folder = tmp_path / "cat"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        Image.fromarray(scene(*size, seed=number)[0]).save(folder / f"{number:02}.png")
    write_mask(folder / "00.mask.png", scene(*SIZES[0])[1])
    random_sam().save_pretrained(tmp_path / "sam")
    return folder


def run(album, **options):
    arguments = {"min_confidence": 0, "sam": str(album.parent / "sam"), "method": "persam"}
    return find_masks(read_photos(album), **{**arguments, "out_dir": album.parent / "masks", **options})


def break_at(monkeypatch, size, error=Breaking.error):
    monkeypatch.setattr(Breaking, "size", size)
    monkeypatch.setattr(Breaking, "error", error)
    monkeypatch.setattr(Segmenter, "load", lambda *_: Breaking(random_sam()))


def record(folder):
    return json.loads((folder / "masks.json").read_text())


def test_the_traceback_of_a_defect_names_the_photo_and_nothing_is_lost(album, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        break_at(patch, SIZES[2])
        with pytest.raises(ZeroDivisionError) as failed:
            run(album)
    (note,) = failed.value.__notes__
    assert str(album / "02.png") in note
    assert "00.png" not in note
    assert str(tmp_path / "masks") in note
    assert list(record(tmp_path / "masks")["masks"]) == ["00", "01"]
    written = (tmp_path / "masks" / "01.png").stat().st_mtime_ns
    assert list(run(album)) == ["00", "01", "02"]
    assert (tmp_path / "masks" / "01.png").stat().st_mtime_ns == written


@pytest.mark.parametrize("hint", [{}, {"reference_box": (30.0, 20.0, 90.0, 80.0)}, {"reference_choice": 1}])
def test_a_reference_photo_is_named_as_well(album, monkeypatch, hint):
    if hint:
        (album / "00.mask.png").unlink()
    break_at(monkeypatch, SIZES[0])
    with pytest.raises(ZeroDivisionError) as failed:
        run(album, **hint)
    assert str(album / "00.png") in failed.value.__notes__[0]
    break_at(monkeypatch, SIZES[0], MemoryError)
    with pytest.raises(UserError, match=r"00\.png: could not be segmented \(MemoryError\)"):
        run(album, **hint)


def test_with_several_subjects_the_photo_is_named_as_well(album, tmp_path, monkeypatch):
    corner = np.zeros(SIZES[0], bool)
    corner[:40, :50] = True
    write_mask(tmp_path / "00.dog.png", corner)
    named = [f"cat={album / '00.mask.png'}", f"dog={tmp_path / '00.dog.png'}"]
    settings = SearchConfig(min_confidence=0, fit_solver="lbfgs")
    for number in (0, 2):
        break_at(monkeypatch, SIZES[number])
        with pytest.raises(ZeroDivisionError) as failed:
            find_subjects(
                read_photos(album), named, settings, out_dir=tmp_path / "two", sam=str(tmp_path / "sam")
            )
        assert str(album / f"0{number}.png") in failed.value.__notes__[0]
    assert list(record(tmp_path / "two" / "dog")["masks"]) == ["00", "01"]


@pytest.mark.parametrize("name", ["contact_sheet.png", "Contact_Sheet.jpg", "proposals.webp"])
def test_a_photo_named_like_a_sheet_is_refused_before_anything_is_written(album, tmp_path, name):
    (album / "01.png").rename(album / name)
    with pytest.raises(UserError, match=rf"{name}: its mask would take the place of .*; .* Rename the photo"):
        run(album)
    assert not (tmp_path / "masks").exists()


def test_photos_named_masks_are_no_trouble(album):
    (album / "01.png").rename(album / "masks.png")
    assert list(run(album)) == ["00", "02", "masks"]


def test_the_folder_of_the_photos_is_refused_as_folder_of_the_masks(album, tmp_path):
    before = {path.name: path.read_bytes() for path in album.iterdir()}
    (tmp_path / "link").symlink_to(album)
    for out in (album, tmp_path / "link", album / "x" / ".."):
        with pytest.raises(UserError, match=r": the photos are in this folder; .* Name another one\."):
            run(album, out_dir=out)
    assert {path.name: path.read_bytes() for path in album.iterdir()} == before
