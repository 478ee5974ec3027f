"""Masks from a box and from points: what SAM is asked, which of its masks is taken, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from sam_models import constant_segmenter, random_segmenter, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.hints import (
    mask_from_box,
    mask_from_points,
    mask_from_scribble,
    most_agreeing,
)

BOX, POINTS = "--reference_box", "--reference_points"


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter()


@pytest.fixture(scope="module")
def embedding(segmenter):
    return segmenter.encode(scene(96, 128)[0])


def decoded_masks(segmenter, embedding, **prompt):
    """Return SAM's masks for a prompt, its IoU predictions and its logits."""
    decoded = segmenter.decode(embedding, **prompt)
    masks = (segmenter.mask_logits(decoded.low_res_logits, embedding) > 0).numpy()
    return masks, decoded.iou_predictions, decoded.low_res_logits


def usable_point(segmenter, embedding):
    """Return a pixel that lies on a mask of its own."""
    for x in range(4, 128, 12):
        for y in range(4, 96, 12):
            point = torch.tensor([[float(x), float(y)]])
            masks, _, _ = decoded_masks(
                segmenter, embedding, point_coords=point, point_labels=torch.tensor([1])
            )
            if any(mask[y, x] and not mask.all() for mask in masks):
                return float(x), float(y)
    raise AssertionError("this random SAM marks nothing")


def test_a_box_gives_sams_single_mask(segmenter, embedding):
    box = (20.0, 10.0, 100.0, 90.0)
    masks, _, _ = decoded_masks(segmenter, embedding, box=torch.tensor(box), multimask_output=False)
    mask = mask_from_box(segmenter, embedding, box, BOX)
    assert mask.dtype == bool
    assert mask.shape == (96, 128)
    assert np.array_equal(mask, masks[0])
    assert np.array_equal(mask, mask_from_box(segmenter, embedding, torch.tensor(box), BOX))
    several, _, _ = decoded_masks(segmenter, embedding, box=torch.tensor(box))
    assert not any(np.array_equal(mask, other) for other in several)


def test_a_box_may_end_at_the_photos_edges(segmenter, embedding):
    assert mask_from_box(segmenter, embedding, (0, 0, 128, 96), BOX).any()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (
            (100, 10, 20, 90),
            r"^--reference_box 100 10 20 90: x1 20 is not above x0 100; left, top, right, bottom",
        ),
        (
            (20, 90, 100, 10),
            r"^--reference_box 20 90 100 10: y1 10 is not above y0 90; left, top, right, bottom",
        ),
        ((20, 10, 20, 90), r"x1 20 is not above x0 20"),
        (
            (-1, 10, 20, 90),
            r"^--reference_box -1 10 20 90: reaches out of the photo, which is 128 x 96; pixels",
        ),
        (
            (20, 10, 129, 90),
            r"reaches out of the photo, which is 128 x 96; .* Measure the box in the photo at",
        ),
        ((20, 10, 100, 96.5), r"reaches out of the photo"),
        ((20, float("nan"), 100, 90), r"reaches out of the photo"),
        ((200, 10, 300, 90), r"reaches out of the photo"),
    ],
)
def test_boxes_that_are_none_are_refused(segmenter, embedding, box, expected):
    with pytest.raises(UserError, match=expected):
        mask_from_box(segmenter, embedding, box, BOX)


@pytest.mark.parametrize(("logit", "seen"), [(-1.0, "nothing"), (1.0, "the whole photo")])
def test_a_box_around_nothing_is_refused(logit, seen):
    segmenter = constant_segmenter(logit)
    embedding = segmenter.encode(scene(96, 128)[0])
    with pytest.raises(
        UserError, match=rf"^--reference_box 9 9 50 50: SAM finds {seen} in this box; .* Draw"
    ):
        mask_from_box(segmenter, embedding, (9, 9, 50, 50), BOX)


def test_points_give_the_likeliest_of_two_rounds(segmenter, embedding):
    point = usable_point(segmenter, embedding)
    x, y = (int(value) for value in point)
    prompt = {"point_coords": torch.tensor([point]), "point_labels": torch.tensor([1])}
    expected, logits = None, None
    for _ in range(2):
        masks, predictions, low_res = decoded_masks(segmenter, embedding, **prompt, mask_input=logits)
        usable = [k for k in range(3) if masks[k][y, x] and not masks[k].all()]
        if not usable:
            break
        best = max(usable, key=lambda k: float(predictions[k]))
        expected, logits = masks[best], low_res[best : best + 1]
    mask = mask_from_points(segmenter, embedding, point, None, POINTS)
    assert np.array_equal(mask, expected)
    assert mask[y, x]
    assert np.array_equal(mask, mask_from_points(segmenter, embedding, torch.tensor([point]), [1], POINTS))


