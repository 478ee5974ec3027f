"""PerSAM-F: what it remembers, and its three passes against their short restatement."""

from dataclasses import replace

import pytest
import torch
from sam_models import constant_segmenter, random_segmenter, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.mask_fit import fit_mask_weights
from persam_dreambooth.masks.persam import likeliest_usable, pixel_of, similarity_map

SHAPES = [(96, 128), (160, 112), (128, 128), (70, 121)]


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter()


@pytest.fixture(scope="module")
def reference(segmenter):
    pixels, mask = scene(90, 128)
    return segmenter.encode(pixels), mask


@pytest.fixture(scope="module")
def target(segmenter, reference):
    return persam_f.fit(segmenter, *reference, "mask")


def best_point(segmenter, embedding, direction):
    similarity = persam.similarity_map(segmenter, embedding, direction)
    number, width = int(similarity.flatten().argmax()), similarity.shape[1]
    return torch.tensor([[number % width, number // width]]).float()


def box_of(mask):
    y, x = mask.nonzero().T
    return torch.stack([x.min(), y.min(), x.max(), y.max()]).float()


def restated_find(segmenter, embedding, target):
    points = {
        "point_coords": best_point(segmenter, embedding, target.direction),
        "point_labels": torch.tensor([1]),
    }
    weights = target.mask_weights[:, None, None]
    first = segmenter.decode(embedding, **points).low_res_logits
    mask = (segmenter.mask_logits(first, embedding) * weights).sum(0) > 0
    logits = (first * weights).sum(0)[None]
    for _ in range(2):
        box = box_of(mask)
        decoded = segmenter.decode(embedding, **points, box=box, mask_input=logits)
        best = int(decoded.iou_predictions.argmax())
        logits = decoded.low_res_logits[best][None]
        mask = segmenter.mask_logits(logits, embedding)[0] > 0
    return mask, box, float(decoded.iou_predictions[best])


def test_the_direction_is_half_maximum_half_mean(segmenter, reference, target):
    embedding, mask = reference
    cells = persam.subject_cells(segmenter, embedding, mask).flatten()
    features = embedding.features[0].flatten(1)[:, cells]
    value = (features.max(dim=1).values + features.mean(dim=1)) / 2
    torch.testing.assert_close(target.direction, value / value.pow(2).sum().sqrt())
    mean_only = persam.fit(segmenter, embedding, mask, "mask").direction
    assert (target.direction - mean_only).abs().max() > 1e-2


def test_the_weights_are_fitted_on_the_three_masks_of_the_most_similar_pixel(segmenter, reference, target):
    embedding, mask = reference
    decoded = segmenter.decode(
        embedding,
        point_coords=best_point(segmenter, embedding, target.direction),
        point_labels=torch.tensor([1]),
    )
    mask_logits = segmenter.mask_logits(decoded.low_res_logits, embedding)
    assert torch.equal(target.mask_weights, fit_mask_weights(mask_logits, torch.from_numpy(mask)))
    assert float(target.mask_weights.sum()) == pytest.approx(1, abs=1e-6)
    assert (target.mask_weights - 1 / 3).abs().max() > 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_finding_follows_the_authors_program(segmenter, target, shape):
    embedding = segmenter.encode(scene(*shape, seed=3)[0])
    found = persam_f.find(segmenter, embedding, target, "photo")
    mask, box, iou_prediction = restated_find(segmenter, embedding, target)
    assert torch.equal(found.mask, mask)
    assert torch.equal(found.box, box)
    assert found.iou_prediction == pytest.approx(iou_prediction, rel=1e-5)
    assert found.point_labels.tolist() == [1]
    assert found.mask_weights == pytest.approx(target.mask_weights.tolist())


def test_masks_that_are_all_empty_are_an_error_that_names_the_photo():
    segmenter = constant_segmenter(-1.0)
    pixels, mask = scene(96, 128)
    embedding = segmenter.encode(pixels)
    target = persam_f.fit(segmenter, embedding, mask, "mask")
    with pytest.raises(UserError, match=r"^cat/03\.png: the subject was not found \(each mask is empty or "):
        persam_f.find(segmenter, embedding, target, "cat/03.png")


def test_weights_that_cancel_out_fall_back_on_the_likeliest_mask(segmenter, target):
    embedding = segmenter.encode(scene(96, 128, seed=3)[0])
    similarity = similarity_map(segmenter, embedding, target.direction)
    point = pixel_of(similarity.argmax(), similarity)[None]
    decoded = segmenter.decode(embedding, point_coords=point, point_labels=torch.tensor([1]))
    best = likeliest_usable(segmenter, embedding, decoded)
    assert best is not None
    chosen = persam_f.find(
        segmenter, embedding, replace(target, mask_weights=torch.eye(3)[best]), "photo"
    )  # fmt: skip
    cancelled = persam_f.find(segmenter, embedding, replace(target, mask_weights=torch.zeros(3)), "photo")
    assert torch.equal(cancelled.mask, chosen.mask)
    assert cancelled.iou_prediction == chosen.iou_prediction


def test_a_subject_smaller_than_a_cell_is_refused_by_the_masks_name(segmenter, reference):
    embedding, mask = reference
    tiny = mask & False
    tiny[0, 0] = True
    with pytest.raises(UserError, match=r"^cat/00\.mask\.png: the subject .* is too small for the model"):
        persam_f.fit(segmenter, embedding, tiny, "cat/00.mask.png")
