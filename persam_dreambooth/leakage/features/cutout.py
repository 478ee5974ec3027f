"""A subject by itself: cut out, at one scale, in the middle of neutral grey.

However large it was drawn, wherever and in front of what: two pictures of one subject become alike.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from persam_dreambooth.leakage.features.cells import NUM_CELLS, blocks

SIDE = 512
"""Side of the square, in pixels."""
LONG_SIDE = 448
"""The subject's longer side in it, in pixels: 14 of 16 cells."""
GREY = 127
_MIN_SUBJECT_FRACTION = 0.5
"""A cell with at least this share of subject is the subject's."""


def cut_out(
    pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
) -> tuple[UInt8[np.ndarray, "S S 3"], Bool[np.ndarray, "rows columns"]]:
    """Return the subject on a grey square, and which of the square's cells are the subject's: at least one.

    Args:
        pixels: RGB, 0 to 255.
        mask: True on the subject.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask is empty")
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    subject = np.where(mask[box][..., None], pixels[box], np.uint8(GREY))
    height, width = _scaled(subject.shape[:2])
    top, left = (SIDE - height) // 2, (SIDE - width) // 2

    square = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    square[top : top + height, left : left + width] = np.asarray(
        Image.fromarray(subject).resize((width, height), Image.Resampling.BICUBIC)
    )
    share = np.zeros((SIDE, SIDE), np.float32)
    share[top : top + height, left : left + width] = np.asarray(
        Image.fromarray(mask[box].astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    )
    return square, _subject_cells(share)


def _subject_cells(share: Float[np.ndarray, "S S"]) -> Bool[np.ndarray, "rows columns"]:
    """Return the cells that are mostly subject; where there are none, the one that has most of it."""
    of_cell = blocks(share, SIDE // NUM_CELLS).mean((1, 3))
    return of_cell >= min(_MIN_SUBJECT_FRACTION, of_cell.max())


def _scaled(size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width with the longer side at LONG_SIDE."""
    scale = LONG_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
