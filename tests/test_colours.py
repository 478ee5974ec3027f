"""Colours of a subject: histograms and what two things share."""

import numpy as np
import pytest

from persam_dreambooth.masks.colours import colour_histogram, colours_of, shared_colours


def plain(*colour, count=12):
    return np.full((count, 3), colour, np.uint8)


def test_a_colour_on_the_grid_has_one_bin_and_one_between_two_has_both():
    on_grid = colour_histogram(plain(51, 0, 255).astype(float))
    assert on_grid[1 * 36 + 0 * 6 + 5] == pytest.approx(1)
    between = colour_histogram(plain(51, 0, 242).astype(float))  # 242 / 51 = 4.745...
    assert between[1 * 36 + 4] == pytest.approx(5 - 242 / 51)
    assert between[1 * 36 + 5] == pytest.approx(242 / 51 - 4)
    assert between.sum() == pytest.approx(1)


def test_only_the_mask_counts():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    mask = rng.random((16, 20)) < 0.4
    elsewhere = np.where(mask[..., None], pixels, 255 - pixels)
    np.testing.assert_array_equal(colours_of(elsewhere, mask), pixels[mask])


def test_shared_colours_worked_by_hand():
    red, blue = plain(255, 0, 0), plain(0, 0, 255)
    both = np.concatenate([red, blue])
    assert shared_colours(red, red) == pytest.approx(1)
    assert shared_colours(red, blue) == 0
    assert shared_colours(red, both) == pytest.approx(0.5)
    assert shared_colours(both, both[::-1]) == pytest.approx(1)


def test_a_stop_of_light_changes_nothing_and_more_does():
    rng = np.random.default_rng(0)
    known = rng.integers(60, 120, (500, 3), dtype=np.uint8)
    assert shared_colours(known, known * 2) > 0.98
    assert shared_colours(known * 2, known) > 0.98
    assert shared_colours(known, known // 2) > 0.95
    assert shared_colours(known, known // 8) < 0.5
    # Black stays apart from white, whatever the light.
    assert shared_colours(plain(250, 250, 250), plain(20, 20, 20)) == 0
    assert shared_colours(plain(0, 0, 0), plain(0, 0, 0)) == 1


def test_a_large_subject_is_counted_by_a_sample():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (400, 500, 3), dtype=np.uint8)
    everywhere = np.ones((400, 500), bool)
    sampled = colours_of(pixels, everywhere)
    assert 2**14 < len(sampled) <= 2**15
    assert shared_colours(sampled, colours_of(pixels[::2, ::2], everywhere[::2, ::2])) > 0.95
