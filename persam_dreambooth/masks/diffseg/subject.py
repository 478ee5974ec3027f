"""Which segments are the subject: those that look at its word, are in the middle and not at the border.

    S_k = (mean_k c - mean c) + 1/2 (mean_k G - mean G) - 1/2 B_k

with c how much a pixel looks at the noun, G a Gaussian around the photo's middle and B_k the segment's share
of the photo's border. Without a noun c is 0. Nobody published this rule: the paper segments, and does not ask
for a subject.
"""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from persam_dreambooth.sam.regions import connected_regions

CENTRE_SPREAD = 0.25
"""Standard deviation of G, as a share of each side."""
LEAST_AREA, MOST_AREA = 0.005, 0.85
"""Shares of the photo: smaller segments are specks, larger ones are the place."""
LEAST_SCORE = 0.1
"""Of the best segment; below, nothing stands out."""
GROWTH = 0.6
"""A neighbour belongs to the subject if it looks at the noun so much as the best segment does."""
LEAST_PART = 0.1
"""Loose parts stay from this share of the largest one on."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What was taken for the subject in one photo."""

    mask: Bool[np.ndarray, "h w"]
    """True on the subject, at the size of the labels."""
    chosen: tuple[int, ...]
    """Numbers of its segments, the best first."""
    scores: dict[int, float]
    """S of every segment that could be one; higher is likelier."""
    contrast: float
    """How much more the best segment looks at the noun than the photo does, -1 to 1; 0 without a noun."""

    @property
    def score(self) -> float:
        """S of the best segment; minus infinity where there is none."""
        return max(self.scores.values(), default=-np.inf)

    @property
    def margin(self) -> float:
        """How far the best is ahead of every segment that was not taken; its score where there is none."""
        others = [score for number, score in self.scores.items() if number not in self.chosen]
        return self.score - max(others) if others else self.score


def choose(
    labels: Int[np.ndarray, "h w"],
    likeness: Float[np.ndarray, "h w"] | None = None,
    picked: Set[int] = frozenset(),
) -> Choice:
    """Return which segments are the subject.

    Args:
        labels: number of the segment of each pixel, -1 where the model did not look.
        likeness: how much each pixel looks at the noun, 0 to 1; None without a noun.
        picked: segments that a person chose; the rule is then not asked.
    """
    numbers, places = np.unique(labels, return_inverse=True)
    places = places.reshape(labels.shape)
    areas = np.bincount(places.flat)
    likeness = np.zeros(labels.shape) if likeness is None else likeness
    looks = _above_mean(likeness, places, areas)
    scores = looks + 0.5 * _above_mean(centre_prior(labels.shape), places, areas)
    scores -= 0.5 * _border_shares(places, len(numbers))
    shares = areas / labels.size
    usable = (numbers >= 0) & (shares >= LEAST_AREA) & (shares <= MOST_AREA)
    told = {int(numbers[k]): float(scores[k]) for k in np.flatnonzero(usable)}
    if picked:
        chosen = [int(number) for number in numbers if number in picked]
    elif told:
        best = max(np.flatnonzero(usable), key=lambda k: scores[k])
        chosen = [int(numbers[k]) for k in _grown(int(best), places, scores, looks, usable)]
    else:
        chosen = []
    mask = cleaned(np.isin(labels, chosen)) if chosen else np.zeros(labels.shape, bool)
    first = int(np.flatnonzero(numbers == chosen[0])[0]) if chosen else 0
    return Choice(mask, tuple(chosen), told, float(looks[first]))


def centre_prior(shape: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Return a Gaussian around the middle of a picture, 1 there."""
    down, across = ((np.arange(length) + 0.5) / length - 0.5 for length in shape)
    return np.exp(-(down[:, None] ** 2 + across**2) / (2 * CENTRE_SPREAD**2))


def cleaned(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return a mask without holes and without parts much smaller than its largest."""
    # A frame joins what is outside at all edges into one region, the first in reading order.
    gaps, _ = connected_regions(np.pad(~mask, 1, constant_values=True))
    whole = (gaps != 1)[1:-1, 1:-1]
    parts, areas = connected_regions(whole)
    if not len(areas):
        return whole
    return np.concatenate([[False], areas >= LEAST_PART * areas.max()])[parts]


def _above_mean(
    values: Float[np.ndarray, "h w"], places: Int[np.ndarray, "h w"], areas: Int[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Return each segment's mean of some values, less the picture's."""
    return np.bincount(places.flat, weights=values.flat) / areas - values.mean()


def _border_shares(places: Int[np.ndarray, "h w"], count: int) -> Float[np.ndarray, " k"]:
    """Return each segment's share of the picture's border."""
    border = np.concatenate([places[0], places[-1], places[1:-1, 0], places[1:-1, -1]])
    return np.bincount(border, minlength=count) / len(border)


def _grown(
    best: int,
    places: Int[np.ndarray, "h w"],
    scores: Float[np.ndarray, " k"],
    looks: Float[np.ndarray, " k"],
    usable: Bool[np.ndarray, " k"],
) -> list[int]:
    """Return the best segment and its neighbours, and theirs, that look at the noun nearly as much."""
    if looks[best] <= 1e-3:
        return [best]
    belongs = usable & (scores > 0) & (looks >= GROWTH * looks[best])
    beside = _neighbours(places, len(scores))
    chosen, reached = [best], True
    while reached:
        near = beside[chosen].any(axis=0) & belongs
        near[chosen] = False
        reached = sorted(np.flatnonzero(near), key=lambda k: -scores[k])
        chosen += [int(k) for k in reached]
    return chosen


def _neighbours(places: Int[np.ndarray, "h w"], count: int) -> Bool[np.ndarray, "k k"]:
    """Return which segments touch by a side."""
    beside = np.zeros((count, count), bool)
    for one, other in ((places[1:], places[:-1]), (places[:, 1:], places[:, :-1])):
        beside[one, other] = True
    return beside | beside.T
