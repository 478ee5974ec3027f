"""Means with 95 % intervals and tests, for arms that share their subjects, prompts and seeds.

The intervals come from a hierarchical paired bootstrap: subjects are drawn with replacement (where there are
several), for each of them its prompts, for each of those its seeds. Every arm and measure sees the same
draws, so that what makes a prompt hard cancels in differences.

Two things that a plain percentile bootstrap gets wrong are put right. Few prompts: their resampled means vary
too little, so that an interval is at least as wide as Student's over the units at the top (its shape stays).
Pictures that all agree (0 of 24): they have no spread to resample, so that the interval of a share is at
least Wilson's, and that of a difference of shares whose pairs are all equal at least Newcombe's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
from jaxtyping import Float, Int

from persam_dreambooth.leakage.intervals import LEVEL, newcombe, student_quantile, wilson

NUM_RESAMPLES = 4000
SEED = 0
MAX_EXACT_FLIPS = 14
"""With up to this many units every choice of signs is tried; with more, as many are drawn at random."""

_ROUNDING = 1e-12

NO_BOUNDS = (-np.inf, np.inf)

OfWeights = Callable[[np.ndarray], np.ndarray]
"""A value for each row of weights [r n]."""


@dataclass(frozen=True)
class Estimate:
    """A mean and where it may lie."""

    mean: float
    low: float
    high: float
    n: int
    """Pictures (or pairs of pictures) behind it."""


@dataclass(frozen=True, eq=False)
class Resamples:
    """Which pictures each resample holds."""

    weights: Float[np.ndarray, "r n"]
    """How often each picture is drawn."""
    top: Int[np.ndarray, " n"]
    """The number of each picture's unit at the top: its subject, or its prompt where there is one subject."""

    def of(self, chosen: np.ndarray) -> "Resamples":
        """Return the same draws, of some of the pictures only."""
        if chosen.all():
            return self
        return Resamples(self.weights[:, chosen], self.top[chosen])


