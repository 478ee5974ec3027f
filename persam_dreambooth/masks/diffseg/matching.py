"""Segments without names against true ones: which is which, found by the assignment that fits best.

    mIoU = mean over true classes of tp / (tp + fp + fn)      ACC = sum of tp / all labelled pixels

Each photo has its own assignment. Pixels of segments that are left over count as missed, as in the
reference's benchmark.

Source: Cho et al. 2021, PiCIE (the protocol); google/diffseg, utils.py, hungarian_matching; the assignment is
Kuhn's Hungarian method with potentials, exact, n^3.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

IGNORED = -1
"""True label of pixels that do not count."""


@dataclass(frozen=True, eq=False)
class Matched:
    """Pixels of one photo, by true class; counts of several photos may be added up."""

    classes: Int[np.ndarray, " c"]
    """The true classes that occur."""
    true_positives: Int[np.ndarray, " c"]
    false_positives: Int[np.ndarray, " c"]
    false_negatives: Int[np.ndarray, " c"]

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes, 0 to 1."""
        union = self.true_positives + self.false_positives + self.false_negatives
        return float((self.true_positives / union).mean())

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels whose segment was assigned to their class."""
        return float(self.true_positives.sum() / (self.true_positives + self.false_negatives).sum())


def match(predicted: Int[np.ndarray, "h w"], truth: Int[np.ndarray, "h w"]) -> Matched:
    """Return how well segments agree with true classes under the best assignment of one to the other.

    Args:
        predicted: number of each pixel's segment; any numbers.
        truth: class of each pixel, -1 where it does not count.
    """
    counted = truth != IGNORED
    classes, true_places = np.unique(truth[counted], return_inverse=True)
    numbers, places = np.unique(predicted[counted], return_inverse=True)
    shared = np.zeros((len(classes), len(numbers)), np.int64)
    np.add.at(shared, (true_places, places), 1)
    rows, columns = assignment(shared.astype(np.float64))
    hits, claimed = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    hits[rows] = shared[rows, columns]
    claimed[rows] = shared.sum(axis=0)[columns]
    return Matched(classes, hits, claimed - hits, shared.sum(axis=1) - hits)


def assignment(
    values: Float[np.ndarray, "n m"],
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Return rows and columns, each at most once and min(n, m) pairs, of which the values' sum is largest."""
    if values.shape[0] > values.shape[1]:
        columns, rows = assignment(values.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    cost = -values
    num_rows, num_columns = cost.shape
    # Row 0 and column 0 stand for "nothing yet"; owner[j] is the row of column j.
    row_price, column_price = np.zeros(num_rows + 1), np.zeros(num_columns + 1)
    owner = np.zeros(num_columns + 1, np.int64)
    for row in range(1, num_rows + 1):
        _augment(row, cost, row_price, column_price, owner)
    taken = np.flatnonzero(owner[1:])
    order = np.argsort(owner[1:][taken])
    return (owner[1:][taken] - 1)[order], taken[order]


def _augment(
    row: int,
    cost: Float[np.ndarray, "n m"],
    row_price: Float[np.ndarray, " n1"],
    column_price: Float[np.ndarray, " m1"],
    owner: Int[np.ndarray, " m1"],
) -> None:
    """Give one more row a column along the cheapest path of swaps; prices and owners change in place."""
    num_columns = cost.shape[1]
    least = np.full(num_columns + 1, np.inf)
    came_from = np.zeros(num_columns + 1, np.int64)
    done = np.zeros(num_columns + 1, bool)
    owner[0], here = row, 0
    while owner[here]:
        done[here] = True
        current = owner[here]
        slack = cost[current - 1] - row_price[current] - column_price[1:]
        better = ~done[1:] & (slack < least[1:])
        least[1:][better], came_from[1:][better] = slack[better], here
        open_columns = np.flatnonzero(~done[1:]) + 1
        nearest = int(open_columns[least[open_columns].argmin()])
        step = least[nearest]
        row_price[owner[done]] += step
        column_price[done] -= step
        least[open_columns] -= step
        here = nearest
    while here:
        owner[here] = owner[came_from[here]]
        here = int(came_from[here])
