"""What a trainer makes of one mask: which channel it reads, how it shrinks it, what weight a pixel gets."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import ExifTags, Image
from torch.nn.functional import interpolate

from persam_dreambooth.picture_files import open_picture

# Pixels to a latent cell's side in every Stable Diffusion.
_VAE_FACTOR = 8

# A photo and a mask have the same shape if their sides agree to this, after one is scaled to the other.
_RATIO_TOLERANCE = 0.02

_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")

Values = Float[np.ndarray, "h w"]


def unchanged(values: Values) -> Values:
    """Return the weights of a trainer that takes grey for a weight."""
    return values


@dataclass(frozen=True)
class Rules:
    """How one trainer reads a mask."""

    channel: Literal["red", "grey", "mean", "alpha"]
    """What of the picture is the mask; grey is Pillow's, from all three colours."""
    resize: Literal["area", "bilinear", "nearest", "nearest-exact"]
    """How it becomes one value a latent cell."""
    applies_exif: bool
    """Whether photo and mask are turned upright."""
    stretches: bool
    """Whether a mask of another size is scaled to the photo's, or refused."""
    weigh: Callable[[Values], Values] = unchanged
    """From values 0 to 1 to weights in the loss."""


@dataclass(frozen=True)
class Seen:
    """One photo as a trainer sees it."""

    photo: Path
    mask: Path | None
    """None: the trainer finds no mask."""
    pixel_weight: float = 1.0
    """Mean weight of the photo's pixels, 0 to 1: the share that is trained."""
    cell_weight: float = 1.0
    """The same over latent cells, at the photo's own size."""
    outside_share: float = 0.0
    """Share of all the weight that falls on pixels which are black in the mask."""
    grey_fraction: float = 0.0
    """Share of the mask's pixels that are neither black nor white."""
    grey_weight: float = 1.0
    """Mean weight of those; where there are none, of a pixel of 128."""
    is_white: bool = False
    """Whether the mask is white all over."""
    is_black: bool = False
    """Whether the mask is black all over, as this trainer reads it."""
    problem: str | None = None
    """What is wrong with the pair, as the end of a sentence that starts with the mask's name."""


def look(photo: Path, mask: Path, rules: Rules) -> Seen:
    """Return what a trainer sees of a photo whose mask it has found.

    Args:
        photo: the photo.
        mask: the mask; the photo itself where its alpha channel is the mask.
        rules: how the trainer reads masks.

    Raises:
        UserError: a file is no picture.
    """
    picture = open_picture(mask, upright=rules.applies_exif)
    trained = picture if mask == photo else open_picture(photo, upright=rules.applies_exif)
    problem = _pair_problem(picture, trained, rules)
    if problem:
        return Seen(photo, mask, problem=problem)
    values = _channel(picture, rules.channel)
    weights = rules.weigh(values)
    grey = (values > 0) & (values < 1)
    total = float(weights.sum())
    sample = weights[grey] if grey.any() else rules.weigh(np.full((1, 1), 128 / 255, np.float32))
    return Seen(
        photo,
        mask,
        pixel_weight=float(weights.mean()),
        cell_weight=float(rules.weigh(cells(values, rules.resize)).mean()),
        outside_share=float(weights[values == 0].sum()) / total if total else 0.0,
        grey_fraction=float(grey.mean()),
        grey_weight=float(sample.mean()),
        is_white=bool((values == 1).all()),
        is_black=bool((values == 0).all()),
    )


def cells(values: Float[np.ndarray, "H W"], resize: str) -> Values:
    """Return a mask at latent size, an eighth of its own.

    Args:
        values: 0 to 1.
        resize: see `Rules.resize`.
    """
    size = tuple(max(1, side // _VAE_FACTOR) for side in values.shape)
    smooth = {"antialias": True, "align_corners": False} if resize == "bilinear" else {}
    return interpolate(torch.from_numpy(values)[None, None], size=size, mode=resize, **smooth)[0, 0].numpy()


def _channel(picture: Image.Image, channel: str) -> Float[np.ndarray, "H W"]:
    """Return what of a picture is the mask, 0 to 1."""
    if channel == "alpha":
        values = np.asarray(picture.convert("RGBA").getchannel("A"))
    elif channel == "grey":
        values = np.asarray(picture.convert("RGB").convert("L"))
    elif channel == "red":
        values = np.asarray(picture.convert("RGB").getchannel("R"))
    else:
        values = np.asarray(picture.convert("RGB"), dtype=np.float32).mean(axis=-1)
    return values.astype(np.float32) / np.float32(255)


def _pair_problem(mask: Image.Image, photo: Image.Image, rules: Rules) -> str | None:
    """Return what is wrong with a mask for this photo, or None."""
    # Where EXIF is applied, nothing is left of it here.
    for name, picture in (("", mask), ("its photo ", photo)):
        if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            return (
                f"{name}carries an EXIF orientation, which the trainer ignores; save it upright without one"
            )
    problem = _size_problem(mask.size, photo.size, rules)
    if problem is None and mask.mode not in _EIGHT_BIT_MODES:
        problem = f"its pixels are of the kind {mask.mode}, not of 8 bits; 8-bit grey is needed, save it so"
    if problem is None and rules.channel == "alpha" and mask.mode not in ("RGBA", "LA", "PA"):
        problem = "has no alpha channel, so the whole photo is trained; save it with its transparency"
    return problem


def _size_problem(mask: tuple[int, int], photo: tuple[int, int], rules: Rules) -> str | None:
    """Return what is wrong with a mask's (width, height), or None."""
    if mask == photo:
        return None
    sizes = f"is {mask[0]} x {mask[1]} and its photo {photo[0]} x {photo[1]}"
    if not rules.stretches:
        return f"{sizes}; the two must have one size, so save it at the photo's"
    if abs(mask[0] * photo[1] / (mask[1] * photo[0]) - 1) > _RATIO_TOLERANCE:
        return f"{sizes}: another shape, which is stretched without a message; save it at the photo's size"
    return None
