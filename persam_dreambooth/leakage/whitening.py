"""The space in which cells are compared: whitened on the decoys, and every vector a direction."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Added to every variance, as a share of the largest, so that directions without content are not blown up.
_SHRINKAGE = 0.05
# Directions that keep less than this of their variance after that are left out: they only cost time.
_NEGLIGIBLE = 0.01


@dataclass(frozen=True, eq=False)
class Space:
    """Where vectors are compared: all directions weigh about the same, and only the direction counts."""

    mean: Float[np.ndarray, " d"]
    matrix: Float[np.ndarray, "d e"]

    def directions(self, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        """Return vectors as unit vectors in this space."""
        whitened = (vectors - self.mean) @ self.matrix
        # A cell that is exactly the mean has no direction; it then is near nothing.
        return whitened / np.maximum(np.linalg.norm(whitened, axis=1, keepdims=True), 1e-12)


def nearest(
    directions: Float[np.ndarray, "n e"], bank: Float[np.ndarray, "m e"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return for each direction its largest cosine in a bank, and whose it is."""
    cosines = directions @ bank.T
    winners = cosines.argmax(axis=1)
    return np.take_along_axis(cosines, winners[:, None], axis=1)[:, 0], winners


def nearest_in_each(
    directions: Float[np.ndarray, "n e"], banks: Float[np.ndarray, "k m e"]
) -> Float[np.ndarray, "k n"]:
    """Return for each direction its largest cosine in each bank."""
    return np.stack([(directions @ bank.T).max(axis=1) for bank in banks])


def whitened_space(vectors: Float[np.ndarray, "n d"]) -> Space:
    """Return the space in which these vectors vary about equally in all directions.

    Principal components divided by sqrt(variance + 5 % of the largest variance). Equal vectors, or one alone,
    have no directions: everything is near nothing.
    """
    width = vectors.shape[1]
    spreads = np.cov(vectors, rowvar=False) if len(vectors) > 1 else np.zeros((width, width))
    variances, directions = np.linalg.eigh(spreads)
    variances = np.maximum(variances, 0.0)
    spread = variances + _SHRINKAGE * variances[-1]
    told = (variances >= _NEGLIGIBLE * spread) & (variances > 0)
    return Space(vectors.mean(axis=0), directions[:, told] / np.sqrt(np.where(told, spread, 1.0)[told]))
