"""From a picture to what an encoder takes, and from what it returns to cells."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of red, green and blue, 0 to 255."""


def pixel_values(
    pixels: UInt8[np.ndarray, "H W 3"],
    grid: tuple[int, int],
    cell: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Tensor, "1 3 h w"]:
    """Return a picture scaled to whole cells and normalised.

    Args:
        pixels: RGB, 0 to 255.
        grid: rows and columns.
        cell: side of a cell in pixels of the result.
        mean: of red, green and blue, 0 to 255.
        std: of red, green and blue, in the same unit.
    """
    rows, columns = grid
    scaled = Image.fromarray(pixels).resize((cell * columns, cell * rows), Image.Resampling.BICUBIC)
    values = (np.asarray(scaled, np.float32) - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(values).permute(2, 0, 1)[None].contiguous()


def to_cells(
    maps: Sequence[Float[Tensor, "1 _c _h _w"]], grid: tuple[int, int]
) -> Float[np.ndarray, "rows columns d"]:
    """Return feature maps of one picture, averaged over each cell, side by side as float64."""
    pooled = [adaptive_avg_pool2d(values.float(), grid)[0] for values in maps]
    return torch.cat(pooled).permute(1, 2, 0).cpu().numpy().astype(np.float64)
