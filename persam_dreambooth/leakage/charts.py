"""The report's drawings, as SVG inside the page, coloured by its style sheet so that dark mode reaches them.

An arm is coloured by its class `arm-<number>`; everything that colour says is also written.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from persam_dreambooth.leakage.finding import (
    MEASURES,
    difference_text,
    estimate_text,
    number_text,
    value_text,
)

_WIDTH = 340
_LEFT, _RIGHT = 62, 12
_ROW = 30
_AXIS = 26
_STACK = (0, -8, 8)

_LOSS_SIZE = (640, 240)
_LOSS_MARGIN = (52, 12, 12, 34)
_MAX_LOSS_POINTS = 300
_TICKS = 4


def interval_chart(measure: str, arms: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]) -> str:
    """Return a dot with its interval for each arm that has the measure.

    Args:
        measure: a key of MEASURES.
        arms: the comparison's arms.
        colours: class of each arm.
    """
    shown = {name: arm[measure] for name, arm in arms.items() if measure in arm}
    ends = _range(measure, [end for found in shown.values() for end in (found["low"], found["high"])])
    parts = _axis(measure, ends, len(shown), MEASURES[measure].unit)
    for number, (name, found) in enumerate(shown.items()):
        parts += _dot(name, measure, found, ends, number, colours[name])
    told = "; ".join(f"{name} {estimate_text(measure, found)}" for name, found in shown.items())
    return _svg(
        (_WIDTH, len(shown) * _ROW + _AXIS), f"{MEASURES[measure].title}, 95 % intervals: {told}", parts
    )


def difference_chart(
    measure: str, estimate: Mapping[str, float], by_prompt: Mapping[str, float], colour: str
) -> str:
    """Return a difference with its interval about a line at zero, and one small dot for each prompt.

    Args:
        measure: a key of MEASURES.
        estimate: the difference's estimate.
        by_prompt: the difference of each prompt's means.
        colour: class of the arm.
    """
    reach = _round_up(
        max(0.05, *(abs(value) for value in (estimate["low"], estimate["high"], *by_prompt.values())))
    )
    ends = (-reach, reach)
    parts = _axis(measure, ends, 2, "points" if MEASURES[measure].unit else "")
    parts.append(f'<line class="zero" x1="{_x(0.0, *ends)}" x2="{_x(0.0, *ends)}" y1="0" y2="{2 * _ROW}"/>')
    parts += _dot("all", measure, estimate, ends, 0, colour)
    parts.append(f'<text class="name" x="0" y="{1.5 * _ROW + 4}">prompts</text>')
    taken: list[float] = []
    for prompt, value in by_prompt.items():
        x = _x(value, *ends)
        # Prompts of one value stand above and below each other.
        y = 1.5 * _ROW + _STACK[min(taken.count(x), len(_STACK) - 1)]
        taken.append(x)
        parts.append(
            f'<circle class="prompt {colour}" cx="{x}" cy="{y}" r="4.5">'
            f"<title>{escape(prompt)}: {value_text(measure, value)}</title></circle>"
        )
    label = f"Difference in {MEASURES[measure].title.lower()}: {difference_text(measure, estimate)}"
    return _svg((_WIDTH, 2 * _ROW + _AXIS), label, parts)


def loss_chart(losses: Mapping[str, Sequence[tuple[int, float]]], colours: Mapping[str, str]) -> str:
    """Return the training losses: each step's pale, and their running mean over a twentieth of the run.

    Args:
        losses: (step, loss) by arm; at least one arm with at least one step.
        colours: class of each arm.
    """
    width, height = _LOSS_SIZE
    left, right, top, bottom = _LOSS_MARGIN
    curves = {arm: (points, _running_mean(points)) for arm, points in losses.items() if points}
    steps = [step for points, _ in curves.values() for step, _ in points]
    # Single steps may be far out: the scale follows the smoothed curves and most of the others.
    values = sorted(loss for points, _ in curves.values() for _, loss in points)
    ceiling = max(
        values[int(0.98 * (len(values) - 1))], *(loss for _, mean in curves.values() for _, loss in mean)
    )
    ceiling = _round_up(ceiling or 1.0)

    def place(point: tuple[int, float]) -> str:
        x = left + point[0] / max(steps) * (width - left - right)
        y = top + (1 - min(point[1], ceiling) / ceiling) * (height - top - bottom)
        return f"{x:.1f},{y:.1f}"

    parts = []
    for number in range(_TICKS + 1):
        y = top + (1 - number / _TICKS) * (height - top - bottom)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick end" x="{left - 8}" y="{y + 4:.1f}">{ceiling * number / _TICKS:.2g}</text>'
        )
        step = round(max(steps) * number / _TICKS)
        x = left + number / _TICKS * (width - left - right)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 12}">{step}</text>')
    for arm, (points, mean) in curves.items():
        for name, curve in (("raw", points), ("mean", mean)):
            line = " ".join(place(point) for point in _thinned(curve))
            parts.append(f'<polyline class="{name} {colours[arm]}" points="{line}"/>')
    told = "; ".join(f"{arm} {mean[0][1]:.3g} to {mean[-1][1]:.3g}" for arm, (_, mean) in curves.items())
    return _svg(_LOSS_SIZE, f"Training loss over steps (running mean): {told}", parts)


def _svg(size: tuple[int, int], label: str, parts: list[str]) -> str:
    """Return a drawing with its text for those who do not see it."""
    width, height = size
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _range(measure: str, values: list[float]) -> tuple[float, float]:
    """Return both ends of an axis: 0 to 1, except for what may be negative."""
    if measure != "excess":
        return 0.0, 1.0
    if min(values) >= 0:
        return 0.0, _round_up(max(0.05, *values))
    # A quarter to the left of zero and three to the right, so that zero is one of the numbers on the axis.
    quarter = _round_up(max(0.02, -min(values), max(values) / 3))
    return -quarter, 3 * quarter


def _round_up(value: float) -> float:
    """Return the next number that splits into round quarters: 1, 2, 4, 6, 8 or 10 of a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    # The tolerance keeps 0.6, which is 5.999 or 6.001 tenths in floating point, where it is.
    return next(digit for digit in (1, 2, 4, 6, 8, 10) if digit * power >= value * (1 - 1e-9)) * power


