"""Photos of any shape and the model's square: which part of a photo, or more than it, the square shows.

A window lies in the photo's pixels and may reach out of it. With pad it is the square around the photo, with
crop the square inside, with stretch the photo itself.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from persam_dreambooth.errors import UserError

Fit = Literal["pad", "crop", "stretch"]
Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Window:
    """What the model's square shows, in the pixels of a photo."""

    top: int
    """Negative where rows were added above the photo."""
    left: int
    height: int
    width: int


def window_of(size: Size, fit: Fit) -> Window:
    """Return what the square shows of a photo.

    Source: google/diffseg, utils.py, process_image, for crop: the centre square of the shorter side.
    """
    height, width = size
    if fit == "stretch":
        return Window(0, 0, height, width)
    side = max(size) if fit == "pad" else min(size)
    return Window((height - side) // 2, (width - side) // 2, side, side)


def square_of(pixels: UInt8[np.ndarray, "H W 3"], fit: Fit, side: int) -> UInt8[np.ndarray, "s s 3"]:
    """Return a photo as the model's square: edges repeated or cut off, then resized.

    Args:
        pixels: RGB, 0 to 255.
        fit: how.
        side: of the square, in pixels.
    """
    height, width = pixels.shape[:2]
    window = window_of((height, width), fit)
    rows = np.arange(window.top, window.top + window.height).clip(0, height - 1)
    columns = np.arange(window.left, window.left + window.width).clip(0, width - 1)
    shown = Image.fromarray(pixels[rows[:, None], columns])
    return np.asarray(shown.resize((side, side), Image.Resampling.BILINEAR))


def cells_inside(size: Size, fit: Fit, cells: int, what: str) -> Bool[Tensor, "cells cells"]:
    """Return which cells of the square have their middle in the photo.

    Args:
        size: of the photo.
        fit: how it became a square.
        cells: along each side.
        what: the photo's name, for the error text.

    Raises:
        UserError: the photo is less than one cell high or wide.
    """
    window = window_of(size, fit)
    middle = (torch.arange(cells) + 0.5) / cells
    inside = []
    for start, length, photo in (
        (window.top, window.height, size[0]),
        (window.left, window.width, size[1]),
    ):
        if photo < length / cells:
            raise UserError(
                f"{what}: {size[1]} x {size[0]} pixels; in the model's square that is less than one of its "
                f"{cells} x {cells} cells. Use --diffseg_fit stretch or crop, or a photo less narrow."
            )
        place = start + middle * length
        inside.append((place >= 0) & (place < photo))
    return inside[0][:, None] & inside[1]


def drawn(grid: Float[Tensor, "k s s"], size: Size, window: Window) -> Float[Tensor, "k h w"]:
    """Return maps over the square where the photo is, bilinearly enlarged.

    The same numbers as enlarging to the whole window and cutting the photo out, without making the window.

    Args:
        grid: over the square.
        size: of the photo, or of a small copy.
        window: of a photo of this size.
    """
    rows = _weights(grid, window.height, window.top, size[0])
    columns = _weights(grid, window.width, window.left, size[1])
    return rows @ grid @ columns.T


def shown_part(size: Size, window: Window) -> tuple[slice, slice]:
    """Return the rows and columns of a photo that the square shows."""
    return (
        slice(max(0, window.top), min(size[0], window.top + window.height)),
        slice(max(0, window.left), min(size[1], window.left + window.width)),
    )


def _weights(grid: Float[Tensor, "k s s"], length: int, start: int, photo: int) -> Float[Tensor, "n s"]:
    """Return with which weights the cells of a side make up each of a photo's pixels that are shown."""
    cells = torch.eye(grid.shape[-1], dtype=grid.dtype, device=grid.device)[None]
    whole = interpolate(cells, size=length, mode="linear", align_corners=False)[0].T
    return whole[max(0, -start) : min(length, photo - start)]
