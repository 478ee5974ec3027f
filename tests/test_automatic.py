"""Automatic masks: grid, crops, stability, duplicates worked by hand; properties of what comes out."""

import itertools

import numpy as np
import pytest
import torch
from sam_models import constant_segmenter, random_segmenter, scene

from persam_dreambooth.sam.automatic import AutomaticParameters, automatic_masks
from persam_dreambooth.sam.crops import crop_boxes, cut_off, point_grid
from persam_dreambooth.sam.mask_selection import mask_boxes, non_maximum_suppression, stability_score

LOOSE = {
    "points_per_side": 4,
    "pred_iou_thresh": -9.0,
    "stability_score_thresh": 0.0,
    "stability_score_offset": 0.05,
}
"""A random SAM is sure of nothing: at segment-anything's thresholds it has no masks."""


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter(3)


@pytest.fixture(scope="module")
def embedding(segmenter):
    return segmenter.encode(scene(96, 128, seed=1)[0])


def test_clicks_are_the_centres_of_equal_cells_row_by_row():
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert point_grid(1).tolist() == [[0.5, 0.5]]


def test_crops_overlap_as_in_a_case_worked_by_hand():
    # 90 x 100 pixels, a third of the shorter side is 30: crops are ceil((30 + 100) / 2) = 65 wide and
    # ceil((30 + 90) / 2) = 60 high, and start at 0 and 35 or 30; column by column.
    assert crop_boxes((90, 100), 1, 1 / 3) == [
        ((0, 0, 100, 90), 0),
        ((0, 0, 65, 60), 1),
        ((0, 30, 65, 90), 1),
        ((35, 0, 100, 60), 1),
        ((35, 30, 100, 90), 1),
    ]


@pytest.mark.parametrize("size", [(96, 128), (201, 77), (64, 64)])
@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_every_layer_of_crops_covers_the_photo_and_none_leaves_it(size, num_layers):
    crops = crop_boxes(size, num_layers, 512 / 1500)
    assert [sum(layer == i for _, layer in crops) for i in range(num_layers + 1)] == [
        4**i for i in range(num_layers + 1)
    ]
    for number in range(num_layers + 1):
        seen = np.zeros(size, bool)
        for (x0, y0, x1, y1), layer in crops:
            assert 0 <= x0 < x1 <= size[1]
            assert 0 <= y0 < y1 <= size[0]
            if layer == number:
                seen[y0:y1, x0:x1] = True
        assert seen.all()


def test_masks_are_cut_off_at_edges_of_the_crop_but_not_at_those_of_the_photo():
    crop, size = (0, 0, 100, 100), (200, 200)
    boxes = torch.tensor([[0, 0, 50, 50], [50, 50, 79, 79], [50, 50, 80, 60], [50, 50, 60, 99]])
    assert cut_off(boxes, crop, size).tolist() == [False, False, True, True]
    assert not cut_off(boxes, (0, 0, 100, 100), (100, 100)).any()
    # The same boxes in a crop further right and down reach its left and upper edge.
    assert cut_off(boxes, (100, 100, 200, 200), size).tolist() == [True, False, False, False]


def test_stability_is_the_iou_of_two_thresholds():
    logits = torch.tensor([[[2.0, 0.5, -0.5, -2.0]], [[1.5, 1.5, -9.0, -9.0]], [[-3.0, -3.0, -3.0, -3.0]]])
    # Above 1: one pixel; above -1: three. Then two of two. Then none of none.
    score = stability_score(logits, 1.0)
    assert score[:2].tolist() == pytest.approx([1 / 3, 1])
    assert score[2].isnan()


def test_of_overlapping_boxes_the_best_stays_as_worked_by_hand():
    boxes = torch.tensor(
        [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 6], [20, 0, 30, 10], [5, 5, 5, 9]]
    ).float()
    scores = torch.tensor([0.8, 0.9, 0.7, 0.1, 0.5])
    # Box 1 is best; its IoU with 0 is 80 / 100, with 2 it is 60 / 80. The last has no area.
    assert non_maximum_suppression(boxes, scores, 0.7).tolist() == [1, 4, 3]
    assert non_maximum_suppression(boxes, scores, 0.77).tolist() == [1, 2, 4, 3]
    # An IoU equal to the threshold is no duplicate; 0.8 in float32 is above 0.8, as in torchvision.
    assert non_maximum_suppression(boxes, scores, 0.75).tolist() == [1, 2, 4, 3]
    assert non_maximum_suppression(boxes, scores, 0.8).tolist() == [1, 2, 4, 3]
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.7).tolist() == []


def test_equal_scores_keep_their_order():
    boxes = torch.tensor([[0, 0, 4, 4]] * 3 + [[9, 9, 12, 12]]).float()
    assert non_maximum_suppression(boxes, torch.ones(4), 0.5).tolist() == [0, 3]


def test_boxes_hold_their_corners_and_an_empty_mask_has_zeros():
    masks = torch.zeros(2, 9, 12, dtype=torch.bool)
    masks[0, 2, 5] = masks[0, 7, 3] = True
    assert mask_boxes(masks).tolist() == [[3, 2, 5, 7], [0, 0, 0, 0]]