def _x(value: float, low: float, high: float) -> float:
    """Return where a value lies, in the drawing's units."""
    return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)


def _axis(measure: str, ends: tuple[float, float], rows: int, unit: str) -> list[str]:
    """Return the lines and numbers behind some rows of dots; the last number carries the unit."""
    parts, bottom = [], rows * _ROW
    for number in range(_TICKS + 1):
        value = ends[0] + (ends[1] - ends[0]) * number / _TICKS
        x, text = _x(value, *ends), number_text(measure, value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{bottom}"/>')
        if number == _TICKS:
            parts.append(f'<text class="tick end" x="{_WIDTH}" y="{bottom + 17}">{text} {unit}</text>')
        else:
            parts.append(f'<text class="tick" x="{x}" y="{bottom + 17}">{text}</text>')
    return parts


def _dot(
    name: str,
    measure: str,
    found: Mapping[str, float],
    ends: tuple[float, float],
    number: int,
    colour: str,
) -> list[str]:
    """Return a row: a name, an interval and the mean on it."""
    y = (number + 0.5) * _ROW
    low, mean, high = (_x(found[key], *ends) for key in ("low", "mean", "high"))
    title = f"{name}: {estimate_text(measure, found)}, n = {found['n']}"
    return [
        f'<text class="name" x="0" y="{y + 4}">{escape(name)}</text>',
        f'<g class="{colour}"><title>{escape(title)}</title>'
        f'<line class="interval" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        f'<line class="cap" x1="{low}" x2="{low}" y1="{y - 5}" y2="{y + 5}"/>'
        f'<line class="cap" x1="{high}" x2="{high}" y1="{y - 5}" y2="{y + 5}"/>'
        f'<circle class="mean-dot" cx="{mean}" cy="{y}" r="6.5"/></g>',
    ]


def _running_mean(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the mean of each point and those before and after it, a twentieth of the run together."""
    half = max(1, len(points) // 40)
    smooth = []
    for number, (step, _) in enumerate(points):
        window = points[max(0, number - half) : number + half + 1]
        smooth.append((step, sum(loss for _, loss in window) / len(window)))
    return smooth


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """Return at most about _MAX_LOSS_POINTS of the points, the last one always."""
    stride = -(-len(points) // _MAX_LOSS_POINTS)
    return [*points[:-1:stride], points[-1]]
