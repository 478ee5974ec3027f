"""The grid on which pictures are compared: the same cells whatever describes them.

A picture has NUM_CELLS cells along its shorter side. A cell takes part as background only where practically
nothing of it is subject.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

NUM_CELLS = 16
"""Cells along the shorter side of a picture."""
CELL = 16
"""Side of a cell in pixels, once a picture is scaled to SHORT_SIDE."""
SHORT_SIDE = NUM_CELLS * CELL
"""Pixels of the shorter side at which masks are widened and colours are read."""
MARGIN = 8
"""The subject is widened by this many of those pixels, so that the rim of a mask is no background."""
MAX_SUBJECT_FRACTION = 0.02
"""A cell with more than this share of (widened) subject is no background."""


@dataclass(frozen=True, eq=False)
class Cells:
    """One picture, cell by cell."""

    vectors: Float[np.ndarray, "rows columns d"]
    """What each background cell looks like, not whitened; 0 at all other cells."""
    is_background: Bool[np.ndarray, "rows columns"]
    """Where there is practically no subject."""


class Features(Protocol):
    """What describes the cells of pictures. Pictures are RGB, 0 to 255, of any size."""

    @property
    def name(self) -> str:
        """Of the kind of features: ct, efficientnet, dift, sam, dinov2 or clip."""

    @property
    def version(self) -> int:
        """Goes up when the same picture gets other numbers."""

    @property
    def digest(self) -> str:
        """Return the sha256 (hex) of everything that the numbers follow from: name, version, weights."""

    @property
    def num_features(self) -> int:
        """Numbers that describe a cell."""

    def cells(self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"] | None) -> Cells:
        """Return a picture's background; nothing in it follows from the subject's pixels.

        Args:
            pixels: the picture.
            mask: True on its subject; None where there is none: then all is background.
        """

    def subject(
        self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
    ) -> Float[np.ndarray, "n d"]:
        """Return vectors of the cells of a picture's subject, at one scale; at least one.

        Nothing in them follows from the background's pixels.

        Args:
            pixels: the picture.
            mask: True on its subject.

        Raises:
            ValueError: the mask is empty.
        """


def grid_of(size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of the cells of a picture, from its (height, width) in pixels."""
    scale = NUM_CELLS / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def background_cells(
    mask: Bool[np.ndarray, "H W"] | None, size: tuple[int, int]
) -> Bool[np.ndarray, "rows columns"]:
    """Return which cells of a picture are background.

    Args:
        mask: True on the subject, at the picture's size; None where there is no subject: all is background.
        size: (height, width) of the picture in pixels.
    """
    if mask is None:
        return np.ones(grid_of(size), dtype=bool)
    return blocks(_widened_and_scaled(mask), CELL).mean((1, 3)) <= MAX_SUBJECT_FRACTION


def widened(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Return a mask with MARGIN more around the subject, at the size of the picture.

    Halos of the subject's colours and the errors of masks lie there.
    """
    height, width = mask.shape
    scaled = Image.fromarray(_widened_and_scaled(mask)).resize((width, height), Image.Resampling.NEAREST)
    # Specks that vanish in the scaling are subject all the same.
    return np.asarray(scaled) | mask


def widened_by(mask: Bool[np.ndarray, "h w"], reach: int) -> Bool[np.ndarray, "h w"]:
    """Return a mask with so many more pixels to each side; it takes the same time whatever the reach."""
    return _near(_near(mask, reach, axis=0), reach, axis=1)


def blocks(picture: np.ndarray, side: int) -> np.ndarray:
    """Return a picture [H W ...] as blocks [rows side columns side ...]."""
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    return picture.reshape(rows, side, columns, side, *picture.shape[2:])


def _widened_and_scaled(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "h w"]:
    """Return a mask at SHORT_SIDE, in whole cells, widened by MARGIN pixels to each side."""
    rows, columns = grid_of(mask.shape)
    scaled = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).resize(
        (CELL * columns, CELL * rows), Image.Resampling.BILINEAR
    )
    return widened_by(np.asarray(scaled) > 127, MARGIN)


def _near(mask: Bool[np.ndarray, "h w"], reach: int, axis: int) -> Bool[np.ndarray, "h w"]:
    """Return where the mask is True at most so many pixels away along an axis."""
    ends = [(reach + 1, reach) if number == axis else (0, 0) for number in range(2)]
    counts = np.pad(mask, ends).cumsum(axis=axis, dtype=np.int32)
    last = counts.shape[axis] - 2 * reach - 1
    upper = counts.take(range(2 * reach + 1, 2 * reach + 1 + last), axis)
    return upper > counts.take(range(last), axis)
