"""What a picture looks like, cell by cell: colour and gradients, without any network or download.

A picture is scaled to a short side of SHORT_SIDE pixels and cut into cells of CELL x CELL; each cell is
described by NUM_FEATURES numbers. A cell takes part as background only where practically nothing of it is
subject.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter

SHORT_SIDE = 256
"""Pixels of the shorter side that everything is scaled to: photos and generated pictures alike."""
CELL = 16
"""Side of a cell in those pixels: a grid of 16 x 16 for a square picture."""
NAME = "ct"
"""Colour and texture: the name of these features in reports."""

_NUM_ORIENTATIONS = 8
_SCALES = (1, 2)
NUM_FEATURES = 6 + _NUM_ORIENTATIONS * len(_SCALES)

MARGIN = 8
"""The subject is widened by this many of the scaled pixels, so that the rim of a mask is no background."""
MAX_SUBJECT_FRACTION = 0.02
"""A cell with more than this share of (widened) subject is no background."""

# Linear sRGB to XYZ, each row divided by the white point D65 (IEC 61966-2-1).
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_RGB_TO_XYZ /= _RGB_TO_XYZ.sum(axis=1, keepdims=True)


def cell_features(pixels: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "rows columns 22"]:
    """Return mean (3) and spread (3) of the CIELAB colour, and the log gradient energy of each cell.

    The energies are those of the lightness in 8 directions (of 180 degrees), at full and at half resolution.

    Args:
        pixels: RGB, 0 to 255, of any size.
    """
    height, width = _scaled_size(pixels.shape[:2])
    scaled = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    lab = _lab(np.asarray(scaled))
    colours = _blocks(lab, CELL)
    energies = [_gradient_energies(_shrunk(lab[..., 0], scale), CELL // scale) for scale in _SCALES]
    return np.concatenate([colours.mean((1, 3)), colours.std((1, 3)), *energies], axis=-1)


def background_cells(
    mask: Bool[np.ndarray, "H W"] | None, size: tuple[int, int]
) -> Bool[np.ndarray, "rows columns"]:
    """Return which cells of a picture are background.

    Args:
        mask: True on the subject, at the picture's size; None where there is no subject: all is background.
        size: (height, width) of the picture in pixels.
    """
    height, width = _scaled_size(size)
    if mask is None:
        return np.ones((height // CELL, width // CELL), dtype=bool)
    scaled = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    widened = np.asarray(scaled.point(lambda value: 255 * (value > 127)).filter(_widening()))
    return _blocks(widened > 0, CELL).mean((1, 3)) <= MAX_SUBJECT_FRACTION


def _widening() -> ImageFilter.MaxFilter:
    """Return the filter that widens a mask by MARGIN pixels to each side."""
    return ImageFilter.MaxFilter(2 * MARGIN + 1)


def _scaled_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) with the shorter side at SHORT_SIDE, both in whole cells."""
    scale = SHORT_SIDE / min(size) / CELL
    return CELL * round(size[0] * scale), CELL * round(size[1] * scale)


def _blocks(picture: np.ndarray, side: int) -> np.ndarray:
    """Return a picture [H W ...] as blocks [rows side columns side ...]."""
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    return picture.reshape(rows, side, columns, side, *picture.shape[2:])


def _shrunk(lightness: Float[np.ndarray, "H W"], factor: int) -> Float[np.ndarray, "h w"]:
    """Return a picture made smaller by averaging."""
    return _blocks(lightness, factor).mean((1, 3))


def _gradient_energies(lightness: Float[np.ndarray, "H W"], side: int) -> Float[np.ndarray, "rows columns 8"]:
    """Return log(1 + mean squared gradient) of each cell, split by the gradient's direction."""
    down, right = np.gradient(lightness)
    direction = np.mod(np.arctan2(down, right), np.pi) * (_NUM_ORIENTATIONS / np.pi)
    nearest = np.rint(direction).astype(int) % _NUM_ORIENTATIONS
    energy = down**2 + right**2
    # 1 is about the energy of sensor noise, in lightness units of 0 to 100: what is below it is no texture.
    return np.stack(
        [
            np.log1p(_blocks(np.where(nearest == number, energy, 0.0), side).mean((1, 3)))
            for number in range(_NUM_ORIENTATIONS)
        ],
        axis=-1,
    )


def _lab(pixels: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
    """Return sRGB as CIELAB (D65): lightness 0 to 100, and two colour axes."""
    values = pixels / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T
    x, y, z = np.moveaxis(
        np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
