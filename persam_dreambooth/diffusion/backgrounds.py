"""What becomes of the pixels outside the mask before the VAE sees a picture.

A masked loss alone leaves the background in the picture that the network is shown. Here it is taken out:

    cut_out   RGB and mask -> RGBA whose colours outside the mask are 0, at the photo's own size
    (the one geometric transform, which resizes RGBA by colours weighted with alpha)
    replace   subject colours and alpha -> picture on another background

Cut out first and resized then, no pixel of the square holds any colour of the background, not even the edge
pixels between the two: with `fill`, `noise`, `random` and `class` the result is a function of the mask, the
pixels inside it and the key alone. `blur` keeps a blurred true background, and `keep` the true one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import array_digest

BackgroundMode = Literal["keep", "fill", "noise", "blur", "random", "class"]

INVARIANT_MODES = ("fill", "noise", "random", "class")
"""With these nothing of the photo outside the mask has any influence."""

NEW_EACH_STEP = ("random", "class")
"""With these every step shows another background, and the VAE must encode anew."""

BLUR_FRACTION = 1 / 8
"""Standard deviation of `blur` as a share of the picture's longer side: no object keeps its shape."""

_OCTAVES = (2, 4, 8, 16)
"""Blobs to a side in the colour fields of `random`: from a gradient to patches of a 16th of the picture."""

_COLOUR = 0.4
"""How far the channels of `random` go apart, as a share of what they have in common."""

Key = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Background:
    """What the pixels outside the mask become."""

    mode: BackgroundMode = "keep"
    """keep: as in the photo. fill: one colour. noise: noise of its own for each photo. blur: blurred beyond
    recognition. random: colour fields and noise, new each step. class: a class picture, another each step."""
    fill: tuple[int, int, int] = (128, 128, 128)
    """The colour of `fill`: red, green, blue, 0 to 255."""

    @property
    def replaces(self) -> bool:
        """Whether anything is replaced."""
        return self.mode != "keep"

    @property
    def is_invariant(self) -> bool:
        """Whether nothing of the photo outside the mask has any influence."""
        return self.mode in INVARIANT_MODES

    @property
    def is_new_each_step(self) -> bool:
        """Whether every step shows another one."""
        return self.mode in NEW_EACH_STEP


