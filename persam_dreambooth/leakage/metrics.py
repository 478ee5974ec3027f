"""Whose background is it: the share of a picture's background that looks most like the training photos'.

Needs no truth. Every background cell of a generated picture is compared with the background cells of the
training photos and with K equally large banks of decoys, which are places that the photos do not show. A
cell counts as the photos' where their bank holds the nearest of all cells. Where nothing leaks, every bank is
as likely to win: chance is 1 / (K + 1). What is generic (sky, lawn, a plain wall) is near every bank, so that
the decoys cancel it.

What remains is taken against the base model's pictures of the same prompts and seeds (`comparison`): the
excess.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.features import background_cells, cell_features

NUM_BANKS = 19
"""Decoy banks: chance is then 1 in 20."""
MAX_BANK_SIZE = 400
"""Cells a bank at most."""

# Added to every variance, as a share of the largest, so that directions without content are not blown up.
_SHRINKAGE = 0.05


@dataclass(frozen=True, eq=False)
class Banks:
    """The photos' background and the decoys', as unit vectors in one whitened space."""

    mean: Float[np.ndarray, " d"]
    whitening: Float[np.ndarray, "d d"]
    training: Float[np.ndarray, "n d"]
    decoys: Float[np.ndarray, "k n d"]

    @property
    def chance(self) -> float:
        """Share of cells that the photos' bank wins where nothing leaks."""
        return 1 / (len(self.decoys) + 1)


@dataclass(frozen=True)
class Attribution:
    """What of one picture's background looks most like the photos'."""

    rate: float | None
    """Share of the background cells, 0 to 1; None where the picture has no background."""
    num_cells: int
    """Background cells of the picture."""


def build_banks(
    photos: Iterable[tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]],
    decoys: Sequence[UInt8[np.ndarray, "H W 3"]],
    *,
    num_banks: int = NUM_BANKS,
    seed: int = 0,
) -> Banks:
    """Return the bank of the photos' backgrounds and the decoys', all of one size, mirror images included.

    Args:
        photos: pixels and subject mask of each training photo.
        decoys: pictures of other places, without the subject, best from the base model. Neighbours in the
            list go to the same bank: put pictures of one place next to each other, as the photos too show
            one place.
        num_banks: number of decoy banks K.
        seed: decides which cells are kept where a bank has too many.

    Raises:
        UserError: there are fewer decoys than banks, or the subject fills the photos.
    """
    if len(decoys) < num_banks:
        raise UserError(
            f"decoys: {len(decoys)} pictures; {num_banks} banks need at least one each. "
            "Generate more pictures of other places, or ask for fewer banks."
        )
    training = np.concatenate([_background_features(pixels, mask) for pixels, mask in photos])
    if not len(training):
        raise UserError(
            "photos: the subject fills every photo; leakage can only be measured where some background is "
            "seen. Add a photo with more around the subject, or check the masks."
        )
    groups = np.array_split(np.arange(len(decoys)), num_banks)
    banks = [np.concatenate([_background_features(decoys[i], None) for i in group]) for group in groups]
    mean, whitening = _whitening(np.concatenate(banks))
    size = min(MAX_BANK_SIZE, *(len(bank) for bank in (training, *banks)))
    rng = np.random.default_rng(seed)
    kept = [
        _directions(bank[rng.permutation(len(bank))[:size]], mean, whitening) for bank in (training, *banks)
    ]
    return Banks(mean, whitening, kept[0], np.stack(kept[1:]))


def attribution(
    banks: Banks, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"] | None
) -> Attribution:
    """Return the share of a picture's background cells whose nearest cell of all is one of the photos'.

    Args:
        banks: what `build_banks` returned.
        pixels: a generated picture.
        mask: True on its subject; None where none was found: then the whole picture counts.
    """
    cells = cell_features(pixels)[background_cells(mask, pixels.shape[:2])]
    if not len(cells):
        return Attribution(None, 0)
    directions = _directions(cells, banks.mean, banks.whitening)
    nearest_training = (directions @ banks.training.T).max(axis=1)
    nearest_decoy = (directions @ banks.decoys.reshape(-1, banks.decoys.shape[-1]).T).max(axis=1)
    return Attribution(float((nearest_training > nearest_decoy).mean()), len(cells))


def _background_features(
    pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"] | None
) -> Float[np.ndarray, "n d"]:
    """Return the features of a picture's background cells, and those of its mirror image."""
    sides = [(pixels, mask), (pixels[:, ::-1], None if mask is None else mask[:, ::-1])]
    return np.concatenate(
        [
            cell_features(np.ascontiguousarray(side))[background_cells(side_mask, side.shape[:2])]
            for side, side_mask in sides
        ]
    )


def _whitening(
    features: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Return the features' mean and the matrix after which all directions weigh about the same."""
    variances, directions = np.linalg.eigh(np.cov(features, rowvar=False))
    return features.mean(axis=0), directions / np.sqrt(variances + _SHRINKAGE * variances[-1])


def _directions(
    features: Float[np.ndarray, "n d"], mean: Float[np.ndarray, " d"], whitening: Float[np.ndarray, "d d"]
) -> Float[np.ndarray, "n d"]:
    """Return features as unit vectors in the whitened space."""
    whitened = (features - mean) @ whitening
    # A cell that is exactly the mean has no direction; it then is near nothing.
    return whitened / np.maximum(np.linalg.norm(whitened, axis=1, keepdims=True), 1e-12)
