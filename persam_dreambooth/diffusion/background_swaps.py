"""The subject of a photo in front of another place, at the photo's own size: a photo like any other."""

import dataclasses

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from persam_dreambooth.diffusion.geometry import covering
from persam_dreambooth.photos import Photo


def on_background(
    pixels: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    place: UInt8[np.ndarray, "h w 3"],
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a photo whose pixels outside the mask are those of a place.

    Args:
        pixels: of the photo.
        mask: True on the subject.
        place: a picture of any size: scaled until it covers the photo, its middle is taken.
    """
    return np.where(mask[..., None], pixels, cover(place, mask.shape))


def cover(place: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Return the middle of a picture, scaled until it covers a size (height, width)."""
    height, width = covering(place.shape[:2], size)
    scaled = np.asarray(Image.fromarray(place).resize((width, height), Image.Resampling.LANCZOS))
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return scaled[top : top + size[0], left : left + size[1]]


def elsewhere(photo: Photo, mask: Bool[np.ndarray, "H W"], place: UInt8[np.ndarray, "h w 3"]) -> Photo:
    """Return a photo in front of another place, still under its own digest.

    What is drawn for a photo, such as the place of its crop, follows from the digest: kept, it is the
    background alone that changes. Nothing of such a photo may be cached.
    """
    return dataclasses.replace(photo, pixels=on_background(photo.pixels, mask, place))
