"""What an arm looks like everywhere on the page: a colour of two hues, and a shape of its own.

The base model is grey, plain training warm, everything else cool, so that red-green blindness loses nothing;
within a hue the shade changes. The shape tells arms apart without any colour, and every arm is also named.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

BASE = "base"
PLAIN = "plain"

_SHAPES = ("circle", "diamond", "triangle", "down", "cross", "pentagon", "plus", "star")
_NUM_SHADES = 3
_CORNERS = {"square": (4, 45), "diamond": (4, 0), "triangle": (3, -90), "down": (3, 90), "pentagon": (5, -90)}
_INK = {
    "base": (110, 105, 98),
    "warm-0": (201, 87, 0),
    "warm-1": (138, 59, 0),
    "warm-2": (226, 140, 68),
    "cool-0": (0, 105, 166),
    "cool-1": (72, 157, 214),
    "cool-2": (0, 62, 104),
}


@dataclass(frozen=True)
class Look:
    """How one arm is drawn."""

    css: str
    """Class that sets the colour, also in dark mode."""
    shape: str
    ink: tuple[int, int, int]
    """The colour on white paper, for pictures."""


def looks_of(arms: Sequence[str]) -> dict[str, Look]:
    """Return the look of each arm; equal lists of arms look the same in every report."""
    shapes = iter(_SHAPES * (1 + len(arms) // len(_SHAPES)))
    warm = cool = 0
    looks = {}
    for arm in arms:
        if arm == BASE:
            css, shape = "base", "ring"
        elif arm.startswith(PLAIN):
            css, shape = f"warm-{warm % _NUM_SHADES}", "square" if arm == PLAIN else next(shapes)
            warm += 1
        else:
            css, shape = f"cool-{cool % _NUM_SHADES}", next(shapes)
            cool += 1
        looks[arm] = Look(css, shape, _INK[css])
    return looks


def marker(look: Look, x: float, y: float, radius: float, css: str = "mark") -> str:
    """Return an arm's shape as SVG, about as large as a circle of this radius."""
    name = f'class="{css} {look.css}{" ring" if look.shape == "ring" else ""}"'
    if look.shape in ("circle", "ring"):
        return f'<circle {name} cx="{x:g}" cy="{y:g}" r="{radius:g}"/>'
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners(look.shape, x, y, radius))
    return f'<polygon {name} points="{points}"/>'


def corners(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Return the corners of a shape around (x, y), of about a circle's area."""
    if shape in _CORNERS:
        count, first = _CORNERS[shape]
        reach = radius * math.sqrt(2 * math.pi / (count * math.sin(2 * math.pi / count)))
        return [_around(x, y, reach, first + 360 * number / count) for number in range(count)]
    if shape == "star":
        reach = (1.5 * radius, 0.7 * radius)
        return [_around(x, y, reach[number % 2], -90 + 36 * number) for number in range(10)]
    # A plus of arms 2 * half wide; the cross is the same, turned.
    half, reach = 0.42 * radius, 1.3 * radius
    turn = 45 if shape == "cross" else 0
    angle, far = math.degrees(math.atan2(half, reach)), math.hypot(half, reach)
    plus = []
    for number in range(4):
        middle = turn + 90 * number
        plus += [_around(x, y, far, middle - angle), _around(x, y, far, middle + angle)]
        plus.append(_around(x, y, half * math.sqrt(2), middle + 45))
    return plus


def key(arm: str, look: Look) -> str:
    """Return an arm's name with its mark in front, as HTML."""
    drawn = marker(look, 7, 7, 5)
    return f'<span class="key"><svg viewBox="0 0 14 14" aria-hidden="true">{drawn}</svg>{escape(arm)}</span>'


def _around(x: float, y: float, reach: float, degrees: float) -> tuple[float, float]:
    """Return the point at a distance and an angle from (x, y)."""
    angle = math.radians(degrees)
    return x + reach * math.cos(angle), y + reach * math.sin(angle)
