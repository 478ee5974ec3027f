"""The subject nobody marked: scores worked by hand on made-up things; abstaining; one album end to end."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sam_models import constant_segmenter, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.candidates import (
    Candidate,
    candidates_of,
    centre_prior,
    colour_histogram,
    size_prior,
    working_size,
)
from persam_dreambooth.masks.proposals import Proposal, chosen, propose, ranked, things_of
from persam_dreambooth.photos import Photo, array_digest, read_photos, sample_images
from persam_dreambooth.sam.segmenter import Segmenter


def thing(photo_index, feature, colours=(1.0, 0.0), at=(0, 4), **prior):
    """Return a candidate that covers some columns of an 8 x 8 photo."""
    mask = np.zeros((8, 8), bool)
    mask[:, at[0] : at[1]] = True
    feature, colours = (torch.tensor(v) / torch.tensor(v).norm() for v in (feature, colours))
    return Candidate(photo_index, mask, torch.zeros(4, 4), feature, colours, {"centre": 1.0, **prior})


def photo_of(pixels, name="a.png"):
    """Return an array as a photo."""
    return Photo(Path(name), pixels, array_digest(pixels))


def proposal(score=0.5, margin=0.5, num_found=3):
    """Return a proposal of no particular thing."""
    return Proposal(0, np.ones((2, 2), bool), score, {}, "", margin, num_found)


def test_a_thing_scores_by_its_worse_matches_as_worked_by_hand():
    # The subject is the same everywhere; the sofa is in photos 0 to 2 and something else in 3 and 4.
    subject = [thing(i, (1.0, 0.0), at=(0, 4)) for i in range(5)]
    sofa = [thing(i, (0.0, 1.0) if i < 3 else (0.6, 0.8), at=(4, 8)) for i in range(5)]
    scored = ranked([one for pair in zip(sofa, subject, strict=True) for one in pair], 5)
    assert [one.candidate for one in scored[:5]] == subject
    assert all(one.score == pytest.approx(1) and one.num_found == 4 for one in scored[:5])
    of_sofa = next(one for one in scored if one.candidate is sofa[0])
    # Its match in 3 and 4 has the cosine 0.8, in 1 and 2 it is 1; the worse half counts.
    assert of_sofa.parts["consistency"] == pytest.approx(0.8**0.5)
    assert of_sofa.score == pytest.approx(0.8**0.25)
    assert of_sofa.matches == {1: sofa[1], 2: sofa[2], 3: sofa[3], 4: sofa[4]}


def test_colours_tell_individuals_apart():
    same, other = thing(1, (1.0, 0.0), (1.0, 0.0)), thing(1, (1.0, 0.0), (0.0, 1.0))
    found = ranked([thing(0, (1.0, 0.0), (1.0, 0.0)), other, same], 2)
    assert found[0].score == pytest.approx(1)
    assert found[0].matches[1] is same
    assert found[-1].candidate is other
    assert found[-1].num_found == 0


def test_opposite_features_are_no_match_rather_than_a_good_one():
    near, far = thing(1, (0.9, 0.1)), thing(1, (-1.0, 0.0), at=(4, 8))
    found = ranked([thing(0, (1.0, 0.0)), near, far], 2)
    assert next(one for one in found if one.candidate is far).score == 0


def test_the_score_is_the_geometric_mean_of_its_parts():
    pair = [thing(0, (1.0, 0.0), centre=0.5, size=0.25), thing(1, (1.0, 0.0), centre=1.0, size=1.0)]
    found = ranked(pair, 2)
    assert [one.score for one in found] == pytest.approx([1, 0.5])
    assert found[1].parts == pytest.approx({"consistency": 1, "centre": 0.5, "size": 0.25})


def test_photos_in_which_sam_sees_nothing_say_nothing():
    found = ranked([thing(0, (1.0, 0.0)), thing(2, (1.0, 0.0))], 3)
    assert found[0].score == pytest.approx(1)
    assert set(found[0].matches) == {2}


def test_each_thing_is_proposed_once_and_parts_are_no_rivals():
    whole = [thing(i, (1.0, 0.0, 0.0), at=(0, 4)) for i in range(2)]
    again = [thing(i, (1.0, 0.0, 0.0), at=(0, 3), centre=0.9) for i in range(2)]
    part = [thing(i, (1.0, 0.1, 0.0), at=(0, 1), centre=0.8) for i in range(2)]
    sofa = [thing(i, (0.0, 0.0, 1.0), at=(4, 8), centre=0.5) for i in range(2)]
    things, margin = things_of(ranked([*sofa, *part, *again, *whole], 2))
    # The second mask of the whole overlaps it by three quarters; the part lies inside it, and is a choice.
    assert [one.candidate for one in things] == [whole[0], part[0], sofa[0]]
    assert margin == pytest.approx(1 - 0.5**0.5)
    assert things_of(ranked([*part, *whole], 2))[1] == 1


def test_a_thing_that_is_in_one_photo_only_is_no_subject():
    alone = [thing(0, (1.0, 0.0), (1.0, 0.0)), thing(1, (1.0, 0.0), (0.0, 1.0)), thing(2, (0.0, 1.0))]
    expected = (
        r"^--reference_mask: missing, and no thing is found in more than one of 3 photos; a subject is in "
        r"all of them\. Mark the subject in one photo, for example with --reference_box\.$"
    )
    with pytest.raises(UserError, match=expected):
        ranked(alone, 3)


@pytest.mark.parametrize("logit", [-1.0, 1.0])
def test_photos_in_which_there_is_nothing_or_only_everything_are_refused(logit):
    segmenter = constant_segmenter(logit)
    photos = [photo_of(scene(64, 64, seed)[0]) for seed in range(2)]
    expected = (
        r"^--reference_mask: missing, and SAM sees no thing in any of 2 photos; the subject must be known"
    )
    with pytest.raises(UserError, match=expected):
        propose(segmenter, photos, [segmenter.encode(photo.pixels) for photo in photos])


def test_the_best_is_chosen_if_it_is_clear_and_any_if_a_person_says_so():
    proposals = [proposal(0.8, 0.2), proposal(0.6), proposal(0.1, num_found=0)]
    assert chosen(proposals, None) is proposals[0]
    assert [chosen(proposals, k) for k in (1, 2, 3)] == proposals
    unclear = [proposal(0.8, 0.01), proposal(0.792)]
    assert chosen(unclear, 1) is unclear[0]


@pytest.mark.parametrize(
    ("proposals", "choice", "expected"),
    [
        (
            [proposal()] * 3,
            4,
            r"^--reference_choice 4: there are 3 proposals; a number from 1 to 3 is needed",
        ),
        ([proposal()], 0, r"^--reference_choice 0: there are 1 proposals; a number from 1 to 1"),
        (
            [proposal(0.8, 0.01)] * 2,
            None,
            r"^--reference_mask: missing, and two things are in the photos equally often \(scores 0\.800 and "
            r"0\.792\); one must be clearer\. Pick one with --reference_choice \(1 to 2\), or mark it",
        ),
        (
            [proposal(num_found=0)],
            None,
            r"^--reference_mask: missing, and the likeliest thing is in no other photo; one photo",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused(proposals, choice, expected):
    with pytest.raises(UserError, match=expected):
        chosen(proposals, choice)


def test_colours_are_shared_between_neighbouring_bins():
    histogram = colour_histogram(np.array([[0.0, 255.0, 25.5]]))
    shares = histogram.reshape(6, 6, 6)
    # Blue is half way between the first bin (0) and the second (51).
    assert shares[0, 5, 0] == pytest.approx(0.5)
    assert shares[0, 5, 1] == pytest.approx(0.5)
    assert histogram.sum() == pytest.approx(1)
    grey = colour_histogram(np.random.default_rng(0).uniform(0, 255, (50, 3)))
    assert grey.sum() == pytest.approx(1)
    assert (grey >= 0).all()


def test_things_in_the_middle_and_of_usual_size_are_preferred():
    mask = np.zeros((10, 20), bool)
    mask[4:6, 9:11] = True
    assert centre_prior(mask) == pytest.approx(1)
    moved = np.roll(mask, 5, axis=1)
    # A quarter of the width away: one standard deviation.
    assert centre_prior(moved) == pytest.approx(np.exp(-0.5))
    assert centre_prior(np.roll(mask, 4, axis=0)) < centre_prior(np.roll(mask, 2, axis=0))
    assert size_prior(0.05) == size_prior(0.3) == size_prior(0.5) == 1
    assert size_prior(0.0125) == pytest.approx(0.5)
    assert size_prior(0.75) == pytest.approx(0.5)


def test_masks_are_compared_at_256_pixels_at_most():
    assert working_size((1000, 500)) == (256, 128)
    assert working_size((100, 90)) == (100, 90)
    assert working_size((9000, 10)) == (256, 1)


@pytest.fixture(scope="module")
def toy():
    return Segmenter.load("toy")


def test_an_album_is_proposed_from_end_to_end(toy):
    # 300 x 260 pixels: neither square nor the working size.
    photos = [
        photo_of(np.pad(photo.pixels, ((22, 22), (2, 2), (0, 0)), mode="edge"))
        for photo in read_photos(sample_images("cat"))[:2]
    ]
    embeddings = [toy.encode(photo.pixels) for photo in photos]
    proposals = propose(toy, photos, embeddings)
    scores = [one.score for one in proposals]
    assert scores == sorted(scores, reverse=True)
    assert 1 <= len(proposals) <= 8
    for one in proposals:
        assert one.mask.shape == (300, 260)
        assert one.mask.any()
        assert not one.mask.all()
        assert list(one.parts) == ["consistency", "contrast", "centre", "size", "quality"]
        assert all(0 <= part <= 1 for part in one.parts.values())
        assert one.reason.startswith(f"found in {one.num_found} of 1 other photos; ")
    assert all(one.margin == 0 for one in proposals[1:])
    for candidate in candidates_of(toy, photos, embeddings, max_candidates=2):
        assert candidate.mask.shape == (256, 222)
        assert candidate.feature.norm().item() == pytest.approx(1, rel=1e-4)
        assert candidate.colours.norm().item() == pytest.approx(1, rel=1e-4)


def test_one_photo_is_proposed_with_little_confidence_and_chosen_only_by_a_person(toy):
    photo = read_photos(sample_images("robot"))[0]
    first, second = (propose(toy, [photo], [toy.encode(photo.pixels)]) for _ in range(2))
    assert [one.score for one in first] == [one.score for one in second]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first, second, strict=True))
    assert all(one.score <= 0.3 and "consistency" not in one.parts for one in first)
    assert first[0].reason.startswith("there is no other photo; ")
    assert chosen(first, 1) is first[0]
    with pytest.raises(UserError, match="one photo cannot tell"):
        chosen(first, None)
