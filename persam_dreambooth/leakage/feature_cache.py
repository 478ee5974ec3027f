"""Features kept on disk by content, so that a comparison that is run again goes on where it stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from persam_dreambooth.files import atomic_path
from persam_dreambooth.leakage.features import COLOUR, Cells, Features
from persam_dreambooth.photos import array_digest
from persam_dreambooth.run import digest_of


class KeptFeatures:
    """Features whose results lie in a folder, one .npz for each picture and mask.

    Attributes:
        name: of the features.
        version: of the features.
        digest: of the features.
        num_features: numbers that describe a cell.
    """

    def __init__(self, features: Features, folder: Path) -> None:
        """Say which features, and where their results go."""
        self._features, self._folder = features, folder
        self.name, self.version = features.name, features.version
        self.digest, self.num_features = features.digest, features.num_features

    def cells(self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"] | None) -> Cells:
        """Return a picture's background; see `Features.cells`."""

        def compute() -> dict[str, np.ndarray]:
            found = self._features.cells(pixels, mask)
            return {"vectors": found.vectors, "is_background": found.is_background}

        return Cells(**self._kept("cells", pixels, mask, compute))

    def subject(
        self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
    ) -> Float[np.ndarray, "n d"]:
        """Return vectors of a picture's subject; see `Features.subject`."""

        def compute() -> dict[str, np.ndarray]:
            return {"vectors": self._features.subject(pixels, mask)}

        return self._kept("subject", pixels, mask, compute)["vectors"]

    def _kept(
        self,
        what: str,
        pixels: UInt8[np.ndarray, "H W 3"],
        mask: Bool[np.ndarray, "H W"] | None,
        compute: Callable[[], Mapping[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """Return what was computed before for the same picture and mask, or compute it and write it down."""
        shown = None if mask is None else array_digest(mask)
        key = digest_of(what, self.digest, array_digest(pixels), shown)
        path = self._folder / f"{key[:32]}.npz"
        # Each file appears whole: one that is there can be read.
        if path.is_file():
            with np.load(path) as stored:
                return {name: stored[name] for name in stored.files}
        found = dict(compute())
        with atomic_path(path) as temporary:
            np.savez(temporary, **found)
        return found


def kept(features: Features, folder: Path) -> Features:
    """Return features that remember; colour and gradients are computed faster than they are read."""
    return features if features.name == COLOUR else KeptFeatures(features, folder)
