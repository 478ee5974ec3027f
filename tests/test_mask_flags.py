"""Flags of a mask: each on a mask whose shape is known by hand, and none on one that is all right."""

import numpy as np
import pytest

from persam_dreambooth.masks.flags import flags, worst_first


def blank(height=64, width=64):
    return np.zeros((height, width), bool)


def square():
    """A block of 32 x 32 in the middle of 64 x 64 pixels: 4 x 4 whole latent cells."""
    mask = blank()
    mask[16:48, 16:48] = True
    return mask


def test_a_plain_block_has_no_flags():
    assert flags(square(), album_areas=(0.25, 0.2, 0.3), margin=0.4) == {}


@pytest.mark.parametrize(
    ("place", "sides"),
    [
        (np.s_[20:30, 0], "left"),
        (np.s_[0, 20:30], "top"),
        (np.s_[20:30, 63], "right"),
        (np.s_[63, 63], "right, bottom"),
    ],
)
def test_the_edges_that_are_touched_are_named(place, sides):
    mask = square()
    mask[place] = True
    assert flags(mask)["touches_border"] == f"touches the photo's edge: {sides}"


def test_holes_count_from_a_hundredth_of_the_mask_on():
    mask = square()
    mask[20:23, 20:23] = False  # 9 pixels of 1015: a speck
    assert "holes" not in flags(mask)
    mask[30:34, 30:34] = False  # 16 pixels
    assert flags(mask)["holes"] == "1 hole"
    mask[40:44, 40:44] = False
    assert flags(mask)["holes"] == "2 holes"


def test_a_bay_and_a_mask_that_parts_the_photo_are_no_holes():
    mask = square()
    mask[30:34, 40:48] = False
    mask[:, 20:24] = True
    assert "holes" not in flags(mask)


def test_many_components_are_more_than_three():
    mask = blank()
    for number in range(4):
        assert "many_components" not in flags(mask) if number else True
        mask[8:40, 16 * number : 16 * number + 8] = True
    assert flags(mask)["many_components"] == "4 separate parts"
    mask[60, 60] = True  # a speck
    assert flags(mask)["many_components"] == "4 separate parts"


def test_thin_parts_are_lost_where_no_cell_around_is_half_subject():
    mask = square()
    mask[48:64, 30] = True  # a stalk of 16 pixels, one wide; its upper 8 lie beside whole cells
    assert "thin_parts" not in flags(mask)  # 8 of 1040
    mask[2, 0:60] = True  # a hair of 60 pixels in the uppermost row of cells, of which 40 lie next to nothing
    told = flags(mask)["thin_parts"]
    # Row 0 of cells has row 1 below it, which is empty: all 60 are lost, and 8 of the stalk: 68 of 1100.
    assert told == "6% of it is too thin for the latent cells"


def test_thin_is_relative_to_the_latent_size():
    mask = blank()
    mask[16:20, 8:56] = True  # 4 pixels wide: half of a cell of 8, a quarter of one of 16
    assert "thin_parts" not in flags(mask, latent_size=(8, 8))
    assert flags(mask, latent_size=(4, 4))["thin_parts"].startswith("100%")


def test_an_area_is_an_outlier_against_the_album():
    mask = square()  # a quarter of the photo
    assert flags(mask, album_areas=(0.25, 0.05, 0.06))["area_outlier"] == (
        "its area is 4.2 times the album's median"
    )
    assert flags(mask, album_areas=(0.25, 0.8, 0.9))["area_outlier"].startswith("its area is 0.31 times")
    assert "area_outlier" not in flags(mask, album_areas=(0.25, 0.01))


def test_a_close_second_is_told():
    assert "close_second" in flags(square(), margin=0.01)
    assert "close_second" in flags(square(), margin=-0.3)
    assert "close_second" not in flags(square(), margin=None)


def test_large_masks_are_reduced_and_told_the_same():
    mask = np.kron(square(), np.ones((50, 50), bool))
    mask[1600:1900, 1600:1900] = False
    assert flags(mask) == {"holes": "1 hole"}


def test_the_least_confident_come_first_and_given_masks_last():
    confidences = {"a": 0.9, "b": None, "c": 0.2, "d": None}
    flagged = {"a": {}, "b": {}, "c": {}, "d": {"holes": "1 hole"}}
    assert worst_first(confidences, flagged) == ["c", "a", "d", "b"]
