"""Means with 95 % intervals, over prompts and seeds, for arms that share their prompts and seeds.

The intervals come from a two-level paired bootstrap: prompts are drawn with replacement, and for each of them
its seeds; every arm and measure sees the same draws, so that what makes a prompt hard cancels in differences.
Pictures that all agree (0 of 24) have no spread to resample: the interval of a share is therefore at least
Wilson's, and that of a difference of shares whose pairs are all equal at least Newcombe's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
NUM_RESAMPLES = 4000
SEED = 0

# Quantile of the normal distribution at (1 + LEVEL) / 2.
_Z = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A mean and where it may lie."""

    mean: float
    low: float
    high: float
    n: int
    """Pictures (or pairs of pictures) behind it."""


def resampling_weights(
    prompts: Sequence[str], num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> Float[np.ndarray, "r n"]:
    """Return how often each picture is drawn in each resample.

    Args:
        prompts: the prompt of each of the n pictures of an arm.
        num_resamples: number of resamples r.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    names = sorted(set(prompts))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=num_resamples)
    weights = np.zeros((num_resamples, len(prompts)))
    for number, name in enumerate(names):
        members = np.flatnonzero(np.array([prompt == name for prompt in prompts]))
        # A prompt drawn m times contributes m times as many draws from its seeds.
        share = np.full(len(members), 1 / len(members))
        weights[:, members] = rng.multinomial(len(members) * drawn[:, number], share)
    return weights


def estimate(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, "r n"], *, is_share: bool
) -> Estimate | None:
    """Return the mean of the values that exist (others are NaN) with its interval; None where there are none.

    Args:
        values: one for each picture.
        weights: from `resampling_weights`.
        is_share: whether the values are 0 or 1.
    """
    told = ~np.isnan(values)
    if not told.any():
        return None
    mean, n = float(values[told].mean()), int(told.sum())
    low, high = _quantiles(values[told], weights[:, told])
    if is_share:
        wilson_low, wilson_high = _wilson(mean, n)
        low, high = min(low, wilson_low), max(high, wilson_high)
    return Estimate(mean, low, high, n)


def difference(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, "r n"],
    *,
    is_share: bool,
) -> Estimate | None:
    """Return the mean of `first - second` over the pairs that exist, with its interval.

    Args:
        first: one value for each picture of an arm.
        second: those of another arm, in the same order.
        weights: from `resampling_weights`.
        is_share: whether the values are 0 or 1.
    """
    told = ~np.isnan(first - second)
    if not told.any():
        return None
    pairs, n = (first - second)[told], int(told.sum())
    mean = float(pairs.mean())
    low, high = _quantiles(pairs, weights[:, told])
    if is_share and np.ptp(pairs) == 0:
        newcombe_low, newcombe_high = _newcombe(float(first[told].mean()), float(second[told].mean()), n)
        low, high = min(low, newcombe_low), max(high, newcombe_high)
    return Estimate(mean, low, high, n)


def _quantiles(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, "r n"]) -> tuple[float, float]:
    """Return the middle LEVEL of the resampled means."""
    totals = weights.sum(axis=1)
    # A resample may hold none of the pictures that have a value.
    means = (weights @ values)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _newcombe(first: float, second: float, n: int) -> tuple[float, float]:
    """Return the interval of a difference of two shares of n pictures each.

    Source: Newcombe, Interval estimation for the difference between independent proportions (1998), method
    10.
    """
    (first_low, first_high), (second_low, second_high) = _wilson(first, n), _wilson(second, n)
    low = first - second - np.hypot(first - first_low, second_high - second)
    high = first - second + np.hypot(first_high - first, second - second_low)
    return float(low), float(high)
