"""The subject removed and the subject alone: neither follows from one pixel of the other."""

import numpy as np
import pytest
from leakage_cases import disc, place, with_subject

from persam_dreambooth.leakage.features.cutout import GREY, LONG_SIDE, SIDE, cut_out
from persam_dreambooth.leakage.features.fill import without_subject

EXTREMES = {
    "black": lambda shape: np.zeros(shape, np.uint8),
    "white": lambda shape: np.full(shape, 255, np.uint8),
    "noise": lambda shape: np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8),
}


@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("side", [37, 128, 300])
def test_the_fill_does_not_follow_from_the_subject(extreme, side):
    pixels, mask = with_subject(place(1, side=side)), disc(side)
    other = np.where(mask[..., None], extreme(pixels.shape), pixels)
    assert np.array_equal(without_subject(pixels, mask), without_subject(other, mask))


def test_what_is_not_removed_stays():
    pixels, mask = with_subject(place(1)), disc()
    filled = without_subject(pixels, mask)
    assert np.array_equal(filled[~mask], pixels[~mask])
    assert not np.array_equal(filled[mask], pixels[mask])


def test_nothing_removed_is_the_picture_itself():
    pixels = place(1)
    assert without_subject(pixels, np.zeros(pixels.shape[:2], bool)) is pixels


def test_a_flat_surrounding_is_continued():
    pixels = np.full((200, 140, 3), (17, 130, 240), np.uint8)
    mask = np.zeros((200, 140), bool)
    mask[20:180, 30:100] = True
    filled = without_subject(np.where(mask[..., None], 255 - pixels, pixels), mask)
    # Where a small pixel is a quarter opaque, Pillow's colours are steps of two.
    assert np.abs(filled.astype(int) - pixels).max() <= 2


def test_a_ramp_is_continued():
    """A ramp solves Laplace's equation: a membrane over a hole in it is the ramp."""
    ramp = np.repeat(np.linspace(0, 255, 128)[None, :, None], 128, axis=0).repeat(3, axis=2)
    pixels, mask = ramp.astype(np.uint8), disc()
    filled = without_subject(np.where(mask[..., None], np.uint8(0), pixels), mask)
    assert np.abs(filled.astype(int) - pixels)[mask].max() <= 6


def test_the_fill_lies_between_what_surrounds_it():
    """The maximum principle: no colour appears that is not between those of the rim."""
    pixels, mask = np.full((128, 128, 3), 90, np.uint8), disc()
    pixels[:, 64:] = 170
    filled = without_subject(pixels, mask)[mask]
    assert filled.min() >= 90 - 2
    assert filled.max() <= 170 + 2


def test_a_picture_that_is_all_subject_becomes_grey():
    pixels = place(1)
    assert (without_subject(pixels, np.ones(pixels.shape[:2], bool)) == 127).all()


def test_the_subject_is_cut_out_in_the_middle_at_one_scale():
    pixels = np.zeros((90, 300, 3), np.uint8)
    mask = np.zeros((90, 300), bool)
    mask[40:60, 200:300] = True
    pixels[mask] = (200, 40, 30)
    square, is_subject = cut_out(pixels, mask)
    rows, columns = np.nonzero((square != GREY).any(axis=-1))
    assert square.shape == (SIDE, SIDE, 3)
    assert columns.max() - columns.min() + 1 == LONG_SIDE
    assert rows.max() - rows.min() + 1 == pytest.approx(LONG_SIDE / 5, abs=1)
    assert abs(rows.min() + rows.max() - SIDE) <= 2
    # 14 columns of cells, and the rows that 90 of 512 pixels mostly fill: 2 of 32 each.
    assert is_subject.sum() == 14 * 2
    assert (square[256, 100] == (200, 40, 30)).all()


@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
def test_the_subject_alone_does_not_follow_from_the_background(extreme):
    pixels, mask = with_subject(place(1)), disc()
    other = np.where(mask[..., None], pixels, extreme(pixels.shape))
    assert np.array_equal(cut_out(pixels, mask)[0], cut_out(other, mask)[0])


def test_the_same_subject_larger_and_elsewhere_looks_alike():
    mask, large = np.zeros((128, 128), bool), np.zeros((256, 256), bool)
    mask[10:50, 10:50] = large[120:200, 100:180] = True
    texture = place(5, side=40)
    pixels, larger = np.zeros((128, 128, 3), np.uint8), np.zeros((256, 256, 3), np.uint8)
    pixels[10:50, 10:50] = texture
    larger[120:200, 100:180] = texture.repeat(2, axis=0).repeat(2, axis=1)
    first, second = cut_out(pixels, mask)[0].astype(float), cut_out(larger, large)[0].astype(float)
    assert np.abs(first - second).mean() < 5


def test_a_thin_subject_still_has_a_cell():
    mask = np.zeros((128, 128), bool)
    mask[np.arange(128), np.arange(128)] = True
    assert cut_out(place(1), mask)[1].any()


def test_an_empty_mask_has_no_subject():
    with pytest.raises(ValueError, match="the mask is empty"):
        cut_out(place(1), np.zeros((128, 128), bool))
