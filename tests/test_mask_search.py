"""Looking for the subject in one photo: other ways where it is unsure, and "it is not there"."""

from dataclasses import replace

import pytest
import torch
from sam_models import constant_segmenter, random_segmenter, scene

from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.confidence import Confidence
from persam_dreambooth.masks.passes import tight_box
from persam_dreambooth.masks.search import (
    crop_around,
    prompted,
    search,
    similar_box,
    similar_points,
    why_left_out,
)
from persam_dreambooth.masks.subject import look_for, remember


@pytest.fixture(scope="module")
def case():
    """A random SAM, what it remembers of a disc, and another photo, encoded."""
    segmenter = random_segmenter()
    (first, mask), (second, _) = scene(96, 128), scene(120, 80, seed=1)
    subject = remember(segmenter, [Reference(segmenter.encode(first), mask, "mask", first)], method="persam")
    return segmenter, second, segmenter.encode(second), subject


def run(case, min_confidence, **changes):
    segmenter, pixels, embedding, subject = case
    return search(
        segmenter,
        pixels,
        embedding,
        replace(subject, **changes),
        photo_name="01.png",
        min_confidence=min_confidence,
    )


def test_the_methods_own_answer_is_kept_where_it_is_sure_enough(case):
    segmenter, _, embedding, subject = case
    found = run(case, 0.0)
    assert found.reason is None
    assert found.best.how == ""
    assert torch.equal(found.best.found.mask, look_for(segmenter, embedding, subject, "photo").mask)


def test_an_unsure_answer_is_looked_for_in_other_ways_and_then_left_out(case):
    first, found = run(case, 0.0), run(case, 1.0)
    assert found.best.confidence.value >= first.best.confidence.value
    assert torch.equal(found.first.mask, first.first.mask)
    assert found.reason.endswith(f"(confidence {found.best.confidence.value:.2f} is below 1)")


def test_the_authors_programs_have_one_way(case):
    found = run(case, 1.0, compat=True)
    assert found.best.how == ""
    assert found.reason is not None


def test_no_usable_mask_is_an_answer():
    segmenter = constant_segmenter(-1.0)
    (first, mask), (second, _) = scene(96, 128), scene(120, 80, seed=1)
    subject = remember(segmenter, [Reference(segmenter.encode(first), mask, "mask", first)], method="persam")
    found = run((segmenter, second, segmenter.encode(second), subject), 0.0)
    assert found.best is None
    assert found.first is None
    assert found.reason == "subject not found: every mask is empty or covers the whole photo"


@pytest.mark.parametrize(
    ("colour", "text"), [(0.05, "subject not in this photo"), (1.0, "unsure where the subject ends")]
)
def test_the_reason_says_whether_the_subject_is_there(case, colour, text):
    best = run(case, 0.0).best
    signs = dict.fromkeys(best.confidence.parts, 1.0) | {"colour": colour}
    unsure = replace(best, confidence=Confidence(0.15, signs))
    assert why_left_out(unsure, 0.2).startswith(text)
    assert why_left_out(unsure, 0.15) is None


def test_the_logits_of_an_answer_are_its_mask(case):
    segmenter = case[0]
    best = run(case, 0.0).best
    assert torch.equal(best.logits(segmenter) > 0, best.found.mask)


def test_a_crop_is_put_back_where_it_was_taken(case):
    segmenter = case[0]
    best = run(case, 0.0).best
    window = replace(
        best, window=(10, 20, 90, 140), found=replace(best.found, mask=torch.zeros(160, 100) > 0)
    )
    logits = window.logits(segmenter)
    assert logits.shape == (160, 100)
    assert torch.equal(logits[20:140, 10:90] > 0, best.found.mask)
    outside = torch.ones(160, 100, dtype=torch.bool)
    outside[20:140, 10:90] = False
    assert (logits[outside] == -torch.inf).all()


def test_points_are_the_most_similar_places_and_apart(case):
    similarity = torch.zeros(32, 64)
    similarity[5, 10], similarity[5, 12], similarity[20, 50], similarity[30, 3] = 1.0, 0.99, 0.95, 0.5
    # A photo twice as large: the middle of pixel 10 is 20.5 there.
    points = similar_points(similarity, replace(case[2], size=(64, 128)))
    assert points.tolist() == [[20.5, 10.5], [100.5, 40.5]]


def test_the_box_surrounds_the_region_around_the_most_similar_place():
    similarity = torch.zeros(20, 40)
    similarity[4:9, 6:16] = 0.9
    similarity[6, 7] = 1.0
    similarity[15, 30] = 0.95  # elsewhere
    assert similar_box(similarity, (20, 40)).tolist() == [6, 4, 15, 8]
    assert similar_box(similarity, (40, 80)).tolist() == [12, 8, 31, 17]


def test_a_crop_has_the_box_in_its_middle_and_ends_at_the_photo():
    assert crop_around(torch.tensor([40.0, 40.0, 59.0, 59.0]), (200, 200)) == (30, 30, 71, 71)
    left, top, right, bottom = crop_around(torch.tensor([0.0, 90.0, 19.0, 99.0]), (100, 60))
    assert (left, top, right, bottom) == (0, 85, 31, 100)


def test_prompts_lead_to_a_mask_with_their_box(case):
    segmenter, _, embedding, _ = case
    box = torch.tensor([10.0, 20.0, 60.0, 90.0])
    found = prompted(segmenter, embedding, torch.tensor([[30.0, 50.0]]), box, "photo")
    assert found.passes[0].box.tolist() == box.tolist()
    assert len(tight_box(found.mask)) == 4
