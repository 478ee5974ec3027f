"""The one geometric transform of a photo and its mask: resized until it covers a rectangle, which is cut out.

    scale = max(height / photo's height, width / photo's width)

and the other side rounded down. With random_flip a mirrored copy is kept beside it. The rectangle is a
square, or of several sizes (buckets) the one nearest to the photo in shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.errors import UserError

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a rectangle is taken from a photo."""

    resolution: int
    """Side of the square in pixels, where there are no buckets."""
    center_crop: bool = False
    """From the middle; otherwise from a place drawn once for each photo, from the seed and its content."""
    random_flip: bool = False
    """Whether a mirrored copy is kept as well."""
    seed: int = 0
    """Of the place."""
    interpolation: Interpolation = "bilinear"
    """How photo and mask are resized: the names of Pillow."""
    buckets: tuple[Size, ...] = ()
    """Sizes of which each photo takes the nearest in shape, instead of the square."""

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Every size that a training picture may have."""
        return self.buckets or ((self.resolution, self.resolution),)


@dataclass(frozen=True)
class Placement:
    """Where a rectangle lies in a photo."""

    original: Size
    """Of the photo."""
    resized: Size
    """Of the photo after resizing."""
    top: int
    """First row of the rectangle in the resized photo."""
    left: int
    """First column."""
    target: Size
    """Of the rectangle."""

    def mirrored(self) -> "Placement":
        """Return where the mirrored rectangle lies in the mirrored photo."""
        left = self.resized[1] - self.target[1] - self.left
        return Placement(self.original, self.resized, self.top, left, self.target)


def nearest_bucket(size: Size, sizes: Sequence[Size]) -> Size:
    """Return the size whose shape is nearest to a photo's; of equals the last.

    Source: diffusers.training_utils.find_nearest_bucket.
    """
    height, width = size
    return min(reversed(sizes), key=lambda bucket: abs(height * bucket[1] - width * bucket[0]))


def place(size: Size, geometry: Geometry, key: str, target: Size | None = None) -> Placement:
    """Return which rectangle is taken from a photo.

    Args:
        size: of the photo.
        geometry: sizes of rectangles, and from where.
        key: what the place follows from, beside the seed: the photo's digest.
        target: one of the sizes; None is the nearest in shape.

    Source: Resize, CenterCrop and RandomCrop of torchvision, as diffusers' train_dreambooth.py uses them.
    """
    target = target or nearest_bucket(size, geometry.sizes)
    resized = covering(size, target)
    spare = resized[0] - target[0], resized[1] - target[1]
    if geometry.center_crop:
        top, left = (round(space / 2) for space in spare)
    else:
        drawn = torch.rand(2, generator=randomness.generator(geometry.seed, "crop", key)).tolist()
        top, left = (int(share * (space + 1)) for share, space in zip(drawn, spare, strict=True))
    return Placement(size, resized, top, left, target)


def covering(size: Size, target: Size) -> Size:
    """Return the size of a photo that has been resized, its shape kept, until it just covers a rectangle."""
    height, width = size
    # In whole numbers: 100 * 1.28 is not 128 to a computer.
    if target[0] * width >= target[1] * height:
        return target[0], max(target[1], target[0] * width // height)
    return max(target[0], target[1] * height // width), target[1]


def take(
    pixels: UInt8[np.ndarray, "H W *c"], placement: Placement, geometry: Geometry
) -> UInt8[np.ndarray, "h w *c"]:
    """Return a rectangle of a photo, of its mask as 0 and 255, or of both as RGBA.

    Args:
        pixels: of the size that the placement was made for.
        placement: from `place`.
        geometry: for the interpolation.
    """
    height, width = placement.resized
    resample = Image.Resampling[geometry.interpolation.upper()]
    # Pillow weights the colours of RGBA with alpha, so that what is transparent leaves no trace.
    resized = np.asarray(Image.fromarray(pixels).resize((width, height), resample))
    (top, left), (h, w) = (placement.top, placement.left), placement.target
    return resized[top : top + h, left : left + w]


def square(pixels: UInt8[np.ndarray, "H W *c"], geometry: Geometry, key: str) -> UInt8[np.ndarray, "h w *c"]:
    """Return the rectangle of a photo or its mask at once: `take` from where `place` says."""
    return take(pixels, place(pixels.shape[:2], geometry, key), geometry)


def check_sizes(geometry: Geometry, factor: int) -> None:
    """Raise UserError unless the VAE can take pictures of these sizes.

    The UNet needs no more than that: where a side does not halve evenly, diffusers' up-sampling follows the
    sizes of the way down.

    Args:
        geometry: sizes of rectangles.
        factor: side of a latent cell in pixels.
    """
    flag = "--aspect_ratio_buckets" if geometry.buckets else "--resolution"
    for side in (side for size in geometry.sizes for side in size):
        if side < factor or side % factor:
            below = side // factor * factor
            nearest = f"{below} or {below + factor}" if below else str(factor)
            raise UserError(f"{flag} {side}: not a multiple of {factor}, which the VAE needs. Use {nearest}.")
