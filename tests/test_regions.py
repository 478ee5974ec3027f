"""Connected regions, holes and specks: hand-worked cases, and a flood fill as reference."""

import itertools

import numpy as np
import pytest

from persam_dreambooth.sam.regions import connected_regions, without_small_regions


def picture(text):
    """Return a mask from rows of # and . characters."""
    return np.array([[char == "#" for char in row] for row in text.split()])


def flooded(mask):
    """Return regions found pixel by pixel."""
    regions = np.zeros(mask.shape, int)
    unseen = dict.fromkeys((int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True))
    while unseen:
        waiting = [next(iter(unseen))]
        number = regions.max() + 1
        while waiting:
            y, x = waiting.pop()
            regions[y, x] = number
            unseen.pop((y, x), None)
            around = itertools.product((y - 1, y, y + 1), (x - 1, x, x + 1))
            waiting += [near for near in around if near in unseen]
    return regions


def test_pixels_that_touch_at_a_corner_belong_together():
    regions, areas = connected_regions(picture("#..# .#.# ...."))
    assert regions.tolist() == [[1, 0, 0, 2], [0, 1, 0, 2], [0, 0, 0, 0]]
    assert areas.tolist() == [2, 2]


def test_arms_that_meet_below_are_one_region():
    regions, areas = connected_regions(picture("#.#.# #.#.# #####"))
    assert regions.max() == 1
    assert areas.tolist() == [11]


def test_a_row_does_not_touch_the_next_ones_start():
    regions, _ = connected_regions(picture("...# #..."))
    assert regions.tolist() == [[0, 0, 0, 1], [2, 0, 0, 0]]


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_pictures(value):
    regions, areas = connected_regions(np.full((3, 5), value))
    assert (regions == int(value)).all()
    assert areas.tolist() == ([15] if value else [])


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5, 0.7])
def test_regions_are_those_of_a_flood_fill(share):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        mask = rng.random((rng.integers(1, 30), rng.integers(1, 30))) < share
        regions, areas = connected_regions(mask)
        assert np.array_equal(regions, flooded(mask))
        assert areas.tolist() == [int((regions == number + 1).sum()) for number in range(len(areas))]


def test_small_holes_are_filled_and_small_regions_dropped():
    mask = picture("#####.. #.###.# ##..#.. #####..")
    tidy, changed = without_small_regions(mask, 2)
    # The hole of one pixel touches the hole of two at a corner: one hole of three, which stays.
    assert changed
    assert tidy.tolist() == picture("#####.. #.###.. ##..#.. #####..").tolist()
    tidy, changed = without_small_regions(mask, 4)
    assert changed
    assert tidy.tolist() == picture("#####.. #####.. #####.. #####..").tolist()
    tidy, changed = without_small_regions(mask, 1)
    assert not changed
    assert np.array_equal(tidy, mask)


def test_of_regions_that_are_all_too_small_the_first_largest_stays():
    tidy, changed = without_small_regions(picture("#.......## #......... ....##...."), 5)
    assert changed
    assert tidy.tolist() == picture("#......... #......... ..........").tolist()


def test_an_empty_mask_stays_empty():
    tidy, changed = without_small_regions(np.zeros((4, 4), bool), 3)
    assert not tidy.any()
    assert not changed
