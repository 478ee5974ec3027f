"""The library: shelves of books, a ladder, a globe and an arched window."""

import math
from itertools import pairwise
from random import Random

from persam_dreambooth.toyworld.backgrounds.viewfinder import FAR, Viewfinder
from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point, darker, jitter, lighter

BINDINGS: tuple[Colour, ...] = (
    (186, 54, 56),
    (48, 98, 142),
    (58, 128, 92),
    (224, 172, 64),
    (232, 220, 192),
    (128, 70, 122),
    (214, 116, 58),
)


def library(canvas: Canvas, place: Random, view: Random) -> float:
    """Bookshelves to the ceiling with a ladder, a globe and a carpet; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    wood = jitter(place.choice([(116, 72, 44), (98, 58, 42), (132, 88, 54)]), place, 6)
    carpet, books = place.choice([(140, 36, 50), (40, 84, 78), (58, 60, 112)]), Random(place.random())
    glass, sea = (252, 236, 190), place.choice([(86, 150, 190), (100, 170, 160)])
    ladder, at = place.uniform(0.2, 0.32), place.uniform(-0.02, 0.02)
    look.backdrop((darker(wood, 0.35), darker(wood, 0.25)), 0.68, (darker(wood, 0.1), lighter(wood, 0.12)))
    look.polygon([(0.28, 0.69), (0.72, 0.69), (1.0, 1 + FAR), (0.0, 1 + FAR)], lighter(carpet, 0.35))
    look.polygon([(0.31, 0.69), (0.69, 0.69), (0.94, 1 + FAR), (0.06, 1 + FAR)], carpet)
    _arched_window(look, 0.5, glass if view.random() < 0.6 else (190, 222, 240))
    _bookshelf(look, "shelf1", (-0.12, 0.36), wood, books)
    _bookshelf(look, "shelf2", (0.64, 1.12), wood, books)
    _ladder(look, ladder, lighter(wood, 0.35))
    _globe(look, (0.85 + at, 0.88), sea, wood)
    _book_pile(look, (view.uniform(0.13, 0.22), 0.93), view)
    return look.height(0.89)


def _bookshelf(look: Viewfinder, name: str, sides: Point, wood: Colour, books: Random) -> None:
    (x0, x1), rows = sides, (-0.12, 0.08, 0.28, 0.48, 0.68)
    look.part(name)
    look.box((x0, -FAR), (x1, 0.74), wood)
    for top, low in pairwise(rows):
        look.box((x0 + 0.02, top + 0.015), (x1 - 0.02, low), darker(wood, 0.5))
        x = x0 + 0.026
        while x < x1 - 0.07:
            wide, tall, cover = books.uniform(0.034, 0.05), books.uniform(0.12, 0.165), books.choice(BINDINGS)
            look.box((x, low - tall), (x + wide - 0.004, low), cover)
            look.box((x, low - tall * 0.8), (x + wide - 0.004, low - tall * 0.66), lighter(cover, 0.4))
            x += wide
        look.box((x0, low), (x1, low + 0.018), lighter(wood, 0.15))


def _arched_window(look: Viewfinder, x: float, glass: Colour) -> None:
    look.part("window")
    for colour, half, low in (((228, 204, 160), 0.115, 0.47), (glass, 0.09, 0.445)):
        arch = [
            (x + half * math.cos(math.pi * k / 12), 0.2 - half * math.sin(math.pi * k / 12))
            for k in range(13)
        ]
        look.polygon([*arch, (x - half, low), (x + half, low)], colour)
    look.box((x - 0.007, 0.11), (x + 0.007, 0.445), (228, 204, 160))
    look.box((x - 0.09, 0.27), (x + 0.09, 0.284), (228, 204, 160))


def _ladder(look: Viewfinder, x: float, wood: Colour) -> None:
    look.part("ladder")
    for dx in (-0.055, 0.055):
        look.line([(x + dx - 0.09, 0.8), (x + dx, 0.02)], wood, 0.02)
    for k in range(6):
        shift = -0.09 * (0.72 - 0.12 * k) / 0.78
        look.line(
            [(x - 0.055 + shift, 0.74 - 0.12 * k), (x + 0.055 + shift, 0.74 - 0.12 * k)],
            darker(wood, 0.12),
            0.018,
        )


def _globe(look: Viewfinder, foot: Point, sea: Colour, wood: Colour) -> None:
    x, y = foot
    look.part("globe")
    look.box((x - 0.012, y - 0.12), (x + 0.012, y), lighter(wood, 0.2))
    look.ellipse((x, y), (0.065, 0.02), lighter(wood, 0.2))
    look.ellipse((x, y - 0.2), (0.1, 0.1), (226, 184, 92))
    look.ellipse((x, y - 0.2), (0.084, 0.084), sea)
    for dx, dy, rx, ry in (
        (-0.03, -0.03, 0.035, 0.028),
        (0.035, 0.02, 0.026, 0.035),
        (-0.03, 0.04, 0.018, 0.02),
    ):
        look.ellipse((x + dx, y - 0.2 + dy), (rx, ry), (140, 186, 100))


def _book_pile(look: Viewfinder, foot: Point, view: Random) -> None:
    x, y = foot
    look.part("books")
    for k, cover in enumerate(view.sample(BINDINGS, 3)):
        shift, low = view.uniform(-0.012, 0.012), y - 0.04 * k
        look.box((x - 0.085 + shift, low - 0.038), (x + 0.085 + shift, low), cover, radius=0.006)
        look.box((x + 0.05 + shift, low - 0.03), (x + 0.085 + shift, low - 0.009), (250, 242, 222))
