"""One way for all encoders: the subject goes before a picture is encoded, or everything else does."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, UInt8

from persam_dreambooth.leakage.features.cells import Cells, background_cells, widened
from persam_dreambooth.leakage.features.cutout import cut_out
from persam_dreambooth.leakage.features.fill import without_subject

Encode = Callable[
    [UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "rows columns"]], Float[np.ndarray, "rows columns d"]
]
"""Takes a picture and the cells that are wanted of it; returns all of them, of which only those count."""


@dataclass(frozen=True, eq=False)
class EncoderFeatures:
    """Features that an encoder makes of whole pictures."""

    name: str
    version: int
    num_features: int
    encode: Encode
    weights: Callable[[], str]
    """Returns a digest of the encoder's weights: seconds for large ones, and asked once at most."""
    mixes_cells: bool = True
    """What it says of a cell follows from others too: then the rim of the subject is removed as well."""
    reach: int = 0
    """Cells beside the subject that are left out, because what fills its place shows in them."""

    @cached_property
    def digest(self) -> str:
        """The sha256 (hex) over name, version and weights."""
        return hashlib.sha256(f"{self.name} {self.version} {self.weights()}".encode()).hexdigest()

    def cells(self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"] | None) -> Cells:
        """Return a picture's background; see `Features.cells`."""
        is_background = background_cells(mask, pixels.shape[:2])
        if mask is not None:
            is_background = _without_neighbours(is_background, self.reach)
            pixels = without_subject(pixels, widened(mask) if self.mixes_cells else mask)
        vectors = self.encode(pixels, is_background)
        return Cells(np.where(is_background[..., None], vectors, 0.0), is_background)

    def subject(
        self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
    ) -> Float[np.ndarray, "n d"]:
        """Return a subject's cells; see `Features.subject`."""
        square, is_subject = cut_out(pixels, mask)
        return self.encode(square, is_subject)[is_subject].astype(np.float64)


def _without_neighbours(
    is_background: Bool[np.ndarray, "rows columns"], reach: int
) -> Bool[np.ndarray, "rows columns"]:
    """Return the background less the cells beside the subject, unless that would leave nothing."""
    rows, columns = is_background.shape
    wide = np.pad(is_background, reach, constant_values=True)
    sides = range(2 * reach + 1)
    left = np.all([wide[y : y + rows, x : x + columns] for y in sides for x in sides], axis=0)
    return left if left.any() else is_background
