"""How a known share of a place gets into a picture, without a single pixel being copied.

What is planted is seen anew: mirrored or not, turned, enlarged, shifted, with other contrast and colours; and
every finished picture is softened and noised, as one that went through an autoencoder. NumPy and Pillow only;
everything follows from the random numbers given.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter

from persam_dreambooth.leakage.lab import from_lab, to_lab
from persam_dreambooth.leakage.validation.cases import Shot

MAX_TURN = 8.0
"""Degrees to either side."""
MAX_ENLARGEMENT = 1.25
MAX_SHIFT = 0.1
"""Fraction of the side, to either side."""
CONTRAST = (0.88, 1.12)
BRIGHTNESS = 8.0
"""Levels of 255 to either side."""
CHANNEL_GAIN = (0.95, 1.05)
SOFTENING = (0.5, 0.9)
"""Standard deviation of the blur, in pixels of a picture whose shorter side is SHORT_SIDE."""
SHORT_SIDE = 256
NOISE = 3.0
"""Standard deviation of the noise, in levels of 255."""
MASK_MARGIN = 0.02
"""Fraction of the shorter side by which subjects are widened before a place is cut out around them."""
BAD_MASK_MARGIN = 25 / 256
"""Fraction of the shorter side by which a bad mask is too small."""

# So many looks at the photos fill the holes that subjects and picture edges leave in one another's.
_NUM_LOOKS = 10


def seen_anew(
    shots: Sequence[Shot], size: tuple[int, int], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Return the place that photos show, as from another standpoint and under other light, and where it is.

    Args:
        shots: photos of the place; where one shows the subject, another look at it or at the next one is
            used.
        size: (height, width) of the result in pixels.
        rng: what decides.

    Returns:
        levels of 0 to 255, and True where they are defined: where some look showed background.
    """
    seen = np.zeros((*size, 3))
    covered = np.zeros(size, dtype=bool)
    order = rng.permutation(len(shots))
    for look in range(_NUM_LOOKS):
        pixels, shown = _look(shots[order[look % len(shots)]], size, rng)
        new = shown & ~covered
        seen[new] = pixels[new]
        covered |= new
        if covered.all():
            break
    return _relit(seen, rng), covered


