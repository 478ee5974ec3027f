"""Photos and masks as the VAE will see them: cut to size, and on another background where that is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Bool, Float, Real, UInt8
from torch import Tensor

from persam_dreambooth.diffusion.backgrounds import Background, Key, cut_out, kept_digest, replace
from persam_dreambooth.diffusion.geometry import Geometry, Placement, Size, place, take
from persam_dreambooth.diffusion.latent_mask import LatentMask, check_subject_left, latent_mask, mask_of
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.photos import Photo, array_digest


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How photos become training pictures."""

    geometry: Geometry
    latent_mask: LatentMask = field(default_factory=LatentMask)
    background: Background = field(default_factory=Background)
    cache_latents: bool = True
    """Encode once, before training; otherwise in every step."""
    every_size: bool = False
    """Take every size of the geometry from each photo, not the nearest alone."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo cut to size."""

    key: str
    """Digest of the photo, as far as it has any influence."""
    mask_digest: str | None
    placement: Placement
    pixels: Real[Tensor, "3 h w"]
    """RGB, 0 to 255; without the colours of the background where that is replaced. Bytes, unless something
    is asked that bytes cannot hold: a NaN, a gradient."""
    share: UInt8[Tensor, "1 h w"] | None
    """How much of each pixel is subject, 0 to 255; None where there are no masks."""
    whole: Real[Tensor, "3 h w"] | None
    """The same with the background, where what replaces it is made from that."""

    def cells(self, factor: int, settings: LatentMask) -> Float[Tensor, "1 h w"]:
        """Return a weight of each latent cell: ones without a mask.

        Args:
            factor: side of a latent cell in pixels.
            settings: which weight.
        """
        if self.share is None:
            height, width = self.placement.target
            return torch.ones(1, height // factor, width // factor)
        return latent_mask(self.share.float() / 255, factor, settings)


def prepare(
    photo: Photo,
    masks: Mapping[str, Bool[np.ndarray, "H W"]] | None,
    preparation: Preparation,
    factor: int,
    target: Size | None = None,
) -> Picture:
    """Return a photo cut to size.

    Args:
        photo: to cut.
        masks: by the stem of the photo's name, True on the subject; None without any.
        preparation: how.
        factor: side of a latent cell in pixels.
        target: size of the picture; None is the nearest in shape.

    Raises:
        UserError: the mask is missing, of another size than the photo, or leaves nothing to learn.
    """
    geometry, background = preparation.geometry, preparation.background
    if masks is None:
        placement = place(photo.size, geometry, photo.digest, target)
        pixels = _tensor(take(photo.pixels, placement, geometry))
        return Picture(photo.digest, None, placement, pixels, None, None)
    mask = mask_of(photo, masks)
    # Where the background has no influence it must not choose the crop either.
    key = kept_digest(photo.pixels, mask) if background.is_invariant else photo.digest
    placement = place(photo.size, geometry, key, target)
    share = _tensor(take(mask.astype(np.uint8) * 255, placement, geometry)[..., None])
    check_subject_left(photo, mask, share.float() / 255, factor, preparation.latent_mask)
    whole = _tensor(take(photo.pixels, placement, geometry)) if not background.is_invariant else None
    pixels = whole
    if background.replaces:
        pixels = _tensor(take(cut_out(photo.pixels, mask), placement, geometry)[..., :3])
    whole = whole if background.replaces else None
    return Picture(key, array_digest(mask), placement, pixels, share, whole)


def pixel_values(
    picture: Picture,
    background: Background,
    key: Key,
    *,
    class_pixels: UInt8[Tensor, "n 3 h w"] | None = None,
    mirrored: bool = False,
) -> Float[Tensor, "3 h w"]:
    """Return what the VAE is shown of a picture, -1 to 1.

    Args:
        picture: cut to size.
        background: what the pixels outside the mask become.
        key: what that follows from.
        class_pixels: class pictures of the same size, for a background cut from those.
        mirrored: left to right, background included.
    """
    values = _values(picture.pixels)
    if background.replaces and picture.share is not None:
        whole = None if picture.whole is None else _values(picture.whole)
        share = picture.share.float() / 255
        values = replace(values, share, background, key, class_pixels=class_pixels, photo=whole)
    return values.flip(-1) if mirrored else values


@dataclass(frozen=True, eq=False)
class PictureSource:
    """Pictures to encode when asked, each time on the background that belongs to the key."""

    pictures: tuple[Picture, ...]
    vae: AutoencoderKL
    device: torch.device | str
    background: Background
    class_pixels: Mapping[Size, UInt8[Tensor, "n 3 h w"]]
    """Class pictures in every size that is needed, for a background cut from those."""

    def moments_of(self, row: int, key: Key) -> Float[Tensor, "c2 h w"]:
        """Return mean and deviation of a row's latents with the background that belongs to a key."""
        picture = self.pictures[row % len(self.pictures)]
        values = pixel_values(
            picture,
            self.background,
            key,
            class_pixels=self.class_pixels.get(picture.placement.target),
            mirrored=row >= len(self.pictures),
        )
        # Drawing between the steps may have taken it off the device.
        return moments(self.vae.to(self.device), values[None])[0]


def class_squares(
    class_photos: Sequence[Photo], sizes: Sequence[Size], geometry: Geometry
) -> dict[Size, UInt8[Tensor, "n 3 h w"]]:
    """Return class pictures in every size, as backgrounds."""
    if not class_photos:
        return {}
    return {
        size: torch.stack(
            [
                _tensor(take(photo.pixels, place(photo.size, geometry, photo.digest, size), geometry))
                for photo in class_photos
            ]
        )
        for size in sizes
    }


def _tensor(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[Tensor, "c h w"]:
    """Return a picture as a tensor."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))


def _values(pixels: Real[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return 0 to 255 as -1 to 1."""
    return (pixels.float() / 255 - 0.5) / 0.5