def test_of_sams_masks_the_one_that_agrees_with_most_points_is_meant():
    masks = np.zeros((4, 2, 5), bool)
    masks[0, 0, :1] = True  # holds one of the points on the subject
    masks[1, 0, :3] = True  # both, and not the one beside it
    masks[2, 0, :] = True  # all three
    coords, labels = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]), torch.tensor([1, 1, 0])
    assert most_agreeing(masks, [0.9, 0.1, 0.8, 0.9], (coords, labels)) == 1
    # With the point beside it left out, two agree, and the likelier one wins; of equal ones the first.
    assert most_agreeing(masks, [0.9, 0.1, 0.8, 0.9], (coords[:2], labels[:2])) == 2
    assert most_agreeing(masks, [0.9, 0.8, 0.8, 0.9], (coords[:2], labels[:2])) == 1
    # Full masks and those without a point on the subject are none, however likely.
    assert most_agreeing(np.ones((1, 2, 5), bool), [1.0], (coords, labels)) is None
    assert most_agreeing(masks[3:], [1.0], (coords, labels)) is None


@pytest.mark.parametrize(
    ("coords", "labels", "expected"),
    [
        ((10, 10, 20), None, r"^--reference_points 10 10 20: 3 numbers; x and y of each point are needed"),
        ((), None, r"^--reference_points : 0 numbers"),
        (
            (10, 10, 128, 20),
            None,
            r"^--reference_points .*: the point 128 20 lies outside the photo, .* 128 x 96",
        ),
        ((10, -1), None, r"the point 10 -1 lies outside the photo"),
        ((float("nan"), 5), None, r"the point nan 5 lies outside the photo"),
        ((10, 10, 20, 20), (1,), r"^--reference_labels 1: 1 labels for 2 points; one for each is needed"),
        ((10, 10), (1, 0), r"^--reference_labels 1 0: 2 labels for 1 points"),
        ((10, 10), (2,), r"^--reference_labels 2: 1 and 0 are needed\. Give 1"),
        ((10, 10, 20, 20), (0, 0), r"^--reference_labels 0 0: no point is on the subject; at least one"),
    ],
)
def test_points_that_cannot_be_are_refused(segmenter, embedding, coords, labels, expected):
    with pytest.raises(UserError, match=expected):
        mask_from_points(segmenter, embedding, coords, labels, POINTS)


@pytest.mark.parametrize("logit", [-1.0, 1.0])
def test_points_on_nothing_are_refused(logit):
    segmenter = constant_segmenter(logit)
    embedding = segmenter.encode(scene(96, 128)[0])
    expected = r"^--reference_points 30 40: SAM finds no thing under these points; .* or give --reference_box"
    with pytest.raises(UserError, match=expected):
        mask_from_points(segmenter, embedding, (30, 40), None, POINTS)


def test_a_scribble_of_one_dot_is_a_click(segmenter, embedding, tmp_path):
    pixels, _ = scene(96, 128)
    x, y = (int(value) for value in usable_point(segmenter, embedding))
    drawn = np.zeros((96, 128, 3), np.uint8)
    drawn[y, x] = 255
    Image.fromarray(drawn).save(tmp_path / "dot.png")
    mask = mask_from_scribble(segmenter, embedding, tmp_path / "dot.png", pixels, "--reference_scribble")
    assert np.array_equal(mask, mask_from_points(segmenter, embedding, (x, y), None, POINTS))


def test_a_scribble_on_nothing_is_refused(tmp_path):
    segmenter = constant_segmenter(-1.0)
    pixels, _ = scene(96, 128)
    drawn = np.zeros((96, 128), np.uint8)
    drawn[40:60, 50:60] = 255
    Image.fromarray(drawn).save(tmp_path / "s.png")
    expected = r"^--reference_scribble .*s\.png: SAM finds no thing under the strokes; they must lie on"
    with pytest.raises(UserError, match=expected):
        mask_from_scribble(
            segmenter, segmenter.encode(pixels), tmp_path / "s.png", pixels, "--reference_scribble"
        )
