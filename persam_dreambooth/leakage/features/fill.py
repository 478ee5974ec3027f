"""A picture without its subject: the hole is filled smoothly from what surrounds it.

An encoder that mixes cells must not be shown the subject at all: what it says of the background would follow
from it. The fill is computed from the other pixels alone, so that not one bit of it does. It is a membrane
stretched over the hole, the solution of Laplace's equation, at low resolution: it continues the surroundings'
colours and invents no texture.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

_SHORT_SIDE = 64
"""Pixels of the shorter side at which the membrane is stretched."""
_MIN_KNOWN = 64
"""Such a pixel counts as known where at least this much of it, of 255, lies outside the hole."""
_NUM_SWEEPS = 16
"""Averagings with the neighbours at each level of the pyramid."""
_GREY = 127
"""Where the hole is everything."""


def without_subject(
    pixels: UInt8[np.ndarray, "H W 3"], removed: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Return the picture with other pixels where it is to be removed; they follow from the rest alone.

    Args:
        pixels: RGB, 0 to 255.
        removed: True where nothing of the picture may stay.
    """
    if not removed.any():
        return pixels
    height, width = removed.shape
    smooth = np.rint(_stretched(*_reduced(pixels, removed))).astype(np.uint8)
    fill = Image.fromarray(smooth).resize((width, height), Image.Resampling.BILINEAR)
    return np.where(removed[..., None], np.asarray(fill), pixels)


def _reduced(
    pixels: UInt8[np.ndarray, "H W 3"], removed: Bool[np.ndarray, "H W"]
) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Return a small picture, each pixel the mean of what is not removed there, and where that is enough."""
    opaque = np.where(removed, 0, 255).astype(np.uint8)[..., None]
    picture = Image.fromarray(np.concatenate([pixels, opaque], axis=-1))
    scale = min(1.0, _SHORT_SIDE / min(removed.shape))
    height, width = (max(1, round(side * scale)) for side in removed.shape)
    # Pillow averages the colours of RGBA weighed by their opacity: what is removed counts exactly 0 times.
    small = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    return small[..., :3].astype(np.float64), small[..., 3] >= _MIN_KNOWN


def _stretched(
    colours: Float[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Return the picture with every unknown pixel about the mean of its neighbours: coarse levels first."""
    if known.all():
        return colours
    if not known.any():
        return np.full_like(colours, _GREY)
    start = np.repeat(np.repeat(_stretched(*_halved(colours, known)), 2, axis=0), 2, axis=1)
    values = np.where(known[..., None], colours, start[: known.shape[0], : known.shape[1]])
    for _ in range(_NUM_SWEEPS):
        # Beyond the border lies what lies at it: the membrane is free there.
        wide = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
        mean = (wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 4
        values = np.where(known[..., None], colours, mean)
    return values


def _halved(
    colours: Float[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "h2 w2 3"], Bool[np.ndarray, "h2 w2"]]:
    """Return the picture at half the size, each pixel the mean of the known ones of four."""
    odd = [(0, side % 2) for side in known.shape]
    weights = np.pad(known.astype(np.float64), odd)[..., None]
    sums = np.pad(np.where(known[..., None], colours, 0.0), [*odd, (0, 0)])
    height, width = weights.shape[0] // 2, weights.shape[1] // 2
    count = weights.reshape(height, 2, width, 2, 1).sum(axis=(1, 3))
    total = sums.reshape(height, 2, width, 2, 3).sum(axis=(1, 3))
    return total / np.maximum(count, 1.0), count[..., 0] > 0
