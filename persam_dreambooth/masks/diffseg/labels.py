"""Proposals as a label for each pixel: the largest wins (the paper's non-maximum suppression).

The maps are distributions, so that a small segment's peak is higher and its border moves outwards: by up to 4
of 512 pixels for a strip of 2 of 64 places. With `peak` every map's peak counts as 1, and borders stay.

Source: Tian et al. 2023, DiffSeg, section 3.3; google/diffseg, segmentor.py, generate_masks.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from persam_dreambooth.masks.diffseg.windows import Size, Window, drawn, shown_part

NOT_SHOWN = -1
"""Label of pixels that the model did not see."""


def label_map(
    proposals: Float[Tensor, "k p"],
    size: Size,
    window: Window,
    nms: Literal["argmax", "peak"] = "argmax",
) -> Int[np.ndarray, "H W"]:
    """Return which proposal takes each pixel of a photo; of equals the first.

    Args:
        proposals: distributions over R x R = p places of the square.
        size: of the photo, or of a small copy.
        window: what the square shows of it.
        nms: the likeliest, or that which is nearest to its own peak.
    """
    side = round(proposals.shape[1] ** 0.5)
    best = winner = None
    for number, proposal in enumerate(proposals):
        # One at a time: photos are large.
        value = drawn(proposal.view(1, side, side), size, window)[0]
        if nms == "peak":
            value = value / proposal.max()
        if best is None:
            best, winner = value, torch.zeros_like(value, dtype=torch.int32)
            continue
        winner[value > best] = number
        best = torch.maximum(best, value)
    labels = np.full(size, NOT_SHOWN, np.int32)
    labels[shown_part(size, window)] = winner.cpu().numpy()
    return labels
