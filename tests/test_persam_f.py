"""PerSAM-F: what it remembers of one and several references, and its three passes, restated."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from persam_formulas import WEIGHT_MISTAKES, extreme_pixels, restated_persam_f, subject_vector
from sam_models import constant_segmenter, random_segmenter, relative_difference, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.mask_fit import fit_mask_weights
from persam_dreambooth.masks.passes import likeliest_usable
from persam_dreambooth.masks.persam import Reference

SHAPES = [(96, 128), (160, 112), (128, 128), (70, 121)]


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter()


@pytest.fixture(scope="module")
def exact():
    """Return the same model at a precision that leaves only the formulas to compare."""
    segmenter = random_segmenter()
    segmenter.model.double()
    return segmenter


@pytest.fixture(scope="module")
def reference(segmenter):
    pixels, mask = scene(135, 200)
    return Reference(segmenter.encode(pixels), mask, "cat/00.mask.png")


@pytest.fixture(scope="module")
def target(segmenter, reference):
    return persam_f.fit(segmenter, [reference], compat=True)


def doubled(embedding):
    return replace(embedding, features=embedding.features.double())


def in_double(target):
    return replace(target, direction=target.direction.double())


def logits_at_best_point(segmenter, embedding, direction):
    """Return SAM's three masks at the photo's size for the pixel that is most similar."""
    similarity = persam.similarity_map(segmenter, embedding, direction)
    decoded = segmenter.decode(
        embedding,
        point_coords=extreme_pixels(similarity)[:1].float(),
        point_labels=torch.tensor([1]),
    )
    return segmenter.mask_logits(decoded.low_res_logits, embedding)


def test_the_direction_is_half_maximum_half_mean_of_all_references(segmenter, reference, target):
    given = [(reference.embedding, reference.mask)]
    vector = subject_vector(given, 128, half_maximum=True).float()
    torch.testing.assert_close(target.direction, vector / vector.norm())
    mean = subject_vector(given, 128).float()
    torch.testing.assert_close(target.target_embedding, mean)
    assert (target.direction - mean / mean.norm()).abs().max() > 1e-2
    pixels, mask = scene(110, 90, seed=5)
    other = Reference(segmenter.encode(pixels), mask, "other")
    both = persam_f.fit(segmenter, [reference, other], compat=True)
    vector = subject_vector([*given, (other.embedding, other.mask)], 128, half_maximum=True).float()
    torch.testing.assert_close(both.direction, vector / vector.norm())


@pytest.mark.parametrize("solver", ["adamw", "lbfgs"])
def test_the_weights_are_fitted_on_the_three_masks_of_the_most_similar_pixel(segmenter, reference, solver):
    target = persam_f.fit(segmenter, [reference], solver=solver)
    mask_logits = logits_at_best_point(segmenter, reference.embedding, target.direction)
    fitted = fit_mask_weights(mask_logits, torch.from_numpy(reference.mask), solver=solver)
    torch.testing.assert_close(target.mask_weights, fitted)
    assert float(target.mask_weights.sum()) == pytest.approx(1, abs=1e-6)
    assert (target.mask_weights - 1 / 3).abs().max() > 0.05


def test_the_weights_are_fitted_on_the_pixels_of_all_references(segmenter, reference):
    pixels, mask = scene(110, 90, seed=5)
    other = Reference(segmenter.encode(pixels), mask, "other")
    both = persam_f.fit(segmenter, [reference, other])
    logits = [
        logits_at_best_point(segmenter, given.embedding, both.direction).flatten(1)
        for given in (reference, other)
    ]
    masks = [torch.from_numpy(given.mask).flatten() for given in (reference, other)]
    together = fit_mask_weights(torch.cat(logits, dim=1), torch.cat(masks))
    torch.testing.assert_close(both.mask_weights, together)
    assert (together - fit_mask_weights(logits[0], masks[0])).abs().max() > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_compat_is_the_authors_program(segmenter, exact, reference, target, shape):
    embedding = doubled(segmenter.encode(scene(*shape, seed=3)[0]))
    given = replace(reference, embedding=doubled(reference.embedding))
    remembered = replace(persam_f.fit(exact, [given], compat=True), mask_weights=target.mask_weights)
    found = persam_f.find(exact, embedding, remembered, "photo", compat=True)
    with torch.no_grad():
        trace = restated_persam_f(exact, [(given.embedding, given.mask)], target.mask_weights, embedding)
    assert relative_difference(found.similarity, trace.similarity) < 1e-10
    assert found.attention_similarity is None
    for ours, logits, iou, chosen, box in zip(
        found.passes, trace.logits, trace.iou, trace.chosen, trace.boxes, strict=True
    ):
        # The weights, like the points, are float32.
        assert relative_difference(ours.low_res_logits, logits) < 1e-6
        assert relative_difference(ours.iou_predictions, iou) < 1e-6
        assert ours.chosen == chosen
        assert (ours.box is None) == (box is None)
        assert box is None or torch.equal(ours.box.double(), box)
    assert torch.equal(found.mask, trace.mask)
    assert torch.equal(found.box.double(), trace.boxes[2])
    assert found.iou_prediction == pytest.approx(float(trace.iou[2][trace.chosen[2]]), rel=1e-6)
    assert found.point_labels.tolist() == [1]
    assert found.mask_weights == pytest.approx(target.mask_weights.tolist())


@pytest.mark.parametrize("mistake", [*WEIGHT_MISTAKES, "no box"])
def test_every_other_reading_is_told_apart(segmenter, exact, reference, target, mistake):
    embedding = doubled(segmenter.encode(scene(70, 121, seed=3)[0]))
    given = replace(reference, embedding=doubled(reference.embedding))
    found = persam_f.find(exact, embedding, in_double(target), "photo", compat=True)
    with torch.no_grad():
        trace = restated_persam_f(
            exact, [(given.embedding, given.mask)], target.mask_weights, embedding, mistake
        )
    apart = [
        relative_difference(ours.low_res_logits, logits)
        for ours, logits in zip(found.passes, trace.logits, strict=True)
    ]
    assert max(apart) > 1e-4


def test_weighting_before_or_after_enlarging_is_the_same(segmenter, target):
    embedding = segmenter.encode(scene(70, 121, seed=3)[0])
    maps, weights = torch.randn(3, 64, 64) * 9, target.mask_weights[:, None, None]
    after = (weights * segmenter.mask_logits(maps, embedding)).sum(0)
    before = segmenter.mask_logits((weights * maps).sum(0, keepdim=True), embedding)[0]
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def constant_case(logit):
    segmenter = constant_segmenter(logit)
    pixels, mask = scene(96, 128)
    embedding = segmenter.encode(pixels)
    return segmenter, embedding, persam_f.fit(segmenter, [Reference(embedding, mask, "mask")])


def test_masks_that_are_all_empty_are_an_error_that_names_the_photo():
    segmenter, embedding, target = constant_case(-1.0)
    with pytest.raises(UserError, match=r"^cat/03\.png: the subject was not found \(each mask is empty or "):
        persam_f.find(segmenter, embedding, target, "cat/03.png")
    with pytest.raises(
        UserError, match=r"^cat/03\.png: the mask that SAM believes in most is empty, and --p"
    ):
        persam_f.find(segmenter, embedding, target, "cat/03.png", compat=True)


def test_weights_that_cancel_out_fall_back_on_the_likeliest_mask(segmenter, target):
    embedding = segmenter.encode(scene(96, 128, seed=3)[0])
    nothing = replace(target, mask_weights=torch.zeros(3))
    cancelled = persam_f.find(segmenter, embedding, nothing, "photo")
    best = cancelled.passes[0].chosen
    decoded = cancelled.passes[0]
    assert likeliest_usable(segmenter, embedding, decoded) == best
    chosen = persam_f.find(segmenter, embedding, replace(target, mask_weights=torch.eye(3)[best]), "photo")
    assert torch.equal(cancelled.mask, chosen.mask)
    assert cancelled.iou_prediction == chosen.iou_prediction
    with pytest.raises(UserError, match=r"^photo: .* is empty, and --persam_compat takes no other"):
        persam_f.find(segmenter, embedding, nothing, "photo", compat=True)


def test_a_reference_without_a_cell_is_refused_by_its_name(segmenter, reference):
    tiny = np.zeros_like(reference.mask)
    tiny[0, 0] = True
    with pytest.raises(UserError, match=r"^cat/00\.mask\.png: the subject .* is too small for the model"):
        persam_f.fit(segmenter, [replace(reference, mask=tiny)])
