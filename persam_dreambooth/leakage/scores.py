"""How much of one picture's background is the photos'.

t is a background cell's largest cosine in the training bank, d_k that in decoy bank k:

    attribution  share of cells with t > max_k d_k                     chance 1 / (K + 1)
    copy rate    share of cells with t > tau                           chance 1 %
    style shift  cos(mean cell, mean of the training bank) - mean over k of cos(mean cell, mean of bank k)
    max cosine   mean of t
    widest copy  share of cells in the largest connected piece copied as one

tau is what the base model's pictures reach in banks of other places in one of a hundred cells. Only the
attribution is built so that what is generic (sky, lawn, a plain wall) cancels: it is near every bank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from persam_dreambooth.leakage.banks import Banks
from persam_dreambooth.leakage.features import Cells
from persam_dreambooth.leakage.whitening import nearest, nearest_in_each

COPY_QUANTILE = 0.99
_NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))
_SAME_SHIFT = 1
"""Neighbouring cells are one copy where they are moved by the same number of cells, give or take this."""


@dataclass(frozen=True)
class Hit:
    """A cell of a picture that is attributed to the photos, and the patch of theirs that is nearest to it."""

    row: int
    column: int
    photo: int
    """Index of the photo."""
    photo_row: int
    photo_column: int
    """Where in the photo as it is, also where its mirror image is what is nearest."""
    cosine: float
    """To that patch."""
    decoy_cosine: float
    """To the nearest cell of all decoys."""
    mirrored: bool


@dataclass(frozen=True, eq=False)
class Scores:
    """What of one picture's background looks like the photos'; None where it has no background."""

    attribution: float | None
    copy_rate: float | None
    """None also without a threshold."""
    style_shift: float | None
    max_cosine: float | None
    widest_copy: float | None
    num_cells: int
    """Background cells of the picture."""
    attributed: Bool[np.ndarray, "rows columns"]
    """Which cells are attributed to the photos."""
    hits: tuple[Hit, ...]
    """The same, one by one, with where they come from."""


def copy_threshold(banks: Banks, base: Sequence[Cells]) -> float | None:
    """Return the cosine that the base model's cells reach in a bank of another place once in a hundred.

    Each picture leaves out the bank that is nearest to it on the whole: that may show the same kind of place
    (a beach that was asked for, and one among the decoys), and what is alike there says nothing of strangers.

    Args:
        banks: what `build_banks` returned.
        base: the cells of the base model's pictures; None comes back where these have no background.
    """
    found = []
    for cells in base:
        if cells.is_background.any():
            directions = banks.space.directions(cells.vectors[cells.is_background])
            cosines = nearest_in_each(directions, banks.decoys)
            strangers = np.arange(len(cosines)) != cosines.mean(axis=1).argmax()
            found.append((cosines[strangers] if strangers.any() else cosines).ravel())
    return float(np.quantile(np.concatenate(found), COPY_QUANTILE)) if found else None


def score(banks: Banks, cells: Cells, copy_threshold: float | None = None) -> Scores:
    """Return what of a picture's background looks like the photos'.

    Args:
        banks: what `build_banks` returned.
        cells: of the picture, from the same features.
        copy_threshold: from the function of that name.
    """
    grid = cells.is_background
    rows, columns = np.nonzero(grid)
    attributed = np.zeros(grid.shape, dtype=bool)
    if not len(rows):
        return Scores(None, None, None, None, None, 0, attributed, ())
    directions = banks.space.directions(cells.vectors[rows, columns])
    training = nearest(directions, banks.training)[0]
    decoys = nearest_in_each(directions, banks.decoys).max(axis=0)
    won = training > decoys
    attributed[rows, columns] = won
    hits = _hits(banks, directions[won], np.stack([rows[won], columns[won]], axis=1), decoys[won])
    return Scores(
        attribution=float(won.mean()),
        copy_rate=None if copy_threshold is None else float((training > copy_threshold).mean()),
        style_shift=_style_shift(banks, directions),
        max_cosine=float(training.mean()),
        widest_copy=_widest(hits) / len(rows),
        num_cells=len(rows),
        attributed=attributed,
        hits=hits,
    )


def common_attribution(
    first: tuple[Cells, Scores], second: tuple[Cells, Scores]
) -> tuple[float, float] | None:
    """Return the attribution of two pictures over the cells that are background in both; None without any.

    The subject of a tuned model may stand where the base model's does not; over the cells that both show, no
    difference can come from that.
    """
    grids = [cells.is_background for cells, _ in (first, second)]
    if grids[0].shape != grids[1].shape or not (grids[0] & grids[1]).any():
        return None
    common = grids[0] & grids[1]
    return float(first[1].attributed[common].mean()), float(second[1].attributed[common].mean())


def _style_shift(banks: Banks, directions: Float[np.ndarray, "n e"]) -> float:
    """Return how much nearer the mean cell is to the training bank's mean than to the decoys' means."""

    def cosine(mean: Float[np.ndarray, " e"]) -> float:
        lengths = np.linalg.norm(mean) * np.linalg.norm(own)
        return float(mean @ own / max(lengths, 1e-12))

    own = directions.mean(axis=0)
    return cosine(banks.training.mean(axis=0)) - float(
        np.mean([cosine(b.mean(axis=0)) for b in banks.decoys])
    )


def _hits(
    banks: Banks,
    directions: Float[np.ndarray, "n e"],
    places: Int[np.ndarray, "n 2"],
    decoys: Float[np.ndarray, " n"],
) -> tuple[Hit, ...]:
    """Return where attributed cells come from: the nearest of all the photos' patches, not of the sample."""
    if not len(directions):
        return ()
    cosines, winners = nearest(directions, banks.patches)
    return tuple(
        Hit(
            int(row),
            int(column),
            *(int(value) for value in origin[:3]),
            float(own),
            float(rival),
            bool(origin[3]),
        )
        for (row, column), origin, own, rival in zip(
            places, banks.origins[winners], cosines, decoys, strict=True
        )
    )


def _widest(hits: Sequence[Hit]) -> int:
    """Return the number of cells in the largest connected piece that is moved as one from one photo."""
    left = {(hit.row, hit.column): hit for hit in hits}
    widest = 0
    while left:
        edge = [left.pop(next(iter(left)))]
        size = 0
        while edge:
            hit = edge.pop()
            size += 1
            places = ((hit.row + down, hit.column + right) for down, right in _NEIGHBOURS)
            joined = [place for place in places if place in left and _one_copy(hit, left[place])]
            edge += [left.pop(place) for place in joined]
        widest = max(widest, size)
    return widest


def _one_copy(first: Hit, second: Hit) -> bool:
    """Return whether two neighbouring cells are copied from neighbouring patches, the same way round."""
    if (first.photo, first.mirrored) != (second.photo, second.mirrored):
        return False
    across = -1 if first.mirrored else 1
    down = (first.photo_row - first.row) - (second.photo_row - second.row)
    aside = (first.photo_column - across * first.column) - (second.photo_column - across * second.column)
    return abs(down) <= _SAME_SHIFT and abs(aside) <= _SAME_SHIFT
