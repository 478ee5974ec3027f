"""Where automatic masks are looked for: the parts of a photo, and the clicks in each."""

import math
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Masks that end this near to the edge of a crop, in pixels, are taken for cut off.
CROP_EDGE = 20.0

Crop = tuple[int, int, int, int]
"""XYXY in pixels, the second corner outside."""


def crop_boxes(size: tuple[int, int], num_layers: int, overlap_ratio: float) -> list[tuple[Crop, int]]:
    """Return the parts of a photo that are looked at, XYXY with the second corner outside, and their layers.

    Layer 0 is the whole photo; layer i has 2^i overlapping crops along each side, column by column.

    Args:
        size: (height, width) of the photo, in pixels.
        num_layers: layers besides the whole photo.
        overlap_ratio: overlap in the first layer, as a share of the shorter side.

    Source: segment-anything, utils/amg.py, generate_crop_boxes.
    """
    height, width = size
    crops = [((0, 0, width, height), 0)]
    for layer in range(1, num_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / per_side))
        crop_width = math.ceil((overlap * (per_side - 1) + width) / per_side)
        crop_height = math.ceil((overlap * (per_side - 1) + height) / per_side)
        lefts = [(crop_width - overlap) * i for i in range(per_side)]
        tops = [(crop_height - overlap) * i for i in range(per_side)]
        crops += [
            ((left, top, min(left + crop_width, width), min(top + crop_height, height)), layer)
            for left, top in product(lefts, tops)
        ]
    return crops


def point_grid(points_per_side: int) -> Float[np.ndarray, "n 2"]:
    """Return the centres (x, y) of a square's n x n equal cells, row by row, in [0, 1]."""
    offset = 1 / (2 * points_per_side)
    along = np.linspace(offset, 1 - offset, points_per_side)
    x, y = np.meshgrid(along, along)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def cut_off(boxes: Int[Tensor, "n 4"], crop: Crop, size: tuple[int, int]) -> Bool[Tensor, " n"]:
    """Return which masks end at an edge of the crop that is no edge of the photo.

    Args:
        boxes: XYXY of each mask in the crop's pixels.
        crop: where the crop lies in the photo.
        size: (height, width) of the photo.

    Source: segment-anything, utils/amg.py, is_box_near_crop_edge.
    """
    in_photo = (boxes + torch.tensor([crop[0], crop[1], crop[0], crop[1]])).float()
    at_crop = (in_photo - torch.tensor(crop)).abs() <= CROP_EDGE
    at_photo = (in_photo - torch.tensor([0, 0, size[1], size[0]])).abs() <= CROP_EDGE
    return (at_crop & ~at_photo).any(dim=1)
