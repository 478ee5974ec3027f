"""Where labels stand beside dots of a plot, so that none lies on another."""

import math
from collections.abc import Iterable, Sequence
from itertools import product

from persam_dreambooth.leakage.report.labels import Box

HEIGHT = 15
"""Of a label, in pixels."""
NEAREST, STEP, TURNS = 14, 8, 16
"""A place is looked for in rings from so many pixels on, so many apart, in so many directions."""


def placed(
    dots: Sequence[tuple[float, float]], widths: Sequence[float], area: Box, *, radius: float
) -> list[Box]:
    """Return where the label of each dot stands: as near as it can, on no other label and on no dot.

    Args:
        dots: (x, y) of each.
        widths: of the labels.
        area: in which they lie.
        radius: of the dots.
    """
    taken = [_around(x, y, 2 * radius, 2 * radius) for x, y in dots]
    found = []
    for (x, y), width in zip(dots, widths, strict=True):
        box = next(one for one in _rings(x, y, width, area) if not any(one.meets(other) for other in taken))
        taken.append(box)
        found.append(box)
    return found


def _rings(x: float, y: float, width: float, area: Box) -> Iterable[Box]:
    """Yield places around a point, the nearest first; where the area is full, places beyond it."""
    reach = math.hypot(area.right - area.left, area.bottom - area.top)
    beyond = []
    for ring, turn in product(range(1, 2 + int(reach / STEP)), range(TURNS)):
        angle, distance = 2 * math.pi * turn / TURNS, NEAREST + STEP * (ring - 1)
        box = _around(x + distance * math.cos(angle), y + distance * math.sin(angle), width, HEIGHT)
        if area.holds(box):
            yield box
        else:
            beyond.append(box)
    yield from beyond


def _around(x: float, y: float, width: float, height: float) -> Box:
    """Return a box around a point."""
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
