"""The weight of each latent cell in the loss, from a mask in pixels; a line for masks that cannot be used.

In this order, each step on the result of the one before:

    m = the subject's share of a cell (area), or 1 where all of it (strict) or any of it (any) is subject
    m = the largest m within `dilate` cells, then the smallest within `erode` cells
    w = m + outside_weight (1 - m)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import Photo

MaskMode = Literal["area", "strict", "any"]


@dataclass(frozen=True, kw_only=True)
class LatentMask:
    """How the weight of a latent cell follows from the mask in pixels."""

    mode: MaskMode = "area"
    """The subject's share of the cell; or 1 where all of it, or any of it, is subject, and else 0."""
    dilate: int = 0
    """Latent cells by which the mask grows in every direction, diagonals included."""
    erode: int = 0
    """Latent cells by which it shrinks after that; the picture's own edge is no edge of the mask."""
    outside_weight: float = 0.0
    """Weight of the cells outside, 0 to 1."""


def latent_mask(mask: Float[Tensor, "1 H W"], factor: int, settings: LatentMask) -> Float[Tensor, "1 h w"]:
    """Return the weight of each latent cell, 0 to 1.

    Args:
        mask: the subject's share of each pixel, 0 to 1.
        factor: side of a latent cell in pixels; both sides of the mask are multiples of it.
        settings: how.
    """
    cells = subject_cells(mask, factor, settings)
    return cells + settings.outside_weight * (1 - cells)


def subject_cells(mask: Float[Tensor, "1 H W"], factor: int, settings: LatentMask) -> Float[Tensor, "1 h w"]:
    """Return how much each latent cell counts as subject, 0 to 1: the weight before `outside_weight`."""
    if settings.mode == "area":
        cells = avg_pool2d(mask, factor)
    elif settings.mode == "strict":
        # Counted, not averaged: the mean of many pixels can round to 1 although one of them falls short.
        cells = (max_pool2d((mask < 1).float(), factor) == 0).float()
    else:
        cells = (max_pool2d(mask, factor) > 0).float()
    return eroded(dilated(cells, settings.dilate), settings.erode)


def dilated(cells: Float[Tensor, "1 h w"], radius: int) -> Float[Tensor, "1 h w"]:
    """Return the largest value within a square of 2 radius + 1 cells around each cell."""
    # The padding of max_pool2d is -inf: what lies beyond the picture's edge never wins.
    for _ in range(radius):
        cells = max_pool2d(cells, kernel_size=3, stride=1, padding=1)
    return cells


def eroded(cells: Float[Tensor, "1 h w"], radius: int) -> Float[Tensor, "1 h w"]:
    """Return the smallest value within a square of 2 radius + 1 cells around each cell."""
    # 1 - x twice would round; the sign does not.
    return -dilated(-cells, radius) if radius else cells


def mask_of(photo: Photo, masks: Mapping[str, Bool[np.ndarray, "H W"]]) -> Bool[np.ndarray, "H W"]:
    """Return a photo's mask.

    Args:
        photo: whose.
        masks: by the stem of the photo's name, True on the subject.

    Raises:
        UserError: there is none, it has another size than the photo, or it is empty.
    """
    mask = masks.get(photo.stem)
    if mask is None:
        raise UserError(f"{photo.path}: has no mask, but other photos do; every photo needs one. Add a mask.")
    if mask.shape != photo.size:
        raise UserError(
            f"{photo.path}: its mask is {mask.shape[1]} x {mask.shape[0]} pixels and the photo "
            f"{photo.size[1]} x {photo.size[0]}; the two must have one size. "
            "Save the mask at the photo's size."
        )
    if not mask.any():
        raise UserError(
            f"{photo.path}: its mask is empty; some pixels must be subject. "
            "Paint the mask, or remove the photo."
        )
    return mask


def check_subject_left(
    photo: Photo,
    mask: Bool[np.ndarray, "H W"],
    square_mask: Float[Tensor, "1 R R"],
    factor: int,
    settings: LatentMask,
) -> None:
    """Raise UserError where no latent cell of a photo's square is subject.

    Weight that `outside_weight` gives to the background does not count: it would teach the background alone.

    Args:
        photo: the photo.
        mask: of the whole photo, True on the subject.
        square_mask: the subject's share of each pixel of the square that was cut out.
        factor: side of a latent cell in pixels.
        settings: how the weights are made.
    """
    if subject_cells(square_mask, factor, settings).any():
        return
    eroding = f" --mask_erode {settings.erode}" if settings.erode else ""
    gentler = ", a smaller --mask_erode" if settings.erode else ""
    raise UserError(
        f"{photo.path}: nothing of the subject is left for the loss ({int(mask.sum())} pixels in the mask, "
        f"{int((square_mask > 0).sum())} in the {square_mask.shape[-1]} px square, no latent cell by "
        f"--mask_mode {settings.mode}{eroding}); some of it is needed. Crop the photo around the subject, "
        f"remove it, or try --center_crop, another --seed{gentler} or --mask_mode area."
    )
