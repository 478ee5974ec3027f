"""The subject in generated pictures: found, missing where nothing is like it, remembered."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sam_models import constant_segmenter, random_segmenter, scene

from persam_dreambooth.leakage import finder
from persam_dreambooth.leakage.album import Album
from persam_dreambooth.leakage.drawing import read_key
from persam_dreambooth.leakage.finder import (
    Found,
    finder_of,
    masks_of,
    mean_inside,
    remembering,
    subject_finder,
    subject_look,
)
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.presence import Presence
from persam_dreambooth.masks.record import subject_mask
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.scene import render

PLACES = tuple(backgrounds.BACKGROUNDS)


def as_photo(pixels: np.ndarray, stem: str = "00") -> Photo:
    return Photo(path=Path(f"{stem}.png"), pixels=pixels, digest=array_digest(pixels))


def test_the_finder_returns_a_mask_of_the_pictures_size():
    pixels, mask = scene(96, 128)
    find = subject_finder(random_segmenter(), as_photo(pixels), mask)
    found = find(scene(80, 64, seed=3)[0])
    assert found.shape == (80, 64)
    assert found.dtype == bool
    assert 0 < found.sum() < found.size


@pytest.mark.parametrize("logit", [-1.0, 1.0])
def test_a_subject_that_is_not_found_is_none(logit):
    pixels, mask = scene(96, 128)
    find = subject_finder(constant_segmenter(logit), as_photo(pixels), mask)
    assert find(scene(80, 64, seed=3)[0]) is None


def test_the_mean_inside_by_hand():
    similarity = torch.tensor([[0.9, 0.5], [0.1, -1.0]])
    assert mean_inside(similarity, torch.tensor([[True, True], [False, False]])) == pytest.approx(0.7)


def test_the_photo_itself_resembles_the_subject_more_than_noise_does():
    pixels, mask = scene(96, 128)
    look = subject_look(random_segmenter(), as_photo(pixels), mask)
    noise = np.random.default_rng(0).integers(0, 120, (96, 128, 3), dtype=np.uint8)
    own, other = look(pixels), look(noise)
    assert -1 <= other.resemblance < own.resemblance <= 1


def test_below_the_line_a_subject_is_missing():
    mask = np.eye(4, dtype=bool)
    found = {1: Found(mask, 0.6), 2: Found(mask, 0.5), 3: None}
    pictures = {number: np.full((4, 4, 3), number, np.uint8) for number in found}

    def look(pixels):
        return found[int(pixels[0, 0, 0])]

    line = Presence(0.6, 0.0, 1.0, 20, 20)
    assert [masks_of(look, line)(pictures[number]) is mask for number in (1, 2, 3)] == [True, False, False]
    without = Presence(None, None, None, 20, 20)
    for find in (masks_of(look), masks_of(look, without)):
        assert [find(pictures[number]) is mask for number in (1, 2, 3)] == [True, True, False]


def test_what_was_found_is_remembered_and_so_is_that_there_is_nothing(tmp_path):
    first, second = (scene(40, 48, seed=seed)[0] for seed in (0, 1))
    known, asked = Found(scene(40, 48)[1], 0.1 + 0.2), []

    def make():
        def look(pixels):
            asked.append(array_digest(pixels))
            return known if np.array_equal(pixels, first) else None

        return look

    for _ in range(2):
        look = remembering(make, tmp_path / "kept", "references")
        assert np.array_equal(look(first).mask, known.mask)
        assert look(first).resemblance == 0.1 + 0.2
        assert look(second) is None
    assert len(asked) == 2
    assert remembering(make, tmp_path / "kept", "other references")(second) is None
    assert len(asked) == 3


def test_what_an_earlier_version_kept_does_not_count(tmp_path, monkeypatch):
    """It kept masks without what says whether the subject is there."""
    pixels, mask = scene(40, 48)
    look = remembering(lambda: lambda _: Found(mask, 0.5), tmp_path, "references")
    with monkeypatch.context() as earlier:
        earlier.setattr(finder, "_VERSION", "earlier")
        look(pixels)
    (old,) = tmp_path.iterdir()
    assert look(pixels).resemblance == 0.5
    assert len(list(tmp_path.iterdir())) == 2
    assert len({read_key(path) for path in tmp_path.iterdir()}) == 2
    assert old.is_file()


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A finder for one dog, with pictures of other dogs as the base's and places without any."""
    shown = render("dog", "room", 30001, 1, room=3, size=64)
    mask = subject_mask("00", shown.mask, "given")
    album = Album((as_photo(shown.image),), {"00": mask}, ("00",))
    base = [
        Picture(f"a dog {seed}", None, seed, render("dog", PLACES[seed], seed, seed, size=64).image)
        for seed in range(10)
    ]
    # Of prompts for a place alone: these show no subject, and must not count among those that do.
    base += [
        Picture(f"a place {seed}", None, seed, render(None, "beach", 0, seed, size=64).image, "none")
        for seed in range(4)
    ]
    places = [render(None, place, 0, 50, size=64).image for place in PLACES]
    return finder_of(album, "toy", tmp_path_factory.mktemp("kept"), "cpu", base=base, places=places)


def test_the_line_lies_between_the_class_and_places_without_it(toy):
    _, presence = toy
    assert (presence.num_base, presence.num_places) == (10, len(PLACES))
    assert presence.lost == 0.0
    assert presence.caught >= 0.9


def test_other_individuals_are_there_and_empty_places_are_not(toy):
    """Also in the photos' own room: a leaked background is no subject."""
    find, _ = toy
    for seed in range(100, 104):
        assert find(render("dog", PLACES[seed % len(PLACES)], seed, seed, size=64).image) is not None
    empty = [render(None, "room", 0, seed, room=3, size=64).image for seed in range(200, 204)]
    assert sum(find(pixels) is None for pixels in empty) >= 3
