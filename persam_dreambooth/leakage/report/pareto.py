"""Likeness against leakage: a path an arm over its steps, so that less leakage is not just less training."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from persam_dreambooth.leakage.measures import MEASURES, estimate_text, number_text
from persam_dreambooth.leakage.report.charts import svg
from persam_dreambooth.leakage.report.labels import Box, Label, around, place_labels
from persam_dreambooth.leakage.report.looks import BASE, Look, marker
from persam_dreambooth.leakage.report.scales import Axis, round_ticks

SIZE = (560.0, 400.0)
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 18.0, 34.0, 60.0
_LABELS_ABOVE = 12.0
"""Names may stand this far above the topmost line."""
_DOT, _LAST_DOT = 6.0, 9.0
"""How far the marks reach."""
_PIECE = 4.0
"""Of a path, where names keep off it."""

Estimate = Mapping[str, float]
Point = Mapping[str, Any]


def pareto_points(result: Mapping[str, Any], x: str, y: str) -> list[dict[str, Any]]:
    """Return what the panel shows: each arm's steps, or its one dot where no steps were measured.

    Args:
        result: the report.
        x: measure to the right, a key of `pareto` and `arms`.
        y: measure upwards.
    """
    steps = [
        {"arm": point["arm"], "step": point.get("step"), "x": point[x], "y": point[y]}
        for point in result.get("pareto") or ()
        if point["arm"] != BASE and point.get(x) and point.get(y)
    ]
    if not steps:
        steps = [
            {"arm": arm, "step": None, "x": found[x], "y": found[y]}
            for arm, found in result["arms"].items()
            if arm != BASE and x in found and y in found
        ]
    order = list(dict.fromkeys([*result["arms"], *(point["arm"] for point in steps)]))
    last = float("inf")
    return sorted(
        steps,
        key=lambda point: (order.index(point["arm"]), last if point["step"] is None else point["step"]),
    )


def anchors(result: Mapping[str, Any], x: str, y: str) -> list[tuple[str, str, float, float]]:
    """Return the marks to compare with: kind, name and place of the base model and of the photos."""
    base = result["arms"].get(BASE, {})
    marks = []
    if (x, y) == ("excess", "likeness"):
        marks.append(("base", "base model", 0.0, 0.0))
        own = [
            photo["own_attribution"]
            for photo in result.get("inputs", {}).get("photos", ())
            if photo.get("own_attribution") is not None
        ]
        if own and "attribution" in base:
            marks.append(("real", "the photos", sum(own) / len(own) - base["attribution"]["mean"], 1.0))
    elif x in base and y in base:
        marks.append(("base", "base model", base[x]["mean"], base[y]["mean"]))
    return marks


def pareto_chart(
    points: Sequence[Point],
    marks: Sequence[tuple[str, str, float, float]],
    x: str,
    y: str,
    looks: Mapping[str, Look],
) -> str:
    """Return the panel: paths, crosses of both intervals, anchors, and the arms' names at the paths' ends."""
    across, up = axes(points, marks)
    leaders, names = _labels(points, marks, (across, up))
    parts = [*_frame(across, up, x, y), *leaders]
    for arm in dict.fromkeys(point["arm"] for point in points):
        own = [point for point in points if point["arm"] == arm]
        parts.append(f'<g class="{looks[arm].css}">')
        line = " ".join(f"{_place(across, point, 'x'):g},{_place(up, point, 'y'):g}" for point in own)
        if len(own) > 1:
            parts.append(f'<polyline class="path" points="{line}"/>')
        for number, point in enumerate(own):
            parts.append(_cross(point, across, up, is_last=number == len(own) - 1))
            parts.append(_dot(point, x, y, (across, up), looks[arm], is_last=number == len(own) - 1))
        parts.append("</g>")
    parts += [_anchor(mark, across, up) for mark in marks]
    parts += names
    told = "; ".join(f"{_told(point)}: {_numbers(point, x, y)}" for point in points)
    label = f"{MEASURES[y].title} (upwards) against {MEASURES[x].title.lower()} (to the right). {told}"
    return svg(SIZE, label, parts)


def axes(points: Sequence[Point], marks: Sequence[tuple[str, str, float, float]]) -> tuple[Axis, Axis]:
    """Return the axes to the right and upwards, with every interval and anchor on them."""
    reach = {
        which: [point[which][end] for point in points for end in ("low", "high")]
        + [mark[number] for mark in marks]
        for which, number in (("x", 2), ("y", 3))
    }
    across = Axis(round_ticks(reach["x"], least=0.1), _LEFT, SIZE[0] - _RIGHT)
    return across, Axis(round_ticks(reach["y"], least=0.2), SIZE[1] - _BOTTOM, _TOP)


def _frame(across: Axis, up: Axis, x: str, y: str) -> list[str]:
    """Return the lines, numbers and names of both axes."""
    parts = []
    for value in across.ticks:
        place = across.place(value)
        parts.append(f'<line class="grid" x1="{place:g}" x2="{place:g}" y1="{_TOP:g}" y2="{up.start:g}"/>')
        text = number_text(x, value)
        parts.append(f'<text class="tick" x="{place:g}" y="{up.start + 24:g}">{text}</text>')
    for value in up.ticks:
        place = up.place(value)
        parts.append(f'<line class="grid" x1="{_LEFT:g}" x2="{across.end:g}" y1="{place:g}" y2="{place:g}"/>')
        text = number_text(y, value)
        parts.append(f'<text class="tick end" x="{_LEFT - 8:g}" y="{place + 4:g}">{text}</text>')
    unit = f", {MEASURES[x].unit}" if MEASURES[x].unit else ""
    parts.append(
        f'<text class="axis" x="{_LEFT:g}" y="{SIZE[1] - 6:g}">{escape(MEASURES[x].title)}{unit}'
        f' → worse</text><text class="axis" x="0" y="12">↑ {escape(MEASURES[y].title)}</text>'
    )
    return parts


def _cross(point: Point, across: Axis, up: Axis, *, is_last: bool) -> str:
    """Return both intervals of a dot."""
    x, y = _place(across, point, "x"), _place(up, point, "y")
    left, right = across.place(point["x"]["low"]), across.place(point["x"]["high"])
    bottom, top = up.place(point["y"]["low"]), up.place(point["y"]["high"])
    css = "cross last" if is_last else "cross"
    return (
        f'<line class="{css}" x1="{left:g}" x2="{right:g}" y1="{y:g}" y2="{y:g}"/>'
        f'<line class="{css}" x1="{x:g}" x2="{x:g}" y1="{bottom:g}" y2="{top:g}"/>'
    )


def _dot(point: Point, x: str, y: str, axes: tuple[Axis, Axis], look: Look, *, is_last: bool) -> str:
    """Return a dot, larger for the finished model, that tells its numbers."""
    place = _place(axes[0], point, "x"), _place(axes[1], point, "y")
    drawn = marker(look, *place, 7.5 if is_last else 4.5)
    return f"<g><title>{escape(_told(point))}: {_numbers(point, x, y)}</title>{drawn}</g>"


def _anchor(mark: tuple[str, str, float, float], across: Axis, up: Axis) -> str:
    """Return the mark of something to compare with."""
    kind, _, x, y = mark
    left, top = across.place(x), up.place(y)
    if kind == "base":
        return f'<circle class="mark base ring" cx="{left:g}" cy="{top:g}" r="7"/>'
    return f'<path class="anchor" d="M{left - 7:g} {top:g}h14M{left:g} {top - 7:g}v14"/>'


def _labels(
    points: Sequence[Point], marks: Sequence[tuple[str, str, float, float]], axes: tuple[Axis, Axis]
) -> tuple[list[str], list[str]]:
    """Return the lines to names that stand away from their dots, and the names, none on another.

    The arms' stand at their last dots, then come those of the anchors.
    """
    across, up = axes
    last = {point["arm"]: point for point in points}.values()
    is_one_step = len({point["step"] for point in last}) == 1
    names = [(point["arm"] if is_one_step else _ending(point), *_at(point, axes)) for point in last]
    names += [(name, across.place(x), up.place(y)) for _, name, x, y in marks]
    panel = Box(across.start, _TOP - _LABELS_ABOVE, SIZE[0], up.start)
    dots = [around(*_at(point, axes), _DOT) for point in points]
    dots += [around(x, y, _LAST_DOT) for _, x, y in names]
    placed = place_labels(names, panel, dots, _drawn_lines(points, axes))
    leaders = [_leader(label, names[label.number]) for label in placed if label.leader]
    return leaders, [
        _label(label, names[label.number][0], is_arm=label.number < len(last)) for label in placed
    ]


def _leader(label: Label, named: tuple[str, float, float]) -> str:
    """Return the line from a point to its name."""
    _, x, y = named
    left, top = label.leader
    return f'<line class="leader" x1="{x:g}" y1="{y:g}" x2="{left:g}" y2="{top:g}"/>'


def _label(label: Label, name: str, *, is_arm: bool) -> str:
    """Return a name at its place; the whole of it when pointed at, where it is cut."""
    left, bottom = label.place
    css = f"{'name ' if is_arm else ''}{'end' if label.ends_here else 'first'}"
    told = f"<title>{escape(name)}</title>" if label.name != name else ""
    return f'<text class="{css}" x="{left:g}" y="{bottom:g}">{told}{escape(label.name)}</text>'


def _drawn_lines(points: Sequence[Point], axes: tuple[Axis, Axis]) -> list[Box]:
    """Return where intervals and paths are drawn, in small pieces."""
    across, up = axes
    boxes, before = [], None
    for point in points:
        x, y = _at(point, axes)
        boxes.append(Box(across.place(point["x"]["low"]), y - 1, across.place(point["x"]["high"]), y + 1))
        boxes.append(Box(x - 1, up.place(point["y"]["high"]), x + 1, up.place(point["y"]["low"])))
        if before and before[0] == point["arm"]:
            pieces = max(1, round(math.dist(before[1], (x, y)) / _PIECE))
            left, top = before[1]
            boxes += [
                around(left + (x - left) * part / pieces, top + (y - top) * part / pieces, 1.0)
                for part in range(1, pieces)
            ]
        before = point["arm"], (x, y)
    return boxes


def _at(point: Point, axes: tuple[Axis, Axis]) -> tuple[float, float]:
    """Return where a dot is drawn."""
    return _place(axes[0], point, "x"), _place(axes[1], point, "y")


def _place(axis: Axis, point: Point, which: str) -> float:
    """Return where a dot lies along an axis."""
    return axis.place(point[which]["mean"])


def _ending(point: Point) -> str:
    """Return an arm's name with the step that its path ends at, for arms that end at different ones."""
    return point["arm"] if point["step"] is None else f"{point['arm']}, step {point['step']}"


def _told(point: Point) -> str:
    """Return which dot this is."""
    return point["arm"] if point["step"] is None else f"{point['arm']} at step {point['step']}"


def _numbers(point: Point, x: str, y: str) -> str:
    """Return both numbers of a dot."""
    return (
        f"{MEASURES[x].short_title.lower()} {estimate_text(x, point['x'])}, "
        f"{MEASURES[y].short_title.lower()} {estimate_text(y, point['y'])}"
    )
