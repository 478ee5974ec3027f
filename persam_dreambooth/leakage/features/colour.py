"""`ct`: a cell's colours and gradients, without any network or download.

A picture is scaled to a short side of SHORT_SIDE pixels; each cell of CELL x CELL is described by 22 numbers,
which follow from the cell's own pixels and those that touch it.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from persam_dreambooth.leakage.features.cells import CELL, blocks, grid_of
from persam_dreambooth.leakage.lab import to_lab

NAME = "ct"
"""Colour and texture."""
VERSION = 1

_NUM_ORIENTATIONS = 8
_SCALES = (1, 2)
NUM_FEATURES = 6 + _NUM_ORIENTATIONS * len(_SCALES)


def cell_features(pixels: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "rows columns 22"]:
    """Return mean (3) and spread (3) of the CIELAB colour, and the log gradient energy of each cell.

    The energies are those of the lightness in 8 directions (of 180 degrees), at full and at half resolution.

    Args:
        pixels: RGB, 0 to 255, of any size.
    """
    rows, columns = grid_of(pixels.shape[:2])
    scaled = Image.fromarray(pixels).resize((CELL * columns, CELL * rows), Image.Resampling.BICUBIC)
    lab = to_lab(np.asarray(scaled))
    colours = blocks(lab, CELL)
    energies = [_gradient_energies(_shrunk(lab[..., 0], scale), CELL // scale) for scale in _SCALES]
    return np.concatenate([colours.mean((1, 3)), colours.std((1, 3)), *energies], axis=-1)


def encode(
    pixels: UInt8[np.ndarray, "H W 3"],
    wanted: Bool[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns 22"]:
    """Return every cell's numbers, wanted or not; an `encoding.Encode`."""
    return cell_features(pixels)


def _shrunk(lightness: Float[np.ndarray, "H W"], factor: int) -> Float[np.ndarray, "h w"]:
    """Return a picture made smaller by averaging."""
    return blocks(lightness, factor).mean((1, 3))


def _gradient_energies(lightness: Float[np.ndarray, "H W"], side: int) -> Float[np.ndarray, "rows columns 8"]:
    """Return log(1 + mean squared gradient) of each cell, split by the gradient's direction."""
    down, right = np.gradient(lightness)
    direction = np.mod(np.arctan2(down, right), np.pi) * (_NUM_ORIENTATIONS / np.pi)
    nearest = np.rint(direction).astype(int) % _NUM_ORIENTATIONS
    energy = down**2 + right**2
    # 1 is about the energy of sensor noise, in lightness units of 0 to 100: what is below it is no texture.
    return np.stack(
        [
            np.log1p(blocks(np.where(nearest == number, energy, 0.0), side).mean((1, 3)))
            for number in range(_NUM_ORIENTATIONS)
        ],
        axis=-1,
    )
