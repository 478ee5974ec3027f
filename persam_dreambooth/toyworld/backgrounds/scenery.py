"""Things that more than one background shows: hills, clouds, the sun, trees, glowing discs and windows."""

import math
from random import Random

from persam_dreambooth.toyworld.backgrounds.viewfinder import FAR, Viewfinder
from persam_dreambooth.toyworld.canvas import Colour, Point, darker, lighter, mix


def ridge(look: Viewfinder, base: float, swing: float, waves: float, phase: float, fill: Colour) -> None:
    """A soft hill line at height `base` that swings by `swing`, filled down to the bottom."""
    xs = [-FAR + (1 + 2 * FAR) * k / 40 for k in range(41)]
    top = [(x, base + swing * math.sin(2 * math.pi * waves * x + phase)) for x in xs]
    look.polygon([*top, (1 + FAR, 1 + FAR), (-FAR, 1 + FAR)], fill)


def glow(look: Viewfinder, centre: Point, radius: float, inner: Colour, outer: Colour) -> None:
    """A soft disc: rings of colours from `outer` at the rim to `inner` in the middle."""
    for ring in range(6):
        r = radius * (1 - ring / 6)
        look.ellipse(centre, (r, r), mix(outer, inner, ((ring + 1) / 6) ** 1.5))


def sun(look: Viewfinder, centre: Point, radius: float, colour: Colour) -> None:
    """A sun with a lighter heart, as the part "sun"."""
    look.part("sun")
    look.ellipse(centre, (radius, radius), colour)
    look.ellipse(centre, (radius * 0.72, radius * 0.72), lighter(colour, 0.4))


def cloud(look: Viewfinder, name: str, centre: Point, size: float, colour: Colour = (255, 255, 255)) -> None:
    """A heaped cloud with a flat base, as a part of its own."""
    (x, y), under = centre, darker(colour, 0.1)
    look.part(name)
    look.box((x - size, y - size * 0.1), (x + size, y + size * 0.34), under, radius=size * 0.2)
    for dx, dy, r in ((-0.55, 0.0, 0.36), (0.55, 0.02, 0.34), (0.0, -0.14, 0.5)):
        look.ellipse((x + dx * size, y + dy * size), (r * size * 1.1, r * size * 0.85), colour)
    look.box((x - size * 0.9, y - size * 0.05), (x + size * 0.9, y + size * 0.2), colour, radius=size * 0.12)


def clouds(look: Viewfinder, view: Random, y: float, colour: Colour = (255, 255, 255)) -> None:
    """One cloud on either side around height `y`, as parts "cloud1" and "cloud2"."""
    cloud(
        look,
        "cloud1",
        (view.uniform(0.1, 0.4), y + view.uniform(-0.05, 0.04)),
        view.uniform(0.09, 0.14),
        colour,
    )
    cloud(
        look,
        "cloud2",
        (view.uniform(0.62, 0.92), y + view.uniform(-0.04, 0.06)),
        view.uniform(0.08, 0.12),
        colour,
    )


def fir(
    look: Viewfinder, name: str, foot: Point, height: float, green: Colour, snow: Colour | None = None
) -> None:
    """A fir tree of three tiers standing at `foot`, with snow on its branches if a colour for it is given."""
    (x, y), wide = foot, height * 0.3
    look.part(name)
    look.box((x - height * 0.05, y - height * 0.2), (x + height * 0.05, y), (104, 74, 54))
    for tier in range(3):
        low, half = y - height * (0.13 + 0.25 * tier), wide * (1 - 0.24 * tier)
        top = low - height * 0.42
        look.polygon(
            [(x - half, low), (x, top), (x + half, low), (x, low + height * 0.05)],
            lighter(green, 0.08 * tier),
        )
        look.polygon([(x, top), (x + half, low), (x, low + height * 0.05)], darker(green, 0.16 - 0.04 * tier))
        if snow:
            edge = [
                (x - half * 0.5, top + height * 0.22),
                (x - half * 0.15, top + height * 0.15),
                (x + half * 0.1, top + height * 0.24),
            ]
            look.polygon([(x, top), *edge, (x + half * 0.5, top + height * 0.2)], snow)


def leafy_tree(
    look: Viewfinder, name: str, foot: Point, height: float, green: Colour, fruit: Colour | None = None
) -> None:
    """A round tree standing at `foot`, with fruit if a colour for it is given."""
    (x, y), r = foot, height * 0.3
    look.part(name)
    look.polygon(
        [
            (x - r * 0.24, y),
            (x - r * 0.14, y - height * 0.6),
            (x + r * 0.14, y - height * 0.6),
            (x + r * 0.24, y),
        ],
        (120, 84, 58),
    )
    crown = y - height * 0.62
    for dx, dy, k in ((-0.6, 0.25, 0.7), (0.6, 0.25, 0.7), (0.0, -0.25, 0.95)):
        look.ellipse((x + dx * r, crown + dy * r), (r * k, r * k), darker(green, 0.12))
    for dx, dy, k in ((-0.55, 0.1, 0.55), (0.45, 0.05, 0.55), (-0.08, -0.4, 0.72)):
        look.ellipse((x + dx * r, crown + dy * r), (r * k, r * k), green)
    look.ellipse((x - r * 0.3, crown - r * 0.6), (r * 0.34, r * 0.26), lighter(green, 0.22))
    for dx, dy in ((-0.7, 0.3), (0.1, -0.1), (0.65, 0.1), (-0.2, 0.5)) if fruit else ():
        look.ellipse((x + dx * r, crown + dy * r), (r * 0.15, r * 0.15), fruit)


def window(
    look: Viewfinder, left_top: Point, right_bottom: Point, frame: Colour, glass: tuple[Colour, Colour]
) -> None:
    """A window with a cross of bars, on the current part; `glass` is its colour (above, below)."""
    (x0, y0), (x1, y1) = left_top, right_bottom
    bar = 0.016
    look.box((x0 - bar, y0 - bar), (x1 + bar, y1 + bar), frame)
    look.box((x0, y0), (x1, y1), glass[0])
    look.box((x0, y0 + (y1 - y0) * 0.62), (x1, y1), glass[1])
    middle, half = ((x0 + x1) / 2, (y0 + y1) / 2), bar / 2
    look.box((middle[0] - half, y0), (middle[0] + half, y1), frame)
    look.box((x0, middle[1] - half), (x1, middle[1] + half), frame)
