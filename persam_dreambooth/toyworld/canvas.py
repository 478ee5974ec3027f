"""A small drawing kit: shapes in unit coordinates, drawn at three times the size and scaled down later.

Coordinates are fractions of the canvas' side, (x, y) with y pointing down; widths are fractions too. Colours
are (r, g, b) in 0..255. A canvas holds named parts. Each part is a transparent layer of its own, painted in
the order in which parts were opened, so that the picture and the exact mask of every part come from the same
strokes.
"""

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SUPERSAMPLE = 3
"""Shapes are drawn this many times larger and averaged down, which smooths their edges."""

Colour = tuple[int, int, int]
Point = tuple[float, float]


def mix(first: Colour, second: Colour, fraction: float) -> Colour:
    """The colour `fraction` (0..1) of the way from `first` to `second`."""
    return tuple(round(a + (b - a) * fraction) for a, b in zip(first, second, strict=True))


def darker(colour: Colour, fraction: float = 0.25) -> Colour:
    """`colour` moved towards black by `fraction` (0..1)."""
    return mix(colour, (0, 0, 0), fraction)


def lighter(colour: Colour, fraction: float = 0.25) -> Colour:
    """`colour` moved towards white by `fraction` (0..1)."""
    return mix(colour, (255, 255, 255), fraction)


def jitter(colour: Colour, rng: Random, amount: int = 12) -> Colour:
    """`colour` with each channel moved by at most `amount`."""
    return tuple(min(255, max(0, c + rng.randint(-amount, amount))) for c in colour)


@dataclass(frozen=True)
class Part:
    """One named transparent layer: an RGBA picture of the whole canvas."""

    name: str
    image: Image.Image


