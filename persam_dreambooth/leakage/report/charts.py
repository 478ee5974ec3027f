"""Bars with intervals, and paired differences, as SVG coloured by the page's style sheet (also in dark mode).

Everything that a drawing says is also written beside it; hovering a dot names its prompt.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from persam_dreambooth.leakage.measures import (
    MEASURES,
    difference_text,
    estimate_text,
    number_text,
    value_text,
)
from persam_dreambooth.leakage.report.looks import Look, marker
from persam_dreambooth.leakage.report.scales import Axis, round_ticks, round_up

WIDTH = 340
BAR_HEIGHT = 34
_SIDES = (10.0, WIDTH - 10.0)
_THICK = 14
_TICKS_HEIGHT = 20
# Dots of one row stand in this many lanes, so that prompts of one value do not hide each other.
_LANES = (0, -7, 7)
MAX_NAMED_DOTS = 100
"""Nobody can point at one of more dots, and their names would fill the page."""


def bar_axis(measure: str, estimates: Sequence[Mapping[str, float]], dots: Sequence[float]) -> Axis:
    """Return the axis of a measure's bars: 0 to 1 for shares, else as far as intervals and dots reach."""
    values = [end for found in estimates for end in (found["low"], found["high"])] + list(dots)
    if MEASURES[measure].unit == "%" and all(0 <= value <= 1 for value in values):
        return Axis((0.0, 0.25, 0.5, 0.75, 1.0), *_SIDES)
    return Axis(round_ticks(values, least=0.05), *_SIDES)


def bar(
    measure: str, name: str, found: Mapping[str, float], dots: Mapping[str, float], axis: Axis, look: Look
) -> str:
    """Return one arm's bar from zero to its mean, with its interval and a dot for each prompt.

    Args:
        measure: a key of MEASURES.
        name: the arm's.
        found: its estimate.
        dots: the mean of each prompt.
        axis: shared by all arms of the measure.
        look: the arm's.
    """
    middle = BAR_HEIGHT / 2
    zero, low, mean, high = (axis.place(value) for value in (0.0, found["low"], found["mean"], found["high"]))
    parts = _lines(axis, BAR_HEIGHT)
    parts.append(
        f'<g class="{look.css}"><rect class="bar" x="{min(zero, mean):g}" y="{middle - _THICK / 2:g}" '
        f'width="{abs(mean - zero):.1f}" height="{_THICK}"/>'
    )
    parts += _dots(measure, dots, axis, middle)
    parts += [_interval(low, high, middle), marker(look, mean, middle, 5.5), "</g>"]
    return _svg(BAR_HEIGHT, f"{name}: {estimate_text(measure, found)}", parts)


def ticks(measure: str, axis: Axis, *, unit: str | None = None) -> str:
    """Return the numbers below an axis, the last one with the unit."""
    unit = MEASURES[measure].unit if unit is None else unit
    drawn = _tick_texts(measure, axis, 14, unit)
    return f'<svg viewBox="0 0 {WIDTH} {_TICKS_HEIGHT}" aria-hidden="true">{drawn}</svg>'


def difference_axis(
    measure: str, differences: Sequence[Mapping[str, Any]], by_prompt: Sequence[Mapping[str, float]]
) -> Axis:
    """Return the axis of a measure's differences: as far to either side of zero as any interval or dot.

    Args:
        measure: a key of MEASURES.
        differences: `differences` of the report that have the measure.
        by_prompt: for each, the difference of each prompt's means.
    """
    values = [found[measure][end] for found in differences for end in ("low", "high")]
    values += [value for dots in by_prompt for value in dots.values()]
    reach = round_up(max(0.05, *(abs(value) for value in values)))
    return Axis((-reach, -reach / 2, 0.0, reach / 2, reach), *_SIDES)


def difference(
    measure: str, found: Mapping[str, Any], dots: Mapping[str, float], axis: Axis, look: Look
) -> str:
    """Return one arm's difference with its interval about a line at zero, and a dot for each prompt.

    Args:
        measure: a key of MEASURES.
        found: one of the report's `differences`.
        dots: the difference of each prompt's means.
        axis: shared by all arms of the measure.
        look: the arm's.
    """
    middle, estimate = BAR_HEIGHT / 2, found[measure]
    low, mean, high = (axis.place(estimate[end]) for end in ("low", "mean", "high"))
    parts = [*_lines(axis, BAR_HEIGHT), f'<g class="{look.css}">', *_dots(measure, dots, axis, middle)]
    parts += [_interval(low, high, middle), marker(look, mean, middle, 6.5), "</g>"]
    told = f"{found['arm']} minus {found['minus']} {difference_text(measure, estimate)}"
    return _svg(BAR_HEIGHT, f"Difference in {MEASURES[measure].title.lower()}: {told}", parts)


def svg(size: tuple[float, float], label: str, parts: Sequence[str]) -> str:
    """Return a drawing with its text for those who do not see it."""
    head = f'viewBox="0 0 {size[0]:g} {size[1]:g}" role="img" aria-label="{escape(label)}"'
    return f"<svg {head}>{''.join(parts)}</svg>"


def _svg(height: float, label: str, parts: Sequence[str]) -> str:
    """Return a drawing of a tile's width."""
    return svg((WIDTH, height), label, parts)


def _lines(axis: Axis, height: float) -> list[str]:
    """Return the lines behind bars and dots; the one at zero is darker."""
    lines = []
    for value in [*axis.ticks, 0.0]:
        x, name = axis.place(value), "zero" if value == 0.0 else "grid"
        lines.append(f'<line class="{name}" x1="{x:g}" x2="{x:g}" y1="0" y2="{height:g}"/>')
    return lines


def _tick_texts(measure: str, axis: Axis, y: float, unit: str) -> str:
    """Return the numbers of an axis."""
    values = axis.ticks
    told = [number_text(measure, value) for value in values]
    first = f'<text class="tick first" x="0" y="{y:g}">{told[0]}</text>'
    middle = "".join(
        f'<text class="tick" x="{axis.place(value):g}" y="{y:g}">{text}</text>'
        for value, text in zip(values[1:-1], told[1:-1], strict=True)
    )
    return first + middle + f'<text class="tick end" x="{WIDTH}" y="{y:g}">{told[-1]} {unit}</text>'


def _interval(low: float, high: float, y: float) -> str:
    """Return an interval's line with its caps."""
    caps = "".join(
        f'<line class="cap" x1="{x:g}" x2="{x:g}" y1="{y - 5:g}" y2="{y + 5:g}"/>' for x in (low, high)
    )
    return f'<line class="interval" x1="{low:g}" x2="{high:g}" y1="{y:g}" y2="{y:g}"/>{caps}'


def _dots(measure: str, dots: Mapping[str, float], axis: Axis, y: float) -> list[str]:
    """Return one dot for each prompt; those of one value stand above and below each other.

    Of more than MAX_NAMED_DOTS none has a name, and those that would hide each other are one.
    """
    if len(dots) > MAX_NAMED_DOTS:
        places = dict.fromkeys(round(axis.place(value)) for value in dots.values())
        return [f'<circle class="dot" cx="{x}" cy="{y:g}" r="3.2"/>' for x in places]
    drawn, taken = [], []
    for prompt, value in dots.items():
        x = axis.place(value)
        lane = _LANES[min(sum(abs(x - other) < 4 for other in taken), len(_LANES) - 1)]
        taken.append(x)
        drawn.append(
            f'<circle class="dot" cx="{x:g}" cy="{y + lane:g}" r="3.2">'
            f"<title>{escape(prompt)}: {value_text(measure, value)}</title></circle>"
        )
    return drawn
