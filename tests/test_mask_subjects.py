"""Several named subjects: one folder each, no pixel of two, and what cannot be."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from sam_models import random_sam, scene

from persam_dreambooth.cli import main
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.references import owner_of
from persam_dreambooth.masks.subjects import compete, find_subjects
from persam_dreambooth.photos import read_mask, read_photos, write_mask
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import SearchConfig

SIZE = (96, 128)


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    random_sam().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def album(tmp_path):
    """Three photos, and masks of two subjects, one in 00 and one in 02."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(scene(*SIZE, seed=number)[0]).save(folder / f"{number:02}.png")
    write_mask(tmp_path / "00.cat.png", scene(*SIZE)[1])
    corner = np.zeros(SIZE, bool)
    corner[:40, :50] = True
    write_mask(tmp_path / "02.dog.png", corner)
    return folder


def run(album, sam, *named, **options):
    named = named or [f"cat={album.parent / '00.cat.png'}", f"dog={album.parent / '02.dog.png'}"]
    settings = SearchConfig(min_confidence=0, fit_solver="lbfgs")
    out = album.parent / "masks"
    return find_subjects(read_photos(album), named, settings, out_dir=out, sam=sam, **options)


def test_a_pixel_belongs_to_the_largest_positive_logit():
    won = compete(
        {"cat": torch.tensor([[2.0, -1.0, 3.0, 1.0]]), "dog": torch.tensor([[1.0, -2.0, 4.0, 1.0]])}
    )
    assert won["cat"].tolist() == [[True, False, False, True]]
    assert won["dog"].tolist() == [[False, False, True, False]]


def test_each_subject_gets_a_folder_and_no_pixel_is_of_two(album, sam, tmp_path):
    found = run(album, sam)
    assert list(found) == ["cat", "dog"]
    assert found["cat"]["00"].source == found["dog"]["02"].source == "given"
    assert np.array_equal(found["cat"]["00"].mask, scene(*SIZE)[1])
    for stem in ("00", "01", "02"):
        both = [masks[stem].mask for masks in found.values() if stem in masks]
        assert np.sum(both, axis=0).max() == 1
    for name, masks in found.items():
        for stem, mask in masks.items():
            written = read_mask(tmp_path / "masks" / name / f"{stem}.png", SIZE)
            assert np.array_equal(written, mask.mask)
        record = json.loads((tmp_path / "masks" / name / "masks.json").read_text())
        assert {*record["masks"], *record["left_out"]} == {"00", "01", "02"}


def test_a_second_run_needs_no_model(album, sam, monkeypatch):
    first = run(album, sam)
    monkeypatch.setattr(Segmenter, "load", None)
    assert run(album, sam) == first


def test_a_mask_belongs_to_the_photo_that_its_name_starts_with(album):
    photos = read_photos(album)
    for name, stem in [("02.dog.png", "02"), ("01.png", "01"), ("01.mask.png", "01"), ("dog.png", "00")]:
        assert owner_of(album / name, photos).stem == stem
    assert owner_of(album / "021.png", photos).stem == "00"


@pytest.mark.parametrize(
    ("named", "text"),
    [
        (["cat"], r"^--subjects cat: is not name=mask"),
        (["a/b=x.png", "c=y.png"], r"^--subjects a/b=x\.png: is not name=mask"),
        (["cat=x.png", "dog=y.png"], r"^--subjects x\.png: no such file"),
    ],
)
def test_what_cannot_be(album, sam, named, text):
    with pytest.raises(UserError, match=text):
        run(album, sam, *named)


def test_one_subject_or_another_hint_is_refused(album, sam):
    mask = album.parent / "00.cat.png"
    with pytest.raises(UserError, match=r"^--subjects cat=.*: one subject; at least two are needed"):
        run(album, sam, f"cat={mask}")
    with pytest.raises(UserError, match=r"^--subjects: goes with none of --reference_"):
        find_subjects(
            read_photos(album),
            [f"cat={mask}", f"dog={mask}"],
            SearchConfig(reference_box=(1, 2, 3, 4)),
            out_dir=album.parent / "masks",
        )


def test_a_subject_that_another_one_takes_most_of_is_left_out(album, sam, tmp_path, monkeypatch):
    # A person says that nearly all of a photo is the dog.
    dog = np.ones(SIZE, bool)
    dog[:, :2] = False
    write_mask(tmp_path / "01.dog.png", dog)
    named = f"cat={tmp_path / '00.cat.png'}", f"dog={tmp_path / '01.dog.png'}"
    masks = run(album, sam, *named)
    assert "01" not in masks["cat"]
    left = json.loads((tmp_path / "masks" / "cat" / "masks.json").read_text())["left_out"]["01"]
    share = re.fullmatch(r"another subject is likelier at (\d+)% of its pixels", left["reason"])
    assert int(share[1]) > 50
    assert not (tmp_path / "masks" / "cat" / "01.png").exists()
    # That is decided, however sure the mask was.
    monkeypatch.setattr(Segmenter, "load", None)
    assert run(album, sam, *named) == masks


def test_the_command_says_where_each_subject_is(album, sam, tmp_path, capsys):
    argv = ["segment", "--photos", str(album), "--out", str(tmp_path / "out"), "--sam", sam]
    named = [f"cat={tmp_path / '00.cat.png'}", f"dog={tmp_path / '02.dog.png'}"]
    main([*argv, "--min_confidence", "0", "--fit_solver", "lbfgs", "--subjects", *named])
    told = capsys.readouterr().out
    for name in ("cat", "dog"):
        assert f"masks.html and contact_sheet.png are in {tmp_path / 'out' / name}\n" in told
        assert (tmp_path / "out" / name / "contact_sheet.png").is_file()


def test_two_masks_of_a_subject_in_one_photo_are_refused(album, sam, tmp_path):
    paths = [tmp_path / "00.cat.png", tmp_path / "00.tom.png"]
    write_mask(paths[1], scene(*SIZE)[1])
    with pytest.raises(UserError, match=r"^--subjects .*00\.tom\.png: belongs to 00\.png, as .*00\.cat\.png"):
        run(album, sam, f"cat={paths[0]}", f"cat={paths[1]}", f"dog={tmp_path / '02.dog.png'}")
