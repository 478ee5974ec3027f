"""The toy world's places: covered, repeatable, the same from photo to photo, different from each other."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth.toyworld.backgrounds import BACKGROUNDS, DRAW, PHRASES
from persam_dreambooth.toyworld.canvas import SUPERSAMPLE, Canvas

EVERY_BACKGROUND = pytest.mark.parametrize("name", BACKGROUNDS)
SIDE = 128


def draw(name, place, view):
    canvas = Canvas(SIDE, SIDE)
    ground = DRAW[name](canvas, Random(place), Random(view))
    return canvas, ground


def pixels(canvas):
    return np.asarray(canvas.flatten().reduce(SUPERSAMPLE)).astype(np.float32)


def part_colour(canvas, name):
    """The median colour of a part, whatever stands in front of it."""
    (layer,) = [np.asarray(p.image) for p in canvas.parts if p.name == name]
    return np.median(layer[layer[..., 3] == 255][:, :3], axis=0)


def test_every_background_has_a_phrase_of_its_own():
    phrases = [phrase for name in BACKGROUNDS for phrase in PHRASES[name]]
    assert len(BACKGROUNDS) == 12
    assert set(PHRASES) == set(DRAW) == set(BACKGROUNDS)
    assert len(set(phrases)) == len(phrases)


@EVERY_BACKGROUND
def test_the_backdrop_covers_the_whole_picture_and_the_ground_is_in_range(name):
    for seed in range(12):
        canvas, ground = draw(name, seed, 100 + seed)
        backdrop = next(p for p in canvas.parts if p.name == "backdrop")
        assert backdrop.image.getchannel("A").getextrema() == (255, 255)
        assert 0.62 <= ground <= 0.95


@EVERY_BACKGROUND
def test_the_same_seeds_draw_the_same_picture(name):
    first, again = draw(name, 3, 4), draw(name, 3, 4)
    assert first[1] == again[1]
    np.testing.assert_array_equal(pixels(first[0]), pixels(again[0]))


@EVERY_BACKGROUND
def test_at_least_three_whole_things_are_seen(name):
    for seed in range(4):
        canvas, _ = draw(name, seed, seed)
        things = [p for p in canvas.parts if p.name not in {"body", "backdrop"}]
        assert len({p.name for p in things}) == len(things)
        solid = [
            np.asarray(p.image.getchannel("A").resize((SIDE, SIDE), Image.Resampling.BOX)) > 127
            for p in things
        ]
        assert sum(mask.sum() >= 25 for mask in solid) >= 3


@pytest.mark.parametrize(
    ("name", "thing"),
    [
        ("room", "sofa"),
        ("kitchen", "fridge"),
        ("farm", "barn"),
        ("beach", "boat"),
        ("library", "globe"),
        ("night", "house1"),
    ],
)
def test_a_place_keeps_its_things_and_colours_in_another_photo(name, thing):
    views = [draw(name, 7, view)[0] for view in range(5)]
    assert len({tuple(p.name for p in canvas.parts) for canvas in views}) == 1
    colours = np.array([part_colour(canvas, thing) for canvas in views])
    # Only the light differs: brightness by at most 10 %, warmth by at most 6 %.
    assert np.ptp(colours, axis=0).max() <= 0.17 * 255


@EVERY_BACKGROUND
def test_different_places_and_different_photos_look_different(name):
    first = pixels(draw(name, 0, 0)[0])
    for seed in range(1, 5):
        other_place, other_photo = pixels(draw(name, seed, 0)[0]), pixels(draw(name, 0, seed)[0])
        assert np.abs(first - other_place).mean() > 4
        assert np.abs(first - other_photo).mean() > 1


def test_the_average_colours_of_the_backgrounds_are_apart():
    means = [
        np.mean([pixels(draw(name, k, k)[0]).mean((0, 1)) for k in range(3)], axis=0) for name in BACKGROUNDS
    ]
    gaps = [np.linalg.norm(means[i] - means[j]) for i in range(12) for j in range(i)]
    assert min(gaps) > 5


def test_sofas_of_different_rooms_differ():
    colours = {tuple(part_colour(draw("room", place, 0)[0], "sofa")) for place in range(8)}
    assert len(colours) >= 3
