"""How a photo lies in the model's square: its size there, where it starts, and the way there and back.

SAM's own way puts it at the top left, normalised as the model was trained. The authors' program scales to
0 to 1, leaves mean and spread alone, and centres it: kept for comparison with their numbers.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from persam_dreambooth.sam.families import Family
from persam_dreambooth.sam.preprocessing import bilinear, squeeze

MASK_LOGIT = 10.0
"""Of a mask that is given as a prompt: positive inside, negative outside."""


@dataclass(frozen=True)
class Frame:
    """Where a photo lies in the square."""

    size: tuple[int, int]
    """(height, width) of the photo, in pixels."""
    input_size: tuple[int, int]
    """(height, width) that it takes up of the square."""
    offset: tuple[int, int]
    """(row, column) of its first pixel there."""
    length: int
    """Side of the square, in pixels."""


def frame_of(family: Family, size: tuple[int, int], length: int, way: Literal["sam", "wesam"]) -> Frame:
    """Return where a photo of this (height, width) lies in a square of this side."""
    height, width = family.input_size(size, length)
    centred = way == "wesam"
    offset = ((length - height) // 2, (length - width) // 2) if centred else (0, 0)
    return Frame(size, (height, width), offset, length)


def pixel_values(
    family: Family, pixels: UInt8[np.ndarray, "H W 3"], frame: Frame, way: Literal["sam", "wesam"]
) -> Float[Tensor, "1 3 L L"]:
    """Return a photo as the image encoder takes it.

    Source: for `wesam`, its program's datasets/tools.py, ResizeAndPad.
    """
    if way == "sam":
        return family.preprocess(pixels, frame.length)
    if not family.pads:
        return squeeze(pixels, frame.length, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    (height, width), (top, left) = frame.input_size, frame.offset
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255
    bottom, right = frame.length - height - top, frame.length - width - left
    return pad(values, (left, right, top, bottom))[None]


def to_square(coords: Float[np.ndarray, "n 2"], frame: Frame) -> Float[Tensor, "n 2"]:
    """Return (x, y) in the photo's pixels as (x, y) in the square's."""
    scale = np.array([frame.input_size[1] / frame.size[1], frame.input_size[0] / frame.size[0]])
    moved = np.asarray(coords, dtype=np.float64) * scale + np.array(frame.offset[::-1], dtype=np.float64)
    return torch.from_numpy(moved.astype(np.float32))


def mask_prompt(mask: Bool[np.ndarray, "H W"], frame: Frame, side: int) -> Float[Tensor, "1 s s"]:
    """Return a mask as logits over the square, at the side that the prompt encoder takes."""
    (height, width), (top, left) = frame.input_size, frame.offset
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    square = torch.zeros(1, frame.length, frame.length)
    square[0, top : top + height, left : left + width] = torch.from_numpy(np.array(resized)).float()
    return (2 * bilinear(square, (side, side)) - 1) * MASK_LOGIT


def to_photo(low_res_logits: Float[Tensor, "n h w"], frame: Frame) -> Float[Tensor, "n H W"]:
    """Return maps over the square at the photo's size: enlarged to the square, cropped, resized."""
    square = bilinear(low_res_logits, (frame.length, frame.length))
    (height, width), (top, left) = frame.input_size, frame.offset
    return bilinear(square[:, top : top + height, left : left + width], frame.size)
