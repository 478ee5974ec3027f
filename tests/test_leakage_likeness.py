"""Likeness: both ways, between the class noun and real photos, and of the subject alone."""

import numpy as np
import pytest
from leakage_cases import SIDE, disc, place

from persam_dreambooth.leakage.features import load_features
from persam_dreambooth.leakage.likeness import base_level, normalise, references, similarity

CT = load_features("ct")


def coloured(colour: tuple[int, int, int], number: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo of a disc, striped as its own kind, in front of a place, and its mask."""
    y, x = np.mgrid[:SIDE, :SIDE]
    bright = 1 + 0.3 * np.sin((x + y) / 5 + seed)
    own = (np.array(colour) * bright[..., None]).clip(0, 255).astype(np.uint8)
    return np.where(disc()[..., None], own, place(number, seed)), disc()


RED, BLUE = (200, 40, 40), (40, 60, 190)


def test_similarity_by_hand():
    """Best matches of the first: 1 and 0.6; of the second: 1 alone."""
    first = np.array([[1.0, 0.0], [0.6, 0.8]])
    second = np.array([[1.0, 0.0]])
    assert similarity(first, second) == pytest.approx((0.8 + 1.0) / 2)
    assert similarity(first, second) == similarity(second, first)
    assert similarity(second, -second) == -1.0


def test_the_scale_by_hand():
    assert normalise(0.3, base=0.3, real=0.8) == 0.0
    assert normalise(0.8, base=0.3, real=0.8) == 1.0
    assert normalise(0.4, base=0.3, real=0.8) == pytest.approx(0.2)
    assert normalise(0.2, base=0.3, real=0.8) == pytest.approx(-0.2)


def test_a_missing_subject_has_the_level_of_the_base_model():
    assert normalise(None, base=0.3, real=0.8) == 0.0


def test_the_lower_end_is_the_mean_of_the_base_models_pictures():
    assert base_level([0.2, 0.4], real=0.8) == pytest.approx(0.3)


def test_where_the_features_cannot_tell_there_is_no_scale():
    """A standard error of 0.1 / sqrt(4): real photos must be more than 0.1 above."""
    raws = [0.2, 0.4, 0.2, 0.4]
    assert base_level(raws, real=0.39) is None
    assert base_level(raws, real=0.41) == pytest.approx(0.3)
    assert base_level([0.5], real=0.5) is None
    assert base_level([], real=0.5) is None


@pytest.fixture(scope="module")
def known():
    others = [CT.subject(*coloured(BLUE, number, number)) for number in range(3)]
    return references(CT, [coloured(RED, 10 + number, number) for number in range(3)], others), others


def test_the_subject_is_found_again_and_another_is_not(known):
    scale, others = known
    level = base_level([scale.raw(vectors) for vectors in others], scale.real)
    again = scale.raw(CT.subject(*coloured(RED, 50, 7)))
    assert normalise(again, level, scale.real) == pytest.approx(1.0, abs=0.15)
    other = scale.raw(CT.subject(*coloured(BLUE, 51, 8)))
    assert normalise(other, level, scale.real) == pytest.approx(0.0, abs=0.15)


def test_the_background_has_no_part_in_it(known):
    """The photos' own scene behind another subject earns nothing; a new one behind the subject is free."""
    scale, _ = known
    for colour in (RED, BLUE):
        own, new = (scale.raw(CT.subject(*coloured(colour, number, 3))) for number in (10, 77))
        assert own == pytest.approx(new, abs=1e-9)


def test_real_photos_are_compared_with_the_others(known):
    scale, _ = known
    first, second, third = scale.subjects
    pairs = (similarity(first, second), similarity(first, third), similarity(second, third))
    assert scale.real == pytest.approx(np.mean(pairs))


def test_enough_held_out_photos_are_the_references_alone():
    photos = [coloured(RED, 10), coloured(RED, 11, 1)]
    held_out = [coloured(RED, 20 + number, number) for number in range(5)]
    unseen = references(CT, photos, [], held_out)
    assert len(unseen.subjects) == 5
    trained = [unseen.space.directions(CT.subject(*photo)) for photo in photos]
    pairs = [similarity(one, other) for one in trained for other in unseen.subjects]
    assert unseen.real == pytest.approx(np.mean(pairs))
    assert len(references(CT, photos, [], held_out[:4]).subjects) == 6


def test_a_single_photo_is_compared_with_its_mirror_image():
    photo = coloured(RED, 10)
    alone = references(CT, [photo], [CT.subject(*coloured(BLUE))])
    assert len(alone.subjects) == 1
    mirrored = CT.subject(np.ascontiguousarray(photo[0][:, ::-1]), np.ascontiguousarray(photo[1][:, ::-1]))
    assert alone.real == pytest.approx(alone.raw(mirrored))
    assert alone.real < 1.0
