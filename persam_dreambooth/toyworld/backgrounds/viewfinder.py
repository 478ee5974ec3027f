"""How a photo looks at a place: the camera's zoom, its shift and the light, applied to every stroke.

Backgrounds are drawn in the coordinates of the place, of which the canvas shows roughly 0 to 1. What crosses
the picture is drawn further (`FAR`), so that a moved camera never sees past its edge.
"""

import math
from random import Random

from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point

FAR = 0.3
"""How far shapes that cross the whole picture must reach beyond 0 and 1."""


class Viewfinder:
    """A canvas seen through a camera.

    Args:
        canvas: What is painted on.
        place: Decides whether the place is mirrored; the same in all photos of a place.
        view: Decides zoom, shift and light of this one photo.
    """

    def __init__(self, canvas: Canvas, place: Random, view: Random) -> None:
        """Point the camera and measure the light."""
        self.canvas = canvas
        self.mirrored = place.random() < 0.5
        self.zoom = view.uniform(0.95, 1.08)
        self.shift = (view.uniform(-0.07, 0.07), view.uniform(-0.03, 0.03))
        brightness, warmth = view.uniform(0.94, 1.04), view.uniform(-0.03, 0.03)
        self.light = (brightness * (1 + warmth), brightness, brightness * (1 - warmth))

    def at(self, point: Point) -> Point:
        """Where a point of the place lies on the canvas."""
        x = 1 - point[0] if self.mirrored else point[0]
        return 0.5 + (x - 0.5) * self.zoom + self.shift[0], self.height(point[1])

    def height(self, y: float) -> float:
        """Where a height of the place lies on the canvas."""
        return 0.5 + (y - 0.5) * self.zoom + self.shift[1]

    def lit(self, colour: Colour) -> Colour:
        """A colour of the place in the light of this photo."""
        return tuple(min(255, round(c * gain)) for c, gain in zip(colour, self.light, strict=True))

    def part(self, name: str) -> None:
        """Open a new part of the canvas."""
        self.canvas.part(name)

    def polygon(self, points: list[Point], fill: Colour) -> None:
        """A filled polygon."""
        self.canvas.polygon([self.at(p) for p in points], self.lit(fill))

    def ellipse(self, centre: Point, radii: Point, fill: Colour) -> None:
        """A filled ellipse with half-axes `radii`."""
        self.canvas.ellipse(self.at(centre), (radii[0] * self.zoom, radii[1] * self.zoom), self.lit(fill))

    def box(self, left_top: Point, right_bottom: Point, fill: Colour, radius: float = 0.0) -> None:
        """A filled rectangle with corners rounded by `radius`."""
        (x0, y0), (x1, y1) = self.at(left_top), self.at(right_bottom)
        self.canvas.box((min(x0, x1), y0), (max(x0, x1), y1), self.lit(fill), radius * self.zoom)

    def line(self, points: list[Point], fill: Colour, width: float) -> None:
        """A polyline with round joints and ends."""
        self.canvas.line([self.at(p) for p in points], self.lit(fill), width * self.zoom)

    def arc(self, centre: Point, radii: Point, start: float, end: float, fill: Colour, width: float) -> None:
        """An open arc from `start` to `end` degrees (0 = right, clockwise; mirrored with the place)."""
        angles = [math.radians(start + (end - start) * k / 24) for k in range(25)]
        self.line(
            [(centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles],
            fill,
            width,
        )

    def gradient(self, top: Colour, bottom: Colour, y0: float, y1: float) -> None:
        """Fill the whole width between heights `y0` and `y1`; the colours go from `top` to `bottom`."""
        self.canvas.gradient(self.lit(top), self.lit(bottom), self.height(y0), self.height(y1))

    def shade(self, strength: float = 0.25, angle: float = 65.0) -> None:
        """Darken the current part smoothly along `angle` degrees (90 = downwards)."""
        self.canvas.shade(strength, angle)

    def backdrop(self, sky: tuple[Colour, Colour], horizon: float, ground: tuple[Colour, Colour]) -> None:
        """Fill the part "backdrop": sky (top, bottom) above `horizon`, ground (far, near) below."""
        self.part("backdrop")
        self.gradient(sky[0], sky[1], -FAR, horizon)
        self.gradient(ground[0], ground[1], horizon, 1 + FAR)
