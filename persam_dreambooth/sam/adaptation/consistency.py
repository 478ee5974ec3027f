"""How well masks keep to weak labels: what stands in for the truth where there is none.

It decides which weights are kept, and whether adapting has helped at all. It is a proxy: a mask can keep to
its box and be wrong inside it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from persam_dreambooth.sam.adaptation.prompts import Box, Prompt, mask_box


def consistency(mask: Bool[np.ndarray, "H W"], prompt: Prompt) -> float:
    """Return how well a mask keeps to the label that it was prompted with, 0 to 1.

    For a box, its IoU with the mask's; for points, the share on the right side; for a coarse mask, the IoU.
    """
    if prompt.mask is not None:
        return int((mask & prompt.mask).sum()) / max(1, int((mask | prompt.mask).sum()))
    if prompt.box is not None:
        return box_iou(mask_box(mask), prompt.box) if mask.any() else 0.0
    x, y = prompt.points.round().astype(int).T
    inside = mask[y.clip(0, mask.shape[0] - 1), x.clip(0, mask.shape[1] - 1)]
    return float((inside == (prompt.labels == 1)).mean())


def mean_consistency(masks: Bool[np.ndarray, "n H W"], prompts: Sequence[Prompt]) -> float:
    """Return the mean over the things of a photo."""
    return float(np.mean([consistency(mask, prompt) for mask, prompt in zip(masks, prompts, strict=True)]))


def box_iou(first: Box, second: Box) -> float:
    """Return the IoU of two boxes whose corners are inside them: (0, 0, 1, 1) has four pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    shared = max(0.0, width) * max(0.0, height)
    either = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (first, second)) - shared
    return shared / either