class Canvas:
    """A transparent rectangle of `width` x `height` real pixels; its unit of length is `unit` real pixels.

    Args:
        width: In pixels of the picture (before supersampling).
        height: In pixels of the picture.
        unit: Pixels that 1.0 stands for; the larger side if not given.
    """

    def __init__(self, width: int, height: int, unit: float | None = None) -> None:
        """Open an empty canvas with one part called "body"."""
        self.size = (width * SUPERSAMPLE, height * SUPERSAMPLE)
        self.unit = (unit or max(width, height)) * SUPERSAMPLE
        self.parts: list[Part] = []
        self.part("body")

    def part(self, name: str) -> None:
        """Open a new layer; what follows is painted on it. A name may come twice (say, for a far leg)."""
        image = Image.new("RGBA", self.size, (0, 0, 0, 0))
        self.parts.append(Part(name, image))
        self._draw = ImageDraw.Draw(image)

    def _points(self, points: list[Point]) -> list[Point]:
        return [(x * self.unit, y * self.unit) for x, y in points]

    def polygon(
        self, points: list[Point], fill: Colour, outline: Colour | None = None, width: float = 0.01
    ) -> None:
        """A filled polygon."""
        scaled = self._points(points)
        self._draw.polygon(scaled, fill=(*fill, 255))
        if outline:
            self._draw.line(
                [*scaled, scaled[0]], fill=(*outline, 255), width=self._width(width), joint="curve"
            )

    def ellipse(
        self, centre: Point, radii: Point, fill: Colour, outline: Colour | None = None, width: float = 0.01
    ) -> None:
        """A filled ellipse with half-axes `radii`."""
        (x, y), (rx, ry) = centre, radii
        box = [v * self.unit for v in (x - rx, y - ry, x + rx, y + ry)]
        line = (*outline, 255) if outline else None
        self._draw.ellipse(box, fill=(*fill, 255), outline=line, width=self._width(width) if outline else 0)

    def turned_ellipse(self, centre: Point, radii: Point, degrees: float, fill: Colour) -> None:
        """A filled ellipse turned clockwise by `degrees`."""
        (x, y), (rx, ry), turn = centre, radii, math.radians(degrees)
        cos, sin = math.cos(turn), math.sin(turn)
        angles = [2 * math.pi * k / 40 for k in range(40)]
        self.polygon(
            [
                (
                    x + rx * math.cos(a) * cos - ry * math.sin(a) * sin,
                    y + rx * math.cos(a) * sin + ry * math.sin(a) * cos,
                )
                for a in angles
            ],
            fill,
        )

    def box(
        self,
        left_top: Point,
        right_bottom: Point,
        fill: Colour,
        radius: float = 0.0,
        outline: Colour | None = None,
        width: float = 0.01,
    ) -> None:
        """A filled rectangle with corners rounded by `radius`."""
        edges = [v * self.unit for v in (*left_top, *right_bottom)]
        line = (*outline, 255) if outline else None
        self._draw.rounded_rectangle(
            edges,
            radius * self.unit,
            fill=(*fill, 255),
            outline=line,
            width=self._width(width) if outline else 0,
        )

    def line(self, points: list[Point], fill: Colour, width: float) -> None:
        """A polyline with round joints and ends."""
        scaled, thick = self._points(points), self._width(width)
        self._draw.line(scaled, fill=(*fill, 255), width=thick, joint="curve")
        for x, y in (scaled[0], scaled[-1]):
            self._draw.ellipse(
                [x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=(*fill, 255)
            )

    def arc(self, centre: Point, radii: Point, start: float, end: float, fill: Colour, width: float) -> None:
        """An open arc from `start` to `end` degrees (0 = right, clockwise)."""
        (x, y), (rx, ry) = centre, radii
        angles = [math.radians(start + (end - start) * k / 24) for k in range(25)]
        self.line([(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles], fill, width)

    def pattern(self, kind: str, colour: Colour, rng: Random) -> None:
        """Paint "stripes", "bands", "spots" or "patches" where the current part is already painted."""
        image = self.parts[-1].image
        alpha = image.getchannel("A")
        box = alpha.getbbox()
        if box is None or kind == "plain":
            return
        marks = Image.new("L", self.size, 0)
        _PATTERNS[kind](ImageDraw.Draw(marks), box, self.unit, rng)
        image.paste(Image.new("RGBA", self.size, (*colour, 255)), mask=ImageChops.multiply(marks, alpha))

    def gradient(self, top: Colour, bottom: Colour, y0: float = 0.0, y1: float = 1.0) -> None:
        """Fill the current part's whole width between `y0` and `y1`, from colour `top` to `bottom`."""
        first, last = round(y0 * self.unit), round(y1 * self.unit)
        if last <= first:
            return
        along = np.linspace(0, 1, last - first)[:, None]
        column = np.full((last - first, 1, 4), 255, np.uint8)
        column[:, 0, :3] = np.asarray(top) * (1 - along) + np.asarray(bottom) * along
        band = Image.fromarray(column, "RGBA").resize((self.size[0], last - first), Image.Resampling.NEAREST)
        self.parts[-1].image.paste(band, (0, first))

    def shade(self, strength: float = 0.25, angle: float = 65.0) -> None:
        """Darken the current part smoothly along `angle` degrees (90 = downwards), to make it look round."""
        image = self.parts[-1].image
        alpha = image.getchannel("A")
        if (box := alpha.getbbox()) is None:
            return
        ys, xs = np.mgrid[0 : box[3] - box[1], 0 : box[2] - box[0]].astype(np.float32)
        along = xs * math.cos(math.radians(angle)) + ys * math.sin(math.radians(angle))
        along = (along - along.min()) / max(1e-6, float(np.ptp(along)))
        cut = np.asarray(image.crop(box)).astype(np.float32)
        cut[..., :3] *= (1 + 0.35 * strength - strength * along)[..., None]
        image.paste(Image.fromarray(cut.clip(0, 255).astype(np.uint8), "RGBA"), box[:2])

    def soften(self, radius: float) -> None:
        """Blur the current part by `radius` (a fraction of the unit)."""
        part = self.parts[-1]
        part.image.paste(part.image.filter(ImageFilter.GaussianBlur(radius * self.unit)))

    def flatten(self) -> Image.Image:
        """All parts over one another, RGBA, still at the supersampled size."""
        flat = Image.new("RGBA", self.size, (0, 0, 0, 0))
        for part in self.parts:
            flat.alpha_composite(part.image)
        return flat

    def _width(self, width: float) -> int:
        return max(1, round(width * self.unit))


def _stripes(draw: ImageDraw.ImageDraw, box: tuple, unit: float, rng: Random) -> None:
    left, top, right, bottom = box
    gap, lean = unit * rng.uniform(0.075, 0.1), unit * rng.uniform(-0.04, 0.04)
    x = left + gap * rng.random()
    while x < right:
        draw.line([(x, top), (x + lean, bottom)], fill=255, width=max(2, int(gap * 0.42)))
        x += gap


def _bands(draw: ImageDraw.ImageDraw, box: tuple, unit: float, rng: Random) -> None:
    left, top, right, bottom = box
    gap = unit * rng.uniform(0.09, 0.12)
    y = top + gap * rng.random()
    while y < bottom:
        draw.rectangle([left, y, right, y + gap * 0.42], fill=255)
        y += gap


def _spots(draw: ImageDraw.ImageDraw, box: tuple, unit: float, rng: Random) -> None:
    left, top, right, bottom = box
    gap = unit * rng.uniform(0.1, 0.13)
    for row in range(int((bottom - top) / gap) + 2):
        for column in range(int((right - left) / gap) + 2):
            x = left + (column + 0.5 * (row % 2) + rng.uniform(-0.15, 0.15)) * gap
            y, r = top + (row + rng.uniform(-0.15, 0.15)) * gap, gap * 0.28
            draw.ellipse([x - r, y - r, x + r, y + r], fill=255)


def _patches(draw: ImageDraw.ImageDraw, box: tuple, unit: float, rng: Random) -> None:
    left, top, right, bottom = box
    for _ in range(4):
        x, y, r = rng.uniform(left, right), rng.uniform(top, bottom), unit * rng.uniform(0.07, 0.13)
        draw.ellipse([x - r * 1.2, y - r, x + r * 1.2, y + r], fill=255)


_PATTERNS = {"stripes": _stripes, "bands": _bands, "spots": _spots, "patches": _patches}
