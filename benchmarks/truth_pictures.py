"""Drawings for measure_truth.py and validation_curves.py, with Pillow alone.

Imported by them; by itself it does nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from toy_curves import COLOURS, FONT_SIZE, GRID, INK, PAPER, SUPERSAMPLE, TITLE_SIZE

LEFT, RIGHT, TOP, BOTTOM = 64, 20, 40, 52
PANEL = (440, 330)
THUMBNAIL = 132
A_ROW = 6
"""Pictures of each kind of disagreement."""
NUM_COLOURS = 160
"""Of sheets of pictures, so that they stay small."""

Point = tuple[float, float]


class Panel:
    """A chart with two axes, both from 0; the user draws into it and takes `picture`."""

    def __init__(
        self,
        title: str,
        *,
        x: tuple[Sequence[float], str],
        y: tuple[Sequence[float], str],
        size: tuple[int, int] = PANEL,
        numbered: str = "xy",
    ) -> None:
        """Draw the axes.

        Args:
            title: above the chart.
            x: ticks, from the lower end to the upper one, and the name of the axis.
            y: the same of the other axis.
            size: width and height in pixels.
            numbered: axes whose ticks have numbers.
        """
        self.size, self._x, self._y = size, x[0], y[0]
        self._picture = Image.new("RGB", (SUPERSAMPLE * size[0], SUPERSAMPLE * size[1]), PAPER)
        self.pen = ImageDraw.Draw(self._picture)
        self.write((LEFT, 10), title, size=TITLE_SIZE)
        for tick in x[0]:
            self.line([(tick, y[0][0]), (tick, y[0][-1])], GRID, 1)
            left, bottom = self.at(tick, y[0][0])
            if "x" in numbered:
                self.write((left / SUPERSAMPLE, bottom / SUPERSAMPLE + 5), f"{tick:g}", anchor="ma")
        for tick in y[0]:
            self.line([(x[0][0], tick), (x[0][-1], tick)], GRID, 1)
            left, middle = self.at(x[0][0], tick)
            if "y" in numbered:
                self.write((left / SUPERSAMPLE - 8, middle / SUPERSAMPLE), f"{tick:g}", anchor="rm")
        self.line([(x[0][0], y[0][-1]), (x[0][0], y[0][0]), (x[0][-1], y[0][0])], INK, 1)
        self.write((size[0] - RIGHT, size[1] - BOTTOM + 26), x[1], anchor="ra")
        self.write((LEFT + 6, TOP - 4), y[1], anchor="la", size=FONT_SIZE - 2)

    @property
    def picture(self) -> Image.Image:
        """The chart."""
        return self._picture.reduce(SUPERSAMPLE)

    def at(self, x: float, y: float) -> Point:
        """Return where a point lies in the large picture; the nearest end where it lies outside the axes."""
        across = np.clip((x - self._x[0]) / (self._x[-1] - self._x[0]), 0, 1)
        up = np.clip((y - self._y[0]) / (self._y[-1] - self._y[0]), 0, 1)
        width, height = self.size[0] - LEFT - RIGHT, self.size[1] - TOP - BOTTOM
        return SUPERSAMPLE * (LEFT + width * across), SUPERSAMPLE * (TOP + height * (1 - up))

    def line(self, points: Sequence[Point], colour: tuple[int, ...], thickness: int) -> None:
        """Draw a line through points of the axes."""
        places = [self.at(*point) for point in points]
        self.pen.line(places, fill=colour, width=SUPERSAMPLE * thickness, joint="curve")

    def dot(self, point: Point, colour: tuple[int, ...], radius: float = 2.5, *, filled: bool = True) -> None:
        """Draw a dot, or a ring, at a point of the axes."""
        x, y = self.at(*point)
        reach = SUPERSAMPLE * radius
        box = [x - reach, y - reach, x + reach, y + reach]
        self.pen.ellipse(box, fill=colour if filled else PAPER, outline=colour, width=SUPERSAMPLE)

    def write(
        self,
        place: Point,
        text: str,
        *,
        size: int = FONT_SIZE,
        anchor: str = "la",
        colour: tuple[int, ...] = INK,
    ) -> None:
        """Write a text at a place in pixels of the finished picture."""
        font = ImageFont.load_default(size * SUPERSAMPLE)
        self.pen.text([SUPERSAMPLE * v for v in place], text, fill=colour, font=font, anchor=anchor)


def beside(pictures: Sequence[Image.Image], a_row: int = 3) -> Image.Image:
    """Return pictures of one size, so many to a row, as one."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // a_row)
    sheet = Image.new("RGB", (width * min(a_row, len(pictures)), height * rows), PAPER)
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % a_row * width, number // a_row * height))
    return sheet


def labelled(pictures: Sequence[tuple[str, np.ndarray]], a_row: int) -> Image.Image:
    """Return pictures side by side, each with a line of text below it."""
    tiles = []
    for text, pixels in pictures:
        tile = Image.new("RGB", (THUMBNAIL, THUMBNAIL + 22), PAPER)
        tile.paste(Image.fromarray(pixels).resize((THUMBNAIL - 6,) * 2), (3, 3))
        ImageDraw.Draw(tile).text((5, THUMBNAIL), text, fill=INK, font=ImageFont.load_default(12))
        tiles.append(tile)
    return beside(tiles, a_row).quantize(NUM_COLOURS)