def resamples(
    units: Sequence[str | tuple[str, ...]], num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> Resamples:
    """Draw resamples of pictures, unit by unit from the top.

    Args:
        units: for each of the n pictures of an arm what it belongs to, from the top: its prompt, or (subject,
            prompt). Pictures of equal units differ in their seed.
        num_resamples: number of resamples r.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    paths = [(unit,) if isinstance(unit, str) else tuple(unit) for unit in units]
    weights = np.zeros((num_resamples, len(paths)))
    order = sorted(range(len(paths)), key=lambda number: (paths[number], number))
    _draw(order, paths, 0, np.ones(num_resamples, dtype=np.int64), weights, rng)
    _, top = np.unique([path[0] for path in paths], return_inverse=True)
    return Resamples(weights, top)


def estimate(
    values: Float[np.ndarray, " n"],
    drawn: Resamples,
    *,
    is_share: bool = False,
    bounds: tuple[float, float] = NO_BOUNDS,
) -> Estimate | None:
    """Return the mean of the values that exist (others are NaN) with its interval; None where there are none.

    Args:
        values: one for each picture.
        drawn: from `resamples`, of the same pictures.
        is_share: whether the values are 0 or 1.
        bounds: between which a mean can lie at all.
    """
    told = ~np.isnan(values)
    if not told.any():
        return None
    found = estimate_of(
        partial(weighted_mean, values[told]), drawn.of(told), n=int(told.sum()), bounds=bounds
    )
    if is_share:
        low, high = wilson(found.mean, found.n)
        return Estimate(found.mean, min(found.low, low), max(found.high, high), found.n)
    return found


def difference(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    drawn: Resamples,
    *,
    is_share: bool = False,
    bounds: tuple[float, float] = NO_BOUNDS,
) -> Estimate | None:
    """Return the mean of `first - second` over the pairs that exist, with its interval.

    Args:
        first: one value for each picture of an arm.
        second: those of another arm, in the same order.
        drawn: from `resamples`, of the same pictures.
        is_share: whether the values are 0 or 1.
        bounds: between which a value, not a difference, can lie.
    """
    told = ~np.isnan(first - second)
    reach = bounds[1] - bounds[0]
    found = estimate(first - second, drawn, bounds=(-reach, reach))
    if found is not None and is_share and np.ptp((first - second)[told]) == 0:
        low, high = newcombe(float(first[told].mean()), float(second[told].mean()), found.n)
        return Estimate(found.mean, min(found.low, low), max(found.high, high), found.n)
    return found


def relative_reduction(
    ours: Float[np.ndarray, " n"], plain: Float[np.ndarray, " n"], drawn: Resamples
) -> Estimate | None:
    """Return 1 - mean(ours) / mean(plain); None unless plain's whole interval lies above 0.

    A share of nothing is noise: where plain training itself may not have leaked there is nothing to reduce.

    Args:
        ours: excess of each picture of an arm.
        plain: that of the plain arm's, in the same order.
        drawn: from `resamples`, of the same pictures.
    """
    told = ~np.isnan(ours + plain)
    own = estimate(np.where(told, plain, np.nan), drawn)
    if own is None or own.low <= 0:
        return None

    def reduction(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        before = weighted_mean(plain[told], weights)
        # Fewer resamples than the tail of an interval have no excess in the plain arm: they mean "any".
        return 1 - weighted_mean(ours[told], weights) / np.maximum(before, _ROUNDING)

    return estimate_of(reduction, drawn.of(told), n=int(told.sum()))


def weighted_mean(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """Return the mean of the values under each row of weights."""
    return weights @ values / weights.sum(axis=1)


def estimate_of(
    of_weights: OfWeights, drawn: Resamples, *, n: int, bounds: tuple[float, float] = NO_BOUNDS
) -> Estimate:
    """Return anything that follows from weighted pictures, with its interval.

    Args:
        of_weights: takes weights [r n] of the pictures and returns a value for each of the r rows.
        drawn: from `resamples`.
        n: pictures behind it.
        bounds: between which it can lie at all.
    """
    mean = float(of_weights(np.ones((1, len(drawn.top))))[0])
    # A resample may hold none of the pictures that have a value.
    filled = drawn.weights.sum(axis=1) > 0
    values = of_weights(drawn.weights if filled.all() else drawn.weights[filled])
    low, high = _quantiles(values)
    wider = _widening(of_weights, drawn, (high - low) / 2)
    low, high = mean - wider * (mean - low), mean + wider * (high - mean)
    return Estimate(mean, max(bounds[0], low), min(bounds[1], high), n)


def unit_means(values: Float[np.ndarray, " n"], drawn: Resamples) -> Float[np.ndarray, " u"]:
    """Return the mean of the values that exist in each unit at the top, of units that have any."""
    told = ~np.isnan(values)
    return np.array([values[told & (drawn.top == unit)].mean() for unit in np.unique(drawn.top[told])])


def sign_flip_p(values: Float[np.ndarray, " u"], *, alternative: str = "greater", seed: int = SEED) -> float:
    """Return how likely a mean at least this far from 0 is if every unit's sign were a coin's.

    Exact with up to MAX_EXACT_FLIPS units; the smallest value is then 1 / 2^u (one-sided). No values, or only
    zeros, give 1.

    Args:
        values: one difference for each unit at the top (subjects, or a single subject's prompts).
        alternative: "greater", "less" or "two-sided": which side of 0 counts as far.
        seed: of the signs that are drawn where there are too many to try all.

    Raises:
        ValueError: another alternative.

    Source: Fisher 1935, The Design of Experiments, section 21; with drawn signs the observed ones count as
    one of them (Phipson and Smyth 2010).
    """
    sides: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "greater": lambda sums: sums,
        "less": np.negative,
        "two-sided": np.abs,
    }
    if alternative not in sides:
        raise ValueError(f"alternative {alternative!r}: one of {', '.join(sides)} is needed")
    side, values = sides[alternative], values[~np.isnan(values)]
    exact = len(values) <= MAX_EXACT_FLIPS
    if exact:
        numbers = np.arange(2 ** len(values))
        signs = 1 - 2 * (numbers[:, None] >> np.arange(len(values)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(2**MAX_EXACT_FLIPS, len(values)))
    reached = side(signs @ values) >= side(values.sum()) - _ROUNDING
    return float(reached.mean()) if exact else float((reached.sum() + 1) / (len(reached) + 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values of several questions, each raised so that all may be read at once.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    told: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        told[name] = highest
    return {name: told[name] for name in p_values}


def _draw(
    members: list[int],
    paths: list[tuple[str, ...]],
    level: int,
    times: Int[np.ndarray, " r"],
    weights: Float[np.ndarray, "r n"],
    rng: np.random.Generator,
) -> None:
    """Draw a unit's parts as often as it has parts, each time that it was itself drawn; fill in `weights`."""
    is_prompt = level == len(paths[members[0]])
    keyed = members if is_prompt else groupby(members, key=lambda number: paths[number][level])
    parts = [[number] for number in keyed] if is_prompt else [list(group) for _, group in keyed]
    drawn = rng.multinomial(times * len(parts), np.full(len(parts), 1 / len(parts)))
    for column, part in enumerate(parts):
        if is_prompt:
            weights[:, part[0]] = drawn[:, column]
        else:
            _draw(part, paths, level + 1, drawn[:, column], weights, rng)


def _quantiles(values: Float[np.ndarray, " r"]) -> tuple[float, float]:
    """Return the middle LEVEL of resampled values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _widening(of_weights: OfWeights, drawn: Resamples, reach: float) -> float:
    """Return by what a percentile interval is too narrow, 1 or more, because the units at the top are few.

    Student's interval is exact where the units' means are normal, but symmetric; the bootstrap's has the
    right shape. Its width is brought to at least Student's, with the standard error of the jackknife over the
    units.

    Args:
        of_weights: what is estimated.
        drawn: the resamples.
        reach: half the width of the percentile interval.

    Source: Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, eq. 3.1.
    """
    units = np.unique(drawn.top)
    count = len(units)
    if count < 2 or reach < _ROUNDING:
        return 1.0
    without_one = of_weights((drawn.top != units[:, None]).astype(np.float64))
    error = np.sqrt((count - 1) / count * ((without_one - without_one.mean()) ** 2).sum())
    return max(1.0, float(student_quantile(count - 1) * error / reach))