def share_of(
    background: Bool[np.ndarray, "h w"],
    available: Bool[np.ndarray, "h w"],
    share: float,
    angle: float,
) -> Bool[np.ndarray, "h w"]:
    """Return a contiguous part of the background: what lies on one side of a straight line.

    With one angle, a larger share holds all of a smaller one.

    Args:
        background: what the share is counted in.
        available: where something can be planted.
        share: 0 to 1. Where less is available, all of that is taken.
        angle: the line's direction, in radians.
    """
    y, x = np.mgrid[: background.shape[0], : background.shape[1]]
    distance = np.where(background & available, x * math.cos(angle) + y * math.sin(angle), np.inf)
    count = min(round(share * background.sum()), int((background & available).sum()))
    chosen = np.zeros(background.size, dtype=bool)
    chosen[np.argsort(distance, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(background.shape)


def paste(
    host: Float[np.ndarray, "h w 3"],
    planted: Float[np.ndarray, "h w 3"],
    region: Bool[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w 3"]:
    """Return the host with the region taken from what is planted."""
    return np.where(region[..., None], planted, host)


def blend(
    host: Float[np.ndarray, "h w 3"],
    planted: Float[np.ndarray, "h w 3"],
    region: Bool[np.ndarray, "h w"],
    strength: float,
) -> Float[np.ndarray, "h w 3"]:
    """Return the host with a ghost over the region: `strength` of what is planted, the rest the host's."""
    return np.where(region[..., None], host + strength * (planted - host), host)


def palette(
    host: Float[np.ndarray, "h w 3"],
    planted: Float[np.ndarray, "h w 3"],
    *,
    region: Bool[np.ndarray, "h w"],
    planted_region: Bool[np.ndarray, "h w"],
    strength: float,
) -> Float[np.ndarray, "h w 3"]:
    """Return the host with its region's colours moved towards those of what is planted.

    Mean and spread of each CIELAB axis; content and structure stay the host's.

    Args:
        host: levels of 0 to 255.
        planted: the same.
        region: where the host is changed.
        planted_region: where `planted` is defined.
        strength: 0 changes nothing, 1 moves all the way.

    Source: Reinhard et al., Color Transfer between Images (2001).
    """
    own, other = to_lab(host[region]), to_lab(planted[planted_region])
    scale = other.std(axis=0) / np.maximum(own.std(axis=0), 1e-6)
    target = (own - own.mean(axis=0)) * scale + other.mean(axis=0)
    changed = host.copy()
    changed[region] = from_lab(own + strength * (target - own))
    return changed


def with_subject_of(
    host: Shot, photo: Shot
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Return the host with the photo's subject in place of its own, and where each of the two is.

    Args:
        host: where its subject is, the other comes; into the middle where it has none.
        photo: a photo with a mask.

    Returns:
        the picture; True on the subject that was put in; True on what is still seen of the host's own.
    """
    height, width = host.pixels.shape[:2]
    own = np.zeros((height, width), dtype=bool) if host.mask is None else host.mask
    middle = (height // 4, width // 4, 3 * height // 4, 3 * width // 4)
    top, left, bottom, right = _box(own) if own.any() else middle
    cut = _box(photo.mask)
    rows, columns = slice(cut[0], cut[2]), slice(cut[1], cut[3])
    scale = max((bottom - top) / (cut[2] - cut[0]), (right - left) / (cut[3] - cut[1]))
    size = max(1, round((cut[3] - cut[1]) * scale)), max(1, round((cut[2] - cut[0]) * scale))
    subject = Image.fromarray(photo.pixels[rows, columns]).resize(size, Image.Resampling.LANCZOS)
    shape = Image.fromarray(np.where(photo.mask[rows, columns], 255, 0).astype(np.uint8)).resize(size)
    corner = ((left + right - size[0]) // 2, (top + bottom - size[1]) // 2)
    picture, where = Image.fromarray(host.pixels), Image.new("L", (width, height))
    picture.paste(subject, corner, shape)
    where.paste(shape, corner)
    inside = np.asarray(where) > 0
    return np.asarray(picture), inside, own & ~inside


def eroded(mask: Bool[np.ndarray, "h w"], margin: float = BAD_MASK_MARGIN) -> Bool[np.ndarray, "h w"]:
    """Return a mask without its rim, as wide as `margin` times the picture's shorter side."""
    return ~_widened(~mask, margin)


def finished(pixels: Float[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture softened and noised."""
    image = Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8))
    softening = rng.uniform(*SOFTENING) * min(pixels.shape[:2]) / SHORT_SIDE
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(softening)), dtype=np.float64)
    return np.rint((soft + rng.normal(0, NOISE, soft.shape)).clip(0, 255)).astype(np.uint8)


def _look(
    shot: Shot, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Return a photo turned, enlarged and shifted, and where it shows background."""
    height, width = shot.pixels.shape[:2]
    subject = np.zeros((height, width), dtype=bool) if shot.mask is None else shot.mask
    shown = np.where(_widened(subject, MASK_MARGIN), 0, 255).astype(np.uint8)
    image = Image.fromarray(np.dstack([shot.pixels, shown]), "RGBA")
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = min(height / size[0], width / size[1]) / rng.uniform(1, MAX_ENLARGEMENT)
    turn = math.radians(rng.uniform(-MAX_TURN, MAX_TURN))
    cosine, sine = scale * math.cos(turn), scale * math.sin(turn)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    x, y = (0.5 + shift[0]) * width, (0.5 + shift[1]) * height
    across, down = size[1] / 2, size[0] / 2
    # Pillow asks for the place in the photo of each pixel of the result.
    matrix = (
        cosine, -sine, x - cosine * across + sine * down,
        sine, cosine, y - sine * across - cosine * down,
    )  # fmt: skip
    turned = np.asarray(
        image.transform((size[1], size[0]), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    )
    # A pixel that interpolation mixed with the subject, or with what lies outside the photo, is not shown.
    return turned[..., :3].astype(np.float64), turned[..., 3] == 255


def _relit(pixels: Float[np.ndarray, "h w 3"], rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Return a picture with other contrast, brightness and tint."""
    contrast, brightness = rng.uniform(*CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    gains = rng.uniform(*CHANNEL_GAIN, 3)
    return (((pixels - 127.5) * contrast + 127.5 + brightness) * gains).clip(0, 255)


def _widened(mask: Bool[np.ndarray, "h w"], margin: float) -> Bool[np.ndarray, "h w"]:
    """Return a mask widened by `margin` times the shorter side, square corners."""
    pixels = max(1, round(margin * min(mask.shape)))
    # Each pass turns on what has a lit pixel in the row, then in the column.
    for axis in (0, 1):
        pad = [(pixels, pixels) if at == axis else (0, 0) for at in (0, 1)]
        counted = np.cumsum(np.pad(mask, pad), axis=axis, dtype=np.int64)
        before = np.insert(counted, 0, 0, axis=axis)
        length = mask.shape[axis]
        upper = np.take(before, np.arange(2 * pixels + 1, 2 * pixels + 1 + length), axis=axis)
        mask = upper > np.take(before, np.arange(length), axis=axis)
    return mask


def _box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of what a mask holds; the last two are exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