def test_each_mask_is_what_its_click_gives(segmenter, embedding):
    found = automatic_masks(segmenter, embedding, AutomaticParameters(**LOOSE))
    assert found
    for thing in found:
        decoded = segmenter.decode(
            embedding, point_coords=torch.tensor([thing.point_coords]), point_labels=torch.tensor([1])
        )
        number = int((decoded.iou_predictions - thing.iou_prediction).abs().argmin())
        logits = segmenter.mask_logits(decoded.low_res_logits[number : number + 1], embedding)
        assert decoded.iou_predictions[number].item() == pytest.approx(thing.iou_prediction, rel=1e-4)
        assert (thing.mask == (logits[0] > 0).numpy()).mean() > 0.999
        assert thing.stability == pytest.approx(stability_score(logits, 0.05).item(), abs=1e-3)
        assert thing.area == thing.mask.sum()
        rows, columns = np.nonzero(thing.mask)
        assert thing.box == (columns.min(), rows.min(), columns.max(), rows.max())


def test_masks_come_likeliest_first_and_no_two_are_the_same(segmenter, embedding):
    parameters = AutomaticParameters(**LOOSE, box_nms_thresh=0.5)
    found = automatic_masks(segmenter, embedding, parameters)
    predictions = [thing.iou_prediction for thing in found]
    assert predictions == sorted(predictions, reverse=True)
    assert len(found) == len({thing.box for thing in found})
    assert len(found) <= len(automatic_masks(segmenter, embedding, AutomaticParameters(**LOOSE)))


def test_batches_change_nothing(segmenter, embedding):
    one, all_at_once = (
        automatic_masks(segmenter, embedding, AutomaticParameters(**LOOSE, points_per_batch=batch))
        for batch in (3, 16)
    )
    assert [thing.box for thing in one] == [thing.box for thing in all_at_once]


def test_thresholds_drop_masks(segmenter, embedding):
    found = automatic_masks(segmenter, embedding, AutomaticParameters(**LOOSE))
    # Above every prediction, in a model whose predictions may all be negative.
    most = max(0.0, *(thing.iou_prediction for thing in found)) + 0.1
    for changed in ({"pred_iou_thresh": most}, {"stability_score_thresh": 1.01}):
        assert automatic_masks(segmenter, embedding, AutomaticParameters(**{**LOOSE, **changed})) == []


def test_grids_of_ones_own_are_clicked(segmenter, embedding):
    grid = np.array([[0.25, 0.5], [0.75, 0.5]])
    settings = {**LOOSE, "points_per_side": None, "box_nms_thresh": 1.0}
    found = automatic_masks(segmenter, embedding, AutomaticParameters(**settings, point_grids=(grid,)))
    assert {thing.point_coords for thing in found} <= {(32.0, 48.0), (96.0, 48.0)}
    assert found


def test_crops_are_encoded_and_their_masks_lie_in_the_photo(segmenter):
    pixels, _ = scene(160, 160, seed=1)
    embedding = segmenter.encode(pixels)
    settings = {**LOOSE, "crop_n_layers": 1, "crop_nms_thresh": 1.0, "points_per_side": 3}
    found = automatic_masks(segmenter, embedding, AutomaticParameters(**settings), pixels=pixels)
    crops = [crop for crop, _ in crop_boxes((160, 160), 1, 512 / 1500)]
    assert {thing.crop_box for thing in found} <= set(crops)
    for thing in found:
        x0, y0, x1, y1 = thing.crop_box
        outside = thing.mask.copy()
        outside[y0:y1, x0:x1] = False
        assert not outside.any()
        assert x0 <= thing.point_coords[0] < x1
        assert y0 <= thing.point_coords[1] < y1
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (thing.crop_box for thing in found)]
    assert areas == sorted(areas)
    with pytest.raises(ValueError, match="crop_n_layers: crops need the photo's pixels"):
        automatic_masks(segmenter, embedding, AutomaticParameters(**settings))


def test_small_regions_go_and_boxes_follow(segmenter, embedding):
    tidy = automatic_masks(
        segmenter, embedding, AutomaticParameters(**LOOSE, min_mask_region_area=200, box_nms_thresh=1.0)
    )
    assert tidy
    for thing in tidy:
        rows, columns = np.nonzero(thing.mask)
        assert thing.box == (columns.min(), rows.min(), columns.max(), rows.max())
        assert not holes_below(thing.mask, 200)


def holes_below(mask, area):
    """Return whether a region of the background is smaller, by a flood from each unseen pixel."""
    unseen = {(int(y), int(x)) for y, x in zip(*np.nonzero(~mask), strict=True)}
    while unseen:
        waiting = [unseen.pop()]
        size = 1
        while waiting:
            y, x = waiting.pop()
            around = set(itertools.product((y - 1, y, y + 1), (x - 1, x, x + 1))) & unseen
            unseen -= around
            waiting += around
            size += len(around)
        if size < area:
            return True
    return False


def test_full_masks_stay_and_empty_ones_cannot_be_stable():
    parameters = AutomaticParameters(points_per_side=2, pred_iou_thresh=-9.0)
    for logit, expected in ((-3.0, 0), (3.0, 1)):
        segmenter = constant_segmenter(logit)
        embedding = segmenter.encode(scene(64, 64)[0])
        found = automatic_masks(segmenter, embedding, parameters)
        assert len(found) == expected
        assert all(thing.mask.all() for thing in found)


def test_parameters_that_exclude_each_other_are_refused():
    for wrong in ({"points_per_side": None}, {"point_grids": (point_grid(2),)}):
        with pytest.raises(ValueError, match="exactly one of the two"):
            AutomaticParameters(**wrong)
    with pytest.raises(ValueError, match="point_grids: 1 for 3 layers"):
        AutomaticParameters(points_per_side=None, point_grids=(point_grid(2),), crop_n_layers=2)