def auc_chart(found: Mapping[str, Mapping[str, Mapping[str, Any]]], measures: Sequence[str]) -> Image.Image:
    """Return the AUC of every measure, a row of dots each, one colour for each kind of features.

    Dots are over all pairs of pictures, rings over pairs of the same prompt.
    """
    top = len(measures) + 0.9
    size = (760, TOP + BOTTOM + 38 * len(measures) + 34)
    x = ([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "AUC: how often a leaked picture has the higher value")
    panel = Panel("", x=x, y=([0, top], ""), size=size, numbered="x")
    panel.line([(0.5, 0), (0.5, top)], INK, 1)
    for row, measure in enumerate(measures):
        height = len(measures) - row - 0.5
        panel.line([(x[0][0], height), (1, height)], GRID, 1)
        left, middle = panel.at(x[0][0], height)
        panel.write((left / SUPERSAMPLE + 4, middle / SUPERSAMPLE - 17), measure.replace("_", " "))
        own = [told.get(measure, {}) for told in found.values()]
        for key, radius in (("auc", 5), ("auc_within_prompt", 4)):
            dots = [(colour, told.get(key)) for colour, told in zip(COLOURS, own, strict=False)]
            for colour, value in (dot for dot in dots if dot[1] is not None):
                panel.dot((value, height), colour, radius, filled=key == "auc")
    for number, (name, colour) in enumerate(zip(found, COLOURS, strict=False)):
        panel.write((LEFT + 130 * number, 14), name, colour=colour, size=TITLE_SIZE)
    return panel.picture


def scatter_sheet(rows: Mapping[str, Sequence[dict[str, Any]]]) -> Image.Image:
    """Return a chart for each kind of features: the excess of every picture over what the classifier saw."""
    panels = []
    for name, own in rows.items():
        told = [row for row in own if row.get("excess") is not None and row.get("leak") is not None]
        panel = Panel(
            name, x=([0, 1, 2, 3], ""), y=([0, 0.2, 0.4, 0.6, 0.8, 1], "excess attribution"), numbered="y"
        )
        rng = np.random.default_rng(0)
        for column, (label, kept) in enumerate(_kinds(told).items()):
            for row in kept:
                panel.dot((column + 0.5 + rng.uniform(-0.3, 0.3), row["excess"]), COLOURS[column], 2)
            if kept:
                middle = float(np.median([row["excess"] for row in kept]))
                panel.line([(column + 0.15, middle), (column + 0.85, middle)], INK, 2)
            left, bottom = panel.at(column + 0.5, 0)
            panel.write((left / SUPERSAMPLE, bottom / SUPERSAMPLE + 8), f"{label} ({len(kept)})", anchor="ma")
        panels.append(panel.picture)
    return beside(panels)


def disagreements(rows: Mapping[str, Sequence[dict[str, Any]]], paths: Mapping[tuple, Path]) -> Image.Image:
    """Return the pictures in which a measure is most at odds with the classifier.

    Args:
        rows: by features.
        paths: of the pictures, by (run, arm, prompt, seed).
    """
    width = THUMBNAIL * A_ROW + 8
    parts = []
    for name, own in rows.items():
        told = [
            row
            for row in own
            if row.get("excess") is not None and row.get("leak") is not None and "run" in row
        ]
        for leak, label in ((True, "leaked, lowest excess"), (False, "not leaked, highest excess")):
            kept = sorted(
                (row for row in told if row["leak"] == leak), key=lambda row: row["excess"], reverse=not leak
            )
            parts.append(_strip(f"{name}: {label}", kept[:A_ROW], paths, width))
    sheet = Image.new("RGB", (width, sum(part.height for part in parts) or 1), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet.quantize(NUM_COLOURS)


def _kinds(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return rows by what the classifier saw: the prompted place, another, or the photos'."""
    return {
        "prompted": [row for row in rows if row["agreement"]],
        "other": [row for row in rows if not row["agreement"] and not row["leak"]],
        "photos’": [row for row in rows if row["leak"]],
    }


def _strip(
    title: str, rows: Sequence[dict[str, Any]], paths: Mapping[tuple, Path], width: int
) -> Image.Image:
    """Return pictures side by side, each with its excess and arm, and what was asked for: what was seen."""
    strip = Image.new("RGB", (width, THUMBNAIL + 66), PAPER)
    pen, small = ImageDraw.Draw(strip), ImageFont.load_default(12)
    pen.text((4, 4), title, fill=INK, font=ImageFont.load_default(15))
    for number, row in enumerate(rows):
        with Image.open(paths[row["run"], row["arm"], row["prompt"], row["seed"]]) as picture:
            strip.paste(picture.convert("RGB").resize((THUMBNAIL - 4,) * 2), (4 + THUMBNAIL * number, 26))
        text = f"{row['excess']:.2f}  {row['arm']}\n{row['background']}: {row['predicted_background']}"
        pen.text((6 + THUMBNAIL * number, THUMBNAIL + 26), text, fill=INK, font=small)
    return strip
