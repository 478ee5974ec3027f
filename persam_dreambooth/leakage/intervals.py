"""Intervals from formulas: of a share, of a difference of shares, and Student's quantile.

Where every picture says the same there is nothing to resample: these say what so few pictures leave open.
"""

from functools import cache

import numpy as np

LEVEL = 0.95
"""Share of intervals that hold the truth."""
NORMAL_QUANTILE = 1.959964
"""Of the normal distribution at (1 + LEVEL) / 2."""


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    centre = (share + NORMAL_QUANTILE**2 / (2 * n)) / (1 + NORMAL_QUANTILE**2 / n)
    spread = share * (1 - share) / n + NORMAL_QUANTILE**2 / (4 * n**2)
    half = NORMAL_QUANTILE / (1 + NORMAL_QUANTILE**2 / n) * np.sqrt(spread)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def newcombe(first: float, second: float, n: int) -> tuple[float, float]:
    """Return the interval of a difference of two shares of n pictures each.

    Source: Newcombe, Interval estimation for the difference between independent proportions (1998), method
    10.
    """
    (first_low, first_high), (second_low, second_high) = wilson(first, n), wilson(second, n)
    low = first - second - np.hypot(first - first_low, second_high - second)
    high = first - second + np.hypot(first_high - first, second - second_low)
    return float(low), float(high)


@cache
def student_quantile(degrees: int) -> float:
    """Return the quantile of Student's distribution at (1 + LEVEL) / 2.

    With t = sqrt(degrees) tan(angle), its density is that of the angle, cos(angle)^(degrees - 1).
    """
    angles = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.sqrt(degrees) * np.tan(np.interp(LEVEL, below / below[-1], angles)))
