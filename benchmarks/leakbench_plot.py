"""The Pareto plot as SVG text: leakage to the right, likeness upwards, for each arm a path over its steps.

An arm has a number, beside its last dot and in the legend: colours alone do not tell so many arms apart.
Leakage stands by its square root, because most ways leak a tenth of what plain training does.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any

from leakbench_labels import placed

from persam_dreambooth.leakage.report.labels import Box

WIDTH, HEIGHT = 960, 520
LEFT, TOP, RIGHT, BOTTOM = 64, 28, 330, 56
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a5a5a")
"""Okabe and Ito's, which colour-blind people tell apart."""
DASHES = ("", "7 4", "1 4")
"""Arms beyond the colours are dashed, then dotted, their dots hollow."""
PAPER, INK, GRID = "#ffffff", "#323232", "#e1e1e1"
BASE = "base"
FIRST_RADIUS, LAST_RADIUS = 3, 6
GAPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
LEAKAGES = (-0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""What may stand on the axis of leakage."""
NUM_GAPS = 6
"""At most so many between the ticks of an axis."""
LINE, LINE_LENGTH = 18, 140
"""Height and most letters of a line of the caption."""
NEAR = 18
"""A number further from its dot than this has a line to it."""

Points = Sequence[Mapping[str, Any]]
Range = tuple[float, float]
Place = Callable[[float, float], tuple[float, float]]


def pareto_plot(points: Iterable[Mapping[str, Any]], titles: Mapping[str, str], caption: str = "") -> str:
    """Return the plot.

    Args:
        points: `pareto` of a summary: arm, step (None is the last) and estimates.
        titles: of the arms, in the order of the legend; arms without points are left out.
        caption: stands below.
    """
    told = list(points)
    likeness = "trait_likeness" if any("trait_likeness" in point for point in told) else "likeness"
    paths = {arm: path for arm in titles if (path := _path(told, arm, likeness))}
    x = _range(
        [stretched(value) for path in paths.values() for low, high, *_ in path for value in (low, high)]
    )
    y = _range(
        [value for path in paths.values() for *_, low, high in path for value in (low, high)], zero=False
    )
    lines = wrap(caption, LINE_LENGTH)
    height = HEIGHT + LINE * len(lines)

    def at(across: float, up: float) -> tuple[float, float]:
        return (
            round(LEFT + (stretched(across) - x[0]) / (x[1] - x[0]) * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - (up - y[0]) / (y[1] - y[0]) * (HEIGHT - TOP - BOTTOM), 1),
        )

    said = f"Excess leakage and likeness of {len(paths)} ways to train, over their training steps"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13" fill="{INK}" role="img" aria-label="{escape(said)}">',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        *_axes(x, y, at, likeness),
    ]
    for number, (arm, path) in enumerate(paths.items()):
        parts += _drawn(arm, path, number, at)
        parts += _legend(titles[arm], arm, number)
    parts += _numbers(paths, at)
    for number, line in enumerate(lines):
        down = HEIGHT + LINE * number + 6
        parts.append(f'<text x="{LEFT}" y="{down}" font-size="12">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _path(points: Points, arm: str, likeness: str) -> list[tuple[float, ...]]:
    """Return (low x, high x, x, y, low y, high y) of an arm's points by rising step.

    The base model has no excess over itself: it stands at 0.
    """
    zero = {"mean": 0.0, "low": 0.0, "high": 0.0}
    own = [point for point in points if point["arm"] == arm and likeness in point]
    own.sort(key=lambda point: (point["step"] is None, point["step"] or 0))
    path = []
    for point in own:
        excess = point.get("excess", zero if arm == BASE else None)
        if excess is not None:
            alike = point[likeness]
            path.append(
                (excess["low"], excess["high"], excess["mean"], alike["mean"], alike["low"], alike["high"])
            )
    return path


def _range(values: Sequence[float], *, zero: bool = True) -> Range:
    """Return the ends of an axis, a little wider than all values, and with `zero` 0 as well."""
    least = (0.0, 0.05) if zero or not values else (min(values), min(values) + 0.05)
    low, high = min((*least, *values)), max((*least, *values))
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def stretched(leakage: float) -> float:
    """Return the root of a leakage, with its sign: where it stands."""
    return math.copysign(math.sqrt(abs(leakage)), leakage)


def _ticks(ends: Range) -> list[float]:
    """Return round numbers between the ends."""
    gap = next((gap for gap in GAPS if (ends[1] - ends[0]) / gap <= NUM_GAPS), GAPS[-1])
    first = -int(-ends[0] // gap) if ends[0] < 0 else int(ends[0] // gap) + 1
    numbers = range(first - 1, first + 2 * NUM_GAPS)
    return [round(n * gap, 4) for n in numbers if ends[0] <= n * gap <= ends[1]]


def _axes(x: Range, y: Range, at: Place, likeness: str) -> list[str]:
    """Return grid, ticks and names of both axes."""
    parts = []
    ticks = [tick for tick in LEAKAGES if x[0] <= stretched(tick) <= x[1]]
    for tick in ticks:
        (left, bottom), (_, top) = at(tick, y[0]), at(tick, y[1])
        parts.append(f'<path d="M{left} {bottom}V{top}" stroke="{GRID}"/>')
        parts.append(f'<text x="{left}" y="{bottom + 18}" text-anchor="middle">{100 * tick:.0f}</text>')
    for tick in _ticks(y):
        _, height = at(0.0, tick)
        parts.append(f'<path d="M{LEFT} {height}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4}" text-anchor="end">{tick:g}</text>')
    name = "likeness by the judge" if likeness == "trait_likeness" else "likeness, measured"
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">'
        "excess leakage, points of percent, by its root (less is better)</text>"
    )
    parts.append(f'<text x="{LEFT}" y="18">{name} (more is better)</text>')
    return parts


def _drawn(arm: str, path: Sequence[tuple[float, ...]], number: int, at: Place) -> list[str]:
    """Return an arm's path: dots that grow with the steps, and a cross of intervals at the last."""
    colour = _colour(arm, number)
    dots = [at(point[2], point[3]) for point in path]
    line = "L".join(f"{left} {top}" for left, top in dots)
    low_x, high_x, x, y, low_y, high_y = path[-1]
    (left, middle), (right, _) = at(low_x, y), at(high_x, y)
    (centre, bottom), (_, top) = at(x, low_y), at(x, high_y)
    parts = [
        f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"{_dash(number)}/>',
        f'<path d="M{left} {middle}H{right}M{centre} {bottom}V{top}" stroke="{colour}" opacity="0.3"/>',
    ]
    for place, (across, down) in enumerate(dots, start=1):
        radius = FIRST_RADIUS + (LAST_RADIUS - FIRST_RADIUS) * place / len(dots)
        parts.append(f'<circle cx="{across}" cy="{down}" r="{radius:.1f}" {_fill(colour, number)}/>')
    return parts


def _numbers(paths: Mapping[str, Sequence[tuple[float, ...]]], at: Place) -> list[str]:
    """Return the arms' numbers beside their last dots; none lies on another or on such a dot."""
    last = [at(path[-1][2], path[-1][3]) for path in paths.values()]
    area = Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    widths = [8 * len(str(number)) + 4 for number in range(len(last))]
    parts = []
    for number, (arm, (x, y), box) in enumerate(
        zip(paths, last, placed(last, widths, area, radius=LAST_RADIUS), strict=True)
    ):
        colour, (across, down) = _colour(arm, number), box.middle
        if (across - x) ** 2 + (down - y) ** 2 > NEAR**2:
            parts.append(f'<path d="M{x} {y}L{across:.1f} {down:.1f}" stroke="{colour}" opacity="0.6"/>')
        parts.append(
            f'<text x="{across:.1f}" y="{down + 4.5:.1f}" text-anchor="middle" font-weight="bold" '
            f'stroke="{PAPER}" stroke-width="3" paint-order="stroke" fill="{colour}">{number}</text>'
        )
    return parts


def _legend(title: str, arm: str, number: int) -> list[str]:
    """Return an arm's line of the legend."""
    left, top = WIDTH - RIGHT + 16, TOP + 14 + 22 * number
    colour = _colour(arm, number)
    return [
        f'<path d="M{left} {top}h26" stroke="{colour}" stroke-width="2"{_dash(number)}/>',
        f'<circle cx="{left + 13}" cy="{top}" r="4" {_fill(colour, number)}/>',
        f'<text x="{left + 50}" y="{top + 4}" text-anchor="end" font-weight="bold" fill="{colour}">'
        f"{number}</text>",
        f'<text x="{left + 58}" y="{top + 4}" font-size="12">{escape(title)}</text>',
    ]


def _colour(arm: str, number: int) -> str:
    """Return an arm's colour; the base model is ink."""
    return INK if arm == BASE else COLOURS[(number - 1) % len(COLOURS)]


def _fill(colour: str, number: int) -> str:
    """Return how an arm's dots are filled."""
    return f'fill="{PAPER}" stroke="{colour}" stroke-width="2"' if _dash(number) else f'fill="{colour}"'


def _dash(number: int) -> str:
    """Return the dashes of the arms beyond the colours."""
    dash = DASHES[min((number - 1) // len(COLOURS), len(DASHES) - 1)] if number else ""
    return f' stroke-dasharray="{dash}"' if dash else ""
