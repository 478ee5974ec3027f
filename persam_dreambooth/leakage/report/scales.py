"""Axes: where they end, which numbers stand on them, and where a value lies."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

MAX_GAPS = 5
"""Gaps between the numbers on an axis, at most."""


@dataclass(frozen=True)
class Axis:
    """A range of values drawn between two places of a drawing."""

    ticks: tuple[float, ...]
    """The numbers that are written, rising; the axis ends at the first and the last."""
    start: float
    """Where the first is drawn."""
    end: float
    """Where the last is drawn; below `start` on axes that point up."""

    @property
    def low(self) -> float:
        """The value at `start`."""
        return self.ticks[0]

    @property
    def high(self) -> float:
        """The value at `end`."""
        return self.ticks[-1]

    def place(self, value: float) -> float:
        """Return where a value is drawn, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def round_ticks(values: Iterable[float], *, least: float, gaps: int = MAX_GAPS) -> tuple[float, ...]:
    """Return round numbers in equal steps, zero among them, that enclose zero and all values.

    The step is 1, 2 or 5 of a power of ten: the smallest that needs at most `gaps` steps.

    Args:
        values: what must fit.
        least: the steps are never finer than if this had to fit.
        gaps: at most this many steps.
    """
    values = [0.0, *values]
    low, high = min(values), max(values)
    power = 10.0 ** (math.floor(math.log10(max(high - low, least))) - 1)
    steps = (digit * power * scale for scale in (1, 10, 100) for digit in (1, 2, 5))
    # The tolerance keeps 0.6, which is 5.999 or 6.001 tenths in floating point, where it is.
    counts = (
        (step, math.floor(low / step + 1e-9), math.ceil(max(high, 0.0) / step - 1e-9))
        for step in steps
        if step * gaps >= least * (1 - 1e-9)
    )
    step, first, last = next(found for found in counts if found[2] - found[1] <= gaps)
    if first == last:
        last += 1
    return tuple(round(number * step, 12) for number in range(first, last + 1))


def round_up(value: float) -> float:
    """Return the next number that splits into round quarters: 1, 2, 4, 6, 8 or 10 of a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    # As in `round_ticks`: 0.6 stays.
    return next(digit for digit in (1, 2, 4, 6, 8, 10) if digit * power >= value * (1 - 1e-9)) * power