def cut_out(pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 4"]:
    """Return the subject as RGBA: alpha 255 on it, and all four channels 0 elsewhere.

    To be resized as RGBA by Pillow, which weights colours with alpha: resized as RGB first, the background
    would be mixed into the pixels along the mask's edge.
    """
    return np.where(mask[..., None], np.dstack([pixels, np.full(mask.shape, 255, np.uint8)]), np.uint8(0))


def kept_digest(pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> str:
    """Return the digest of a photo as far as it counts where its background is replaced: without that.

    Everything that is drawn for a photo or cached under its name must follow from this one and not from
    `Photo.digest`, through which the background would choose the crop.
    """
    return array_digest(cut_out(pixels, mask))


def replace(
    subject: Float[Tensor, "3 H W"],
    share: Float[Tensor, "1 H W"],
    background: Background,
    key: Key,
    *,
    class_pixels: UInt8[Tensor, "n 3 H W"] | None = None,
    photo: Float[Tensor, "3 H W"] | None = None,
) -> Float[Tensor, "3 H W"]:
    """Return a picture of the subject on another background, -1 to 1.

    Args:
        subject: colours of the square of `cut_out`, -1 to 1; where `share` is 0 they may be anything, even no
            number.
        share: alpha of that square, 0 to 1.
        background: which; not "keep".
        key: what the draws of noise, random and class follow from: (seed, photo's `kept_digest`) for one
            background a photo, the step and the example added for one a step.
        class_pixels: squares of class pictures, 0 to 255, for "class".
        photo: the square of the whole photo, -1 to 1, for "blur".

    Raises:
        ValueError: what the mode needs is missing.
    """
    backdrop = make_backdrop(background, share, key, class_pixels=class_pixels, photo=photo)
    # Chosen, not multiplied by 0: so that not even a NaN outside the mask gets through.
    return torch.where(share > 0, share * subject + (1 - share) * backdrop, backdrop)


def make_backdrop(
    background: Background,
    share: Float[Tensor, "1 H W"],
    key: Key,
    *,
    class_pixels: UInt8[Tensor, "n 3 H W"] | None = None,
    photo: Float[Tensor, "3 H W"] | None = None,
) -> Float[Tensor, "3 H W"]:
    """Return a whole picture of background, -1 to 1; arguments as those of `replace`."""
    size = share.shape[-2], share.shape[-1]
    generator = randomness.generator(*key, "background")
    match background.mode:
        case "fill":
            return _values(torch.tensor(background.fill, dtype=torch.uint8))[:, None, None].expand(3, *size)
        case "noise":
            return torch.rand(3, *size, generator=generator) * 2 - 1
        case "random":
            return random_fields(size, generator)
        case "class":
            if class_pixels is None:
                raise ValueError("class_pixels is needed for class")
            return _values(class_pixels[int(torch.randint(len(class_pixels), (), generator=generator))])
        case "blur":
            if photo is None:
                raise ValueError("photo is needed for blur")
            return blurred_background(photo, share)
        case _:
            raise ValueError(f"nothing is replaced with {background.mode}")


def random_fields(size: tuple[int, int], generator: torch.Generator) -> Float[Tensor, "3 H W"]:
    """Return soft patches of random colours with grain, -1 to 1; brightness, contrast and grain vary.

    Args:
        size: (height, width) in pixels.
        generator: of the draws, on the CPU.
    """
    brightness = torch.rand(1, 1, 1, generator=generator) * 2 - 1
    picture = (brightness + _COLOUR * torch.randn(3, 1, 1, generator=generator)).expand(3, *size)
    for cells in _OCTAVES:
        # Larger patches are stronger, as in photos, whose amplitude falls with frequency.
        strength = torch.rand((), generator=generator) / cells**0.5
        light = torch.randn(1, 1, cells, cells, generator=generator)
        patches = light + _COLOUR * torch.randn(1, 3, cells, cells, generator=generator)
        picture = picture + strength * interpolate(patches, size, mode="bicubic", align_corners=False)[0]
    grain = torch.rand((), generator=generator) * 0.1
    return (picture + grain * torch.randn(3, *size, generator=generator)).clamp(-1, 1)


def blurred_background(
    photo: Float[Tensor, "3 H W"], share: Float[Tensor, "1 H W"]
) -> Float[Tensor, "3 H W"]:
    """Return a photo's background, blurred by a Gaussian, with the subject left out of the mean.

        blurred = G * (b photo) / G * b      b = 1 on pixels of no subject at all, else 0

    So no colour of the subject bleeds into the background. Colours of the background remain: it can be told
    from another one.

    Args:
        photo: -1 to 1.
        share: the subject's share of each pixel, 0 to 1.
    """
    is_background = share == 0
    rows, columns = (_gaussian(length, max(photo.shape[-2:]) * BLUR_FRACTION) for length in photo.shape[-2:])
    total = rows @ torch.where(is_background, photo, 0.0) @ columns.T
    weight = rows @ is_background.float() @ columns.T
    # Where a mask fills the picture there is nothing to blur; grey then shows only through soft edge pixels.
    return torch.where(weight > 0, total / torch.where(weight > 0, weight, 1.0), 0.0)


def check_has_masks(background: Background, *, has_masks: bool) -> None:
    """Raise UserError where a background is to be replaced and no mask says what it is."""
    if background.replaces and not has_masks:
        raise UserError(
            f"--background {background.mode}: there are no masks; it replaces what lies outside them. "
            "Add --use_persam, or drop it."
        )


def _gaussian(length: int, sigma: float) -> Float[Tensor, "length length"]:
    """Return the matrix that blurs a row of pixels; its rows need not sum to 1."""
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return torch.exp(-0.5 * (distance / sigma) ** 2)


def _values(pixels: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return 0 to 255 as -1 to 1."""
    return (pixels.float() / 255 - 0.5) / 0.5
