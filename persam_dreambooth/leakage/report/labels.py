"""Where names stand in a drawing: beside their points, on no other name or mark, inside the panel."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FONT_SIZE = 19.0
"""Units that a name is high: on a phone, where page.css makes it largest. Elsewhere it takes less room."""
_LETTER = 0.72
"""Width of a bold letter of a wide font (DejaVu Sans), in units of the font's size."""
_HEIGHT, _BASELINE = 1.2, 0.95
"""Height of a line, and of what stands above the base line, in units of the font's size."""
_BESIDE = 11.0
"""From a point to the name beside it: the mark is this large."""
_NEAR = 1.01 * math.hypot(_BESIDE, _BESIDE)
"""A name at most this far from its point stands beside it."""
_GAP = 6.0
"""Between names on one line."""
_STEP = (12.0, 8.0)
"""Steps to the right and down in which the panel is searched where there is no room beside the point."""
_CROSSED = 8.0
"""A name goes so much farther away rather than hide one more piece of a line."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in units of the drawing; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre, as (x, y)."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def meets(self, other: "Box") -> bool:
        """Return whether two boxes share more than a border."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """Return whether the other box lies in this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def wider(self, by: float) -> "Box":
        """Return the box with so much more to the left and right."""
        return Box(self.left - by, self.top, self.right + by, self.bottom)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of this box that is nearest to another one."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


@dataclass(frozen=True)
class Label:
    """A name that has found its place."""

    name: str
    """As it is written: cut where it is wider than the panel."""
    number: int
    """Which of the names it is."""
    box: Box
    ends_here: bool
    """Whether the text ends at its place, instead of beginning there."""
    leader: tuple[float, float] | None
    """Where a line from the point to the name ends; None where the name stands beside its point."""

    @property
    def place(self) -> tuple[float, float]:
        """Where the text begins or ends, on its base line."""
        return self.box.right if self.ends_here else self.box.left, self.box.top + _BASELINE * FONT_SIZE


def place_labels(
    names: Sequence[tuple[str, float, float]],
    panel: Box,
    marks: Sequence[Box],
    lines: Sequence[Box] = (),
) -> list[Label]:
    """Return names beside their points; equal input gives equal places.

    Each name takes the first place that meets nothing: right or left of its point, above or below it, then
    ever farther away, with a line to its point. Where that would be far, it hides lines instead. A name that
    finds no room at all is left out.

    Args:
        names: text and point (x, y) of each, the most important first.
        panel: names stay inside.
        marks: what no name may hide.
        lines: what a name should not hide.
    """
    placed: list[Label] = []
    for number, (name, x, y) in enumerate(names):
        shown = _cut(name, panel)
        taken = [*marks, *(label.box.wider(_GAP) for label in placed)]
        free = [box for box in _candidates(shown, x, y, panel) if not any(box.meets(one) for one in taken)]
        if not free:
            continue
        away = [max(0.0, math.dist(box.nearest(x, y), (x, y)) - _NEAR) for box in free]
        hidden = [sum(box.meets(line) for line in lines) for box in free]
        best = min(range(len(free)), key=lambda place: away[place] + _CROSSED * hidden[place])
        box = free[best]
        leader = box.nearest(x, y) if away[best] else None
        placed.append(Label(shown, number, box, box.left + box.right < 2 * x, leader))
    return placed


def around(x: float, y: float, reach: float) -> Box:
    """Return the box that reaches this far to every side of a point."""
    return Box(x - reach, y - reach, x + reach, y + reach)


def _width(name: str) -> float:
    """Return the width of a text at most."""
    return _LETTER * FONT_SIZE * len(name)


def _cut(name: str, panel: Box) -> str:
    """Return a text that is no wider than the panel."""
    room = int((panel.right - panel.left) / (_LETTER * FONT_SIZE))
    return name if len(name) <= room else f"{name[: room - 1]}…"


def _candidates(name: str, x: float, y: float, panel: Box) -> Iterator[Box]:
    """Yield the places of a name in the panel: beside its point, then by their distance from it."""
    width, height = _width(name), _HEIGHT * FONT_SIZE
    right, left, middle = x + _BESIDE, x - _BESIDE - width, x - width / 2
    above, level, below = y - _BESIDE - height, y - height / 2, y + _BESIDE
    beside = [
        (right, above + _BESIDE), (right, level), (right, below - _BESIDE), (left, above + _BESIDE),
        (left, level), (left, below - _BESIDE), (middle, above), (middle, below),
    ]  # fmt: skip
    everywhere = [
        (panel.left + _STEP[0] * column, panel.top + _STEP[1] * row)
        for column in range(1 + int((panel.right - panel.left - width) / _STEP[0]))
        for row in range(1 + int((panel.bottom - panel.top - height) / _STEP[1]))
    ]
    boxes = [Box(at, top, at + width, top + height) for at, top in (*beside, *everywhere)]
    boxes[len(beside) :] = sorted(boxes[len(beside) :], key=lambda box: math.dist(box.nearest(x, y), (x, y)))
    return (box for box in boxes if panel.holds(box))
