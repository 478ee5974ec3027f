"""Which of many masks to keep: those that are stable, and of near duplicates the best."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def stability_score(mask_logits: Float[Tensor, "k H W"], offset: float) -> Float[Tensor, " k"]:
    """Return how little each mask changes with its threshold: IoU of logits > offset with logits > -offset.

    0 to 1; not a number where no logit is above -offset.
    """
    inside = (mask_logits > offset).sum(dim=(1, 2))
    around = (mask_logits > -offset).sum(dim=(1, 2))
    return inside / around


def mask_boxes(masks: Bool[Tensor, "k H W"]) -> Int[Tensor, "k 4"]:
    """Return XYXY of each mask's extent, both corners inside; zeros for an empty mask."""
    columns, rows = masks.any(dim=1).int(), masks.any(dim=2).int()
    # argmax finds the first of equal values.
    left, top = columns.argmax(dim=1), rows.argmax(dim=1)
    right = masks.shape[2] - 1 - columns.flip(1).argmax(dim=1)
    bottom = masks.shape[1] - 1 - rows.flip(1).argmax(dim=1)
    return torch.stack([left, top, right, bottom], dim=1) * masks.any(dim=2).any(dim=1)[:, None]


def non_maximum_suppression(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou_threshold: float
) -> Int[Tensor, " k"]:
    """Return the numbers of the boxes that no better kept box overlaps, the best first; ties in their order.

    Args:
        boxes: XYXY; the area is (x1 - x0)(y1 - y0), so a box of one column has none and suppresses nothing.
        scores: higher is better.
        iou_threshold: boxes overlapping by more than this IoU count as the same.

    Source: torchvision.ops.nms.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order) > 0:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        iou = overlap / (areas[best] + areas[rest] - overlap)
        # float64, or the threshold would be rounded to float32 first; 0 / 0 compares as False and stays.
        order = rest[~(iou.double() > iou_threshold)]
    return torch.tensor(kept, dtype=torch.int64)
