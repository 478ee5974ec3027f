"""What individuals wear or carry. Each function paints one thing about `centre`; `size` is half its width."""

import math
from collections.abc import Callable

from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point, darker, lighter
from persam_dreambooth.toyworld.subjects.identity import Identity
from persam_dreambooth.toyworld.subjects.strokes import PAPER, turned

Place = tuple[Point, float, float]
"""Centre, half width and clockwise turn in degrees."""


def put_on(canvas: Canvas, identity: Identity, places: dict[str, Place]) -> None:
    """Paint the individual's accessory as the part "accessory", where `places` has room for it."""
    canvas.part("accessory")
    centre, size, degrees = places[identity.accessory]
    _PAINT[identity.accessory](canvas, centre, size, degrees, identity.accent)


def _polygon(
    canvas: Canvas, centre: Point, size: float, degrees: float, shape: list[Point], fill: Colour
) -> None:
    """A polygon whose points are given about the origin in units of `size`."""
    points = [(centre[0] + x * size, centre[1] + y * size) for x, y in shape]
    canvas.polygon([turned(point, centre, degrees) for point in points], fill)


def _scarf(canvas: Canvas, centre: Point, size: float, degrees: float, colour: Colour) -> None:
    left = turned((centre[0] - size * 0.8, centre[1] - size * 0.08), centre, degrees)
    right = turned((centre[0] + size * 0.8, centre[1] - size * 0.08), centre, degrees)
    low = turned((centre[0], centre[1] + size * 0.14), centre, degrees)
    end = (centre[0] + size * 0.42, centre[1] + size * 1.0)
    canvas.line([(centre[0] + size * 0.35, centre[1] + size * 0.15), end], darker(colour, 0.14), size * 0.5)
    canvas.line([left, low, right], darker(colour, 0.3), size * 0.56)
    canvas.line([left, low, right], colour, size * 0.46)
    canvas.line(
        [(end[0] - size * 0.22, end[1]), (end[0] + size * 0.22, end[1])], lighter(colour, 0.55), size * 0.16
    )


def _bow(canvas: Canvas, centre: Point, size: float, degrees: float, colour: Colour) -> None:
    for side in (-1, 1):
        wing = [(0, 0), (side * 0.7, -0.62), (side * 1.0, -0.5), (side * 1.0, 0.5), (side * 0.7, 0.62)]
        _polygon(canvas, centre, size, degrees, [(x * 1.08, y * 1.12) for x, y in wing], darker(colour, 0.35))
        _polygon(canvas, centre, size, degrees, wing, colour)
        _polygon(
            canvas,
            centre,
            size,
            degrees,
            [(0, 0), (side * 0.7, -0.2), (side * 0.7, 0.2)],
            darker(colour, 0.22),
        )
    canvas.ellipse(centre, (size * 0.3, size * 0.3), lighter(colour, 0.25), darker(colour, 0.35), size * 0.08)


def _hat(canvas: Canvas, centre: Point, size: float, degrees: float, colour: Colour) -> None:
    """A knitted cap; `centre` is the middle of its brim."""
    dome = [(math.cos(math.radians(a)) * 0.86, math.sin(math.radians(a)) * 0.95) for a in range(180, 361, 12)]
    _polygon(canvas, centre, size, degrees, dome, colour)
    _polygon(
        canvas,
        centre,
        size,
        degrees,
        [(-0.22, -0.2), (-0.16, -0.9), (0.16, -0.9), (0.22, -0.2)],
        lighter(colour, 0.25),
    )
    brim = [turned((centre[0] + x * size, centre[1] - size * 0.1), centre, degrees) for x in (-0.85, 0.85)]
    canvas.line(brim, darker(colour, 0.25), size * 0.36)
    canvas.ellipse(
        turned((centre[0], centre[1] - size * 1.0), centre, degrees), (size * 0.27, size * 0.27), PAPER
    )


def _heart(canvas: Canvas, centre: Point, size: float, degrees: float, colour: Colour) -> None:
    for grow, fill in ((1.25, PAPER), (1.0, colour)):
        for side in (-1, 1):
            lobe = turned((centre[0] + side * size * 0.46, centre[1] - size * 0.25), centre, degrees)
            canvas.ellipse(lobe, (size * 0.53 * grow, size * 0.53 * grow), fill)
        tip = [(-0.94, 0.0), (0.94, 0.0), (0.0, 1.05)]
        _polygon(canvas, centre, size * grow, degrees, tip, fill)


def _star(canvas: Canvas, centre: Point, size: float, degrees: float, colour: Colour) -> None:
    for grow, fill in ((1.38, PAPER), (1.0, colour)):
        angles = [(math.radians(36 * k - 90), 1.15 if k % 2 == 0 else 0.52) for k in range(10)]
        _polygon(
            canvas,
            centre,
            size * grow,
            degrees,
            [(r * math.cos(a), r * math.sin(a)) for a, r in angles],
            fill,
        )


def _flower(canvas: Canvas, centre: Point, size: float, degrees: float, colour: Colour) -> None:
    for grow, fill in ((1.18, PAPER), (1.0, colour)):
        for k in range(5):
            petal = turned((centre[0], centre[1] - size * 0.62), centre, degrees + 72 * k)
            canvas.ellipse(petal, (size * 0.46 * grow, size * 0.46 * grow), fill)
    canvas.ellipse(centre, (size * 0.36, size * 0.36), (255, 226, 120), darker(colour, 0.3), size * 0.08)


def _flag(canvas: Canvas, centre: Point, size: float, degrees: float, colour: Colour) -> None:
    """A pennant on a pole; `centre` is the foot of the pole."""
    pole = [centre, turned((centre[0], centre[1] - size * 2.2), centre, degrees)]
    canvas.line(pole, (92, 72, 62), size * 0.16)
    _polygon(canvas, centre, size, degrees, [(0.05, -2.2), (1.5, -1.75), (0.05, -1.2)], colour)
    _polygon(canvas, centre, size, degrees, [(0.05, -1.85), (0.55, -1.72), (0.05, -1.55)], PAPER)


_PAINT: dict[str, Callable[[Canvas, Point, float, float, Colour], None]] = {
    "scarf": _scarf,
    "bow": _bow,
    "hat": _hat,
    "heart": _heart,
    "star": _star,
    "flower": _flower,
    "flag": _flag,
}
