"""PerSAM: cells, targets, similarity, guidance, points, boxes; three passes against a short restatement."""

import numpy as np
import pytest
import torch
from sam_models import constant_segmenter, random_segmenter, relative_difference, scene
from torch.nn.functional import interpolate

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam
from persam_dreambooth.sam.segmenter import Decoded

SHAPES = [(96, 128), (160, 112), (128, 128), (70, 121)]


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter()


@pytest.fixture(scope="module")
def reference(segmenter):
    pixels, mask = scene(96, 128)
    return segmenter.encode(pixels), mask


def upscaled(maps, embedding, mode="bilinear"):
    """Return maps [k h w] over the square at the photo's size."""
    options = {"mode": mode, "align_corners": False}
    square = interpolate(maps[None], (128, 128), **options)
    height, width = embedding.input_size
    return interpolate(square[:, :, :height, :width], embedding.size, **options)[0]


def restated_similarity(embedding, direction):
    features = embedding.features[0]
    cosine = (direction @ (features / features.norm(dim=0)).flatten(1)).reshape(1, 16, 16)
    enlarged = interpolate(cosine[None], scale_factor=4, mode="bilinear")[0]
    return upscaled(enlarged, embedding)[0]


def restated_guidance(similarity):
    z_score = (similarity - similarity.mean()) / similarity.std()
    return torch.sigmoid(interpolate(z_score[None, None], (16, 16), mode="bilinear"))[0, 0]


def restated_find(segmenter, embedding, target, *, probabilities=False, multimask_output=False):
    """Return logits, box and predicted IoU of the last pass, as the authors' pseudo-code goes."""
    similarity = restated_similarity(embedding, target.direction)
    flat, width = similarity.flatten(), similarity.shape[1]
    numbers = [int(flat.argmax()), int(flat.argmin())]
    points = {
        "point_coords": torch.tensor([[n % width, n // width] for n in numbers]).float(),
        "point_labels": torch.tensor([1, 0]),
    }
    first = segmenter.decode(
        embedding,
        **points,
        multimask_output=multimask_output,
        attention_similarity=restated_guidance(similarity),
        target_embedding=target.target_embedding,
    )
    logits = first.low_res_logits[:1]
    logits = logits.sigmoid() if probabilities else logits
    second = segmenter.decode(embedding, **points, mask_input=logits)
    best = int(second.iou_predictions.argmax())
    logits = second.low_res_logits[best : best + 1]
    y, x = (upscaled(logits, embedding)[0] > 0).nonzero().T
    box = torch.stack([x.min(), y.min(), x.max(), y.max()]).float()
    third = segmenter.decode(embedding, **points, box=box, mask_input=logits)
    best = int(third.iou_predictions.argmax())
    return upscaled(third.low_res_logits[best : best + 1], embedding)[0], box, third.iou_predictions[best]


def test_a_cell_is_subject_where_two_of_its_four_middle_pixels_are(segmenter):
    embedding = segmenter.encode(scene(128, 128)[0])
    mask = np.zeros((128, 128), bool)
    mask[3, 3:5] = True  # two of the four pixels (3..4, 3..4) in the middle of cell (0, 0)
    mask[11, 19] = True  # one in the middle of cell (1, 2)
    mask[80:88, 40:48] = True
    mask[83:85, 43:45] = False  # all of cell (10, 5) but its middle
    mask[120:, 0:8] = True  # all of cell (15, 0)
    cells = persam.subject_cells(segmenter, embedding, mask)
    assert cells.nonzero().tolist() == [[0, 0], [15, 0]]


def test_the_padding_is_no_subject_and_takes_none_away(segmenter):
    # 60 x 128 fills seven and a half rows of cells: the middle of row 7 is half photo, half padding.
    embedding = segmenter.encode(scene(60, 128)[0])
    cells = persam.subject_cells(segmenter, embedding, np.ones((60, 128), bool))
    assert cells[:8].all()
    assert not cells[8:].any()


def test_a_subject_smaller_than_a_cell_is_refused_by_the_masks_name(segmenter, reference):
    embedding, _ = reference
    mask = np.zeros((96, 128), bool)
    mask[0, 0] = True
    expected = r"^cat/00\.mask\.png: the subject \(1 of 12,288 pixels\) is too small .* as 16 x 16 cells; "
    with pytest.raises(UserError, match=expected):
        persam.fit(segmenter, embedding, mask, "cat/00.mask.png")


def test_the_target_is_the_mean_of_raw_features(segmenter, reference):
    embedding, mask = reference
    target = persam.fit(segmenter, embedding, mask, "mask")
    cells = persam.subject_cells(segmenter, embedding, mask).flatten()
    mean = embedding.features[0].flatten(1)[:, cells].mean(dim=1)
    torch.testing.assert_close(target.target_embedding, mean)
    torch.testing.assert_close(target.direction, mean / mean.pow(2).sum().sqrt())


@pytest.mark.parametrize("shape", SHAPES)
def test_similarity_and_guidance_follow_the_authors_program(segmenter, shape):
    embedding = segmenter.encode(scene(*shape, seed=1)[0])
    direction = persam.unit(torch.randn(32))
    similarity = persam.similarity_map(segmenter, embedding, direction)
    assert similarity.shape == shape
    torch.testing.assert_close(similarity, restated_similarity(embedding, direction), rtol=1e-5, atol=1e-6)
    guidance = persam.guidance_map(similarity, embedding)
    torch.testing.assert_close(guidance, restated_guidance(similarity), rtol=1e-5, atol=1e-6)
    assert 0 < guidance.min() < guidance.max() < 1


def test_other_ways_to_similarity_are_told_apart(segmenter, reference):
    embedding, _ = reference
    direction = persam.unit(torch.randn(32))
    similarity = persam.similarity_map(segmenter, embedding, direction)
    features = embedding.features[0]
    cosine = torch.einsum("c,chw->hw", direction, features / features.norm(dim=0))[None]
    cubic = interpolate(cosine[None], scale_factor=4, mode="bicubic")[0]
    assert relative_difference(upscaled(cosine, embedding)[0], similarity) > 1e-3
    assert relative_difference(upscaled(cubic, embedding, "bicubic")[0], similarity) > 1e-3
    guidance = persam.guidance_map(similarity, embedding)
    z_score = (cosine[0] - cosine.mean()) / cosine.std()
    assert relative_difference(z_score.sigmoid(), guidance) > 1e-3
    padded = torch.nn.functional.pad(similarity, (0, 0, 0, 32))
    assert relative_difference(restated_guidance(padded), guidance) > 1e-3


def test_pixels_are_numbered_row_by_row_and_ties_go_to_the_first():
    similarity = torch.zeros(3, 5)
    similarity[1, 2:4] = 1
    assert persam.pixel_of(similarity.argmax(), similarity).tolist() == [2, 1]
    assert persam.pixel_of(similarity.argmin(), similarity).tolist() == [0, 0]


def test_a_box_is_tight_and_holds_its_corners():
    mask = torch.zeros(9, 12, dtype=torch.bool)
    mask[2, 5] = mask[7, 3] = True
    assert persam.tight_box(mask).tolist() == [3, 2, 5, 7]


@pytest.mark.parametrize("shape", SHAPES)
def test_finding_follows_the_authors_program(segmenter, reference, shape):
    target = persam.fit(segmenter, *reference, "mask")
    embedding = segmenter.encode(scene(*shape, seed=3)[0])
    found = persam.find(segmenter, embedding, target, "photo")
    logits, box, iou_prediction = restated_find(segmenter, embedding, target)
    assert found.mask.shape == shape
    assert torch.equal(found.mask, logits > 0)
    assert torch.equal(found.box, box)
    assert found.iou_prediction == pytest.approx(float(iou_prediction), rel=1e-5)
    assert found.point_labels.tolist() == [1, 0]
    assert found.mask_weights is None


@pytest.mark.parametrize("mistake", ["probabilities", "multimask_output"])
def test_other_ways_to_feed_the_passes_are_told_apart(segmenter, reference, mistake):
    target = persam.fit(segmenter, *reference, "mask")
    embedding = segmenter.encode(scene(96, 128, seed=3)[0])
    right, _, _ = restated_find(segmenter, embedding, target)
    wrong, _, _ = restated_find(segmenter, embedding, target, **{mistake: True})
    assert relative_difference(wrong, right) > 1e-3


@pytest.mark.parametrize("logit", [-1.0, 1.0])
def test_masks_that_are_all_empty_or_all_full_are_an_error_that_names_the_photo(logit):
    segmenter = constant_segmenter(logit)
    embedding = segmenter.encode(scene(96, 128)[0])
    target = persam.fit(segmenter, embedding, scene(96, 128)[1], "mask")
    expected = (
        r"^cat/03\.png: the subject was not found \(each mask .*; every photo .* Remove the photo, or put"
    )
    with pytest.raises(UserError, match=expected):
        persam.find(segmenter, embedding, target, "cat/03.png")


def test_the_likeliest_mask_that_is_neither_empty_nor_full_is_taken(segmenter):
    embedding = segmenter.encode(scene(96, 128)[0])
    empty, full = torch.full((1, 64, 64), -1.0), torch.full((1, 64, 64), 1.0)
    half = torch.where(torch.arange(64) < 20, 1.0, -1.0).expand(1, 64, 64)
    decoded = Decoded(torch.cat([empty, half, full]), torch.tensor([0.9, 0.2, 0.8]))
    assert persam.likeliest_usable(segmenter, embedding, decoded) == 1
    nothing = Decoded(torch.cat([empty, full, empty]), torch.tensor([0.9, 0.2, 0.8]))
    assert persam.likeliest_usable(segmenter, embedding, nothing) is None
