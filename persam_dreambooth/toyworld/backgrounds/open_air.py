"""Open country: beach, snow, desert and meadow."""

import math
from random import Random

from persam_dreambooth.toyworld.backgrounds.scenery import clouds, fir, leafy_tree, ridge, sun
from persam_dreambooth.toyworld.backgrounds.viewfinder import Viewfinder
from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point, darker, jitter, lighter, mix


def beach(canvas: Canvas, place: Random, view: Random) -> float:
    """Sand, sea and sky with a palm, an umbrella, a boat and a ball; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [
            ((86, 182, 240), (208, 240, 250)),
            ((110, 160, 236), (255, 226, 206)),
            ((84, 206, 232), (236, 248, 226)),
        ]
    )
    sea = jitter(place.choice([(22, 168, 190), (32, 136, 204), (40, 188, 176)]), place)
    sand, umbrella, sail = jitter((246, 220, 160), place, 8), _bright(place), _bright(place)
    palm, parasol = (place.uniform(0.08, 0.16), 0.8), (place.uniform(0.82, 0.9), 0.8)
    look.backdrop(sky, 0.47, (sea, lighter(sea, 0.35)))
    for row in range(3):
        _wave_line(look, 0.5 + 0.035 * row, view.uniform(0, 6), lighter(sea, 0.3))
    phase = view.uniform(0, 6)
    ridge(look, 0.625, 0.012, 1.4, phase, (240, 252, 252))
    ridge(look, 0.645, 0.012, 1.4, phase, darker(sand, 0.12))
    ridge(look, 0.68, 0.012, 1.4, phase + 0.3, sand)
    ridge(look, 0.93, 0.015, 1.1, 1.0, lighter(sand, 0.25))
    sun(look, (view.uniform(0.52, 0.64), view.uniform(0.1, 0.16)), 0.065, (255, 214, 84))
    clouds(look, view, 0.2)
    _boat(look, (view.uniform(0.56, 0.74), 0.5), sail)
    _palm(look, palm)
    _parasol(look, parasol, umbrella)
    _ball(look, (view.uniform(0.18, 0.28), view.uniform(0.88, 0.93)), _bright(view))
    return look.height(0.87)


def snow(canvas: Canvas, place: Random, view: Random) -> float:
    """White hills with snowy firs, a cabin and a snowman; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [
            ((150, 184, 226), (226, 236, 250)),
            ((176, 176, 224), (246, 226, 238)),
            ((134, 194, 216), (230, 246, 248)),
        ]
    )
    green, scarf, wall = jitter((44, 110, 96), place), _bright(place), jitter((150, 92, 62), place)
    at = [place.uniform(-0.04, 0.04) for _ in range(4)]
    look.backdrop(sky, 0.6, ((222, 232, 248), (250, 252, 255)))
    ridge(look, 0.5 + at[0], 0.05, 0.9, at[1] * 60, mix(sky[1], (196, 212, 240), 0.7))
    ridge(look, 0.6, 0.035, 1.0, at[2] * 60, (226, 235, 250))
    ridge(look, 0.76, 0.02, 0.8, at[3] * 60, (248, 250, 255))
    for _ in range(16):
        look.ellipse((view.random(), view.uniform(0, 0.5)), (0.009, 0.009), (255, 255, 255))
    _cabin(look, (0.72 + at[0], 0.62), wall)
    fir(look, "tree1", (0.34 + at[1], 0.62), 0.3, green, (250, 252, 255))
    fir(look, "tree2", (0.95 + at[3], 0.74), 0.52, green, (250, 252, 255))
    fir(look, "tree3", (0.12 + at[2], 0.68), 0.46, green, (250, 252, 255))
    _snowman(look, (0.16 + at[0], 0.92), scarf)
    return look.height(0.88)


def desert(canvas: Canvas, place: Random, view: Random) -> float:
    """Dunes under a hot sky with cacti, a pyramid or a table mountain, and rocks; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [
            ((244, 140, 70), (255, 216, 150)),
            ((238, 112, 96), (255, 200, 140)),
            ((250, 176, 84), (255, 232, 180)),
        ]
    )
    dune, green = jitter((226, 142, 70), place), jitter((70, 136, 76), place)
    kind, spots = place.random(), [place.uniform(-0.04, 0.04) for _ in range(4)]
    look.backdrop(sky, 0.55, (dune, lighter(dune, 0.2)))
    sun(look, (view.uniform(0.3, 0.5), view.uniform(0.14, 0.24)), 0.085, (255, 240, 170))
    (_pyramid if kind < 0.5 else _mesa)(look, (0.7 + spots[0], 0.6), place)
    look.part("dune")
    ridge(look, 0.6, 0.03, 0.9, spots[1] * 60, darker(dune, 0.12))
    ridge(look, 0.7, 0.03, 0.8, spots[2] * 60, dune)
    ridge(look, 0.82, 0.02, 0.7, spots[3] * 60, lighter(dune, 0.2))
    _cactus(look, "cactus1", (0.12 + spots[1], 0.78), 0.46, green)
    _cactus(look, "cactus2", (0.9 + spots[2], 0.74), 0.3, green)
    _rock(look, "rock", (view.uniform(0.78, 0.92), 0.92), (150, 92, 70))
    return look.height(0.87)


def meadow(canvas: Canvas, place: Random, view: Random) -> float:
    """Green hills with a tree, a rainbow on some days, and big flowers; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [
            ((96, 178, 246), (214, 240, 255)),
            ((120, 196, 250), (250, 244, 220)),
            ((110, 160, 240), (226, 226, 252)),
        ]
    )
    green, petals = jitter((112, 192, 70), place), [_bright(place) for _ in range(2)]
    fruit, rainbow, spots = (
        place.choice([None, (228, 60, 56), (250, 190, 60)]),
        place.random() < 0.5,
        [place.uniform(-0.04, 0.04) for _ in range(4)],
    )
    look.backdrop(sky, 0.62, (green, green))
    if rainbow:
        _rainbow(look, (0.5 + spots[0] * 3, 0.66), 0.46)
    clouds(look, view, 0.16)
    look.part("hill")
    ridge(look, 0.53, 0.05, 0.8, spots[1] * 60, mix(green, sky[1], 0.35))
    ridge(look, 0.6, 0.04, 0.9, spots[2] * 60, mix(green, (240, 236, 90), 0.22))
    look.part("grass")
    ridge(look, 0.7, 0.02, 0.7, spots[3] * 60, green)
    ridge(look, 0.84, 0.02, 0.9, spots[0] * 60, lighter(green, 0.14))
    leafy_tree(look, "tree", (0.14 + spots[1], 0.74), 0.46, mix(green, (30, 120, 50), 0.6), fruit)
    _flowers(look, "flower1", (view.uniform(0.1, 0.2), 0.93), petals[0])
    _flowers(look, "flower2", (view.uniform(0.8, 0.9), 0.9), petals[1])
    _flowers(look, "flower3", (view.uniform(0.82, 0.95), 0.76), petals[0], 0.7)
    return look.height(0.87)


def _bright(rng: Random) -> Colour:
    return rng.choice(
        [(232, 72, 72), (250, 178, 54), (74, 124, 226), (226, 104, 186), (246, 226, 80), (150, 92, 208)]
    )


def _wave_line(look: Viewfinder, y: float, phase: float, colour: Colour) -> None:
    for k in range(4):
        x = (phase / 6 + 0.31 * k) % 1.3 - 0.15
        look.line([(x, y), (x + 0.1, y)], colour, 0.01)


def _boat(look: Viewfinder, foot: Point, sail: Colour) -> None:
    x, y = foot
    look.part("boat")
    look.line([(x, y), (x, y - 0.17)], (110, 78, 58), 0.01)
    look.polygon([(x + 0.012, y - 0.165), (x + 0.012, y - 0.03), (x + 0.09, y - 0.03)], sail)
    look.polygon([(x - 0.012, y - 0.14), (x - 0.012, y - 0.03), (x - 0.06, y - 0.03)], (252, 250, 244))
    look.polygon(
        [(x - 0.085, y - 0.02), (x + 0.1, y - 0.02), (x + 0.07, y + 0.025), (x - 0.06, y + 0.025)],
        (176, 92, 58),
    )


def _palm(look: Viewfinder, foot: Point) -> None:
    x, y = foot
    look.part("palm")
    trunk = [(x + 0.09 * (k / 8) ** 2, y - 0.46 * k / 8) for k in range(9)]
    look.line(trunk, (158, 112, 72), 0.035)
    top = trunk[-1]
    for end, drop in ((-0.2, 0.06), (0.2, 0.06), (-0.15, -0.08), (0.15, -0.08), (-0.12, 0.17), (0.12, 0.17)):
        tip, bend = (top[0] + end, top[1] + drop), (top[0] + end * 0.5, top[1] + drop * 0.5 - 0.07)
        look.polygon(
            [top, (bend[0], bend[1] - 0.01), tip, (bend[0], bend[1] + 0.045)],
            (52, 152, 74) if drop > 0 else (86, 182, 84),
        )
    for dx in (-0.02, 0.022):
        look.ellipse((top[0] + dx, top[1] + 0.025), (0.02, 0.02), (122, 78, 46))


def _parasol(look: Viewfinder, foot: Point, colour: Colour) -> None:
    x, y = foot[0] - 0.03, foot[1] - 0.22
    look.part("umbrella")
    look.line([foot, (x, y - 0.13)], (250, 244, 230), 0.014)
    quarter = [math.radians(90 - 15 * k) for k in range(7)]
    for k in range(5):
        seams = []
        for reach in (-0.18 + 0.072 * k, -0.108 + 0.072 * k):
            seams.append([(x + reach * math.cos(a), y - 0.14 * math.sin(a)) for a in quarter])
        middle = ((seams[0][-1][0] + seams[1][-1][0]) / 2, y - 0.016)
        look.polygon([*seams[0], middle, *reversed(seams[1])], (252, 248, 240) if k % 2 else colour)
    look.ellipse((x, y - 0.145), (0.012, 0.012), colour)


def _ball(look: Viewfinder, centre: Point, colour: Colour) -> None:
    look.part("ball")
    look.ellipse(centre, (0.048, 0.048), (252, 250, 244))
    look.ellipse(centre, (0.024, 0.048), colour)
    look.shade(0.25)


def _cabin(look: Viewfinder, foot: Point, wall: Colour) -> None:
    x, y = foot
    look.part("cabin")
    look.box((x + 0.05, y - 0.26), (x + 0.085, y - 0.14), (146, 100, 88))
    look.box((x - 0.11, y - 0.13), (x + 0.11, y), wall)
    look.polygon([(x - 0.15, y - 0.12), (x, y - 0.25), (x + 0.15, y - 0.12)], (250, 252, 255))
    look.polygon([(x - 0.09, y - 0.125), (x, y - 0.2), (x + 0.09, y - 0.125)], darker(wall, 0.15))
    look.box((x - 0.08, y - 0.1), (x - 0.02, y - 0.045), (255, 222, 110))
    look.box((x + 0.03, y - 0.095), (x + 0.08, y), darker(wall, 0.45))


def _snowman(look: Viewfinder, foot: Point, scarf: Colour) -> None:
    x, y = foot
    look.part("snowman")
    for dy, r in ((0.08, 0.085), (0.2, 0.062)):
        look.ellipse((x, y - dy), (r, r), (206, 218, 238))
        look.ellipse((x - r * 0.1, y - dy - r * 0.08), (r * 0.88, r * 0.88), (250, 252, 255))
    look.line([(x - 0.05, y - 0.15), (x + 0.05, y - 0.15)], scarf, 0.026)
    look.line([(x + 0.03, y - 0.15), (x + 0.04, y - 0.09)], scarf, 0.022)
    for dx in (-0.022, 0.022):
        look.ellipse((x + dx, y - 0.215), (0.009, 0.009), (40, 44, 56))
    look.polygon([(x - 0.004, y - 0.205), (x + 0.05, y - 0.19), (x - 0.004, y - 0.185)], (244, 136, 48))
    look.box((x - 0.06, y - 0.265), (x + 0.06, y - 0.248), (54, 56, 72))
    look.box((x - 0.04, y - 0.325), (x + 0.04, y - 0.255), (54, 56, 72))


def _pyramid(look: Viewfinder, foot: Point, place: Random) -> None:
    (x, y), half = foot, place.uniform(0.2, 0.26)
    look.part("pyramid")
    look.polygon([(x - half, y + 0.06), (x, y - half * 1.15), (x + half, y + 0.06)], (240, 186, 110))
    look.polygon([(x, y - half * 1.15), (x + half, y + 0.06), (x + half * 0.25, y + 0.06)], (186, 118, 72))


def _mesa(look: Viewfinder, foot: Point, place: Random) -> None:
    (x, y), half = foot, place.uniform(0.17, 0.23)
    look.part("mesa")
    look.polygon(
        [(x - half, y + 0.06), (x - half * 0.66, y - 0.2), (x + half * 0.6, y - 0.2), (x + half, y + 0.06)],
        (196, 86, 58),
    )
    for k in range(2):
        wide = half * (0.72 + 0.12 * k)
        look.box((x - wide, y - 0.15 + 0.08 * k), (x + wide * 0.94, y - 0.125 + 0.08 * k), (222, 120, 78))
    look.shade(0.35, 15)


def _cactus(look: Viewfinder, name: str, foot: Point, height: float, green: Colour) -> None:
    (x, y), thick = foot, height * 0.2
    look.part(name)
    for side, low in ((-1, 0.36), (1, 0.5)):
        elbow = (x + side * height * 0.26, y - height * low)
        look.line(
            [(x, y - height * low), elbow, (elbow[0], elbow[1] - height * 0.24)],
            darker(green, 0.1),
            thick * 0.62,
        )
    look.line([(x, y - thick * 0.3), (x, y - height + thick / 2)], green, thick)
    look.line(
        [(x - thick * 0.2, y - height * 0.12), (x - thick * 0.2, y - height * 0.82)],
        lighter(green, 0.28),
        thick * 0.14,
    )
    look.ellipse((x, y - height), (thick * 0.34, thick * 0.24), (240, 96, 140))


def _rock(look: Viewfinder, name: str, foot: Point, colour: Colour) -> None:
    x, y = foot
    look.part(name)
    look.polygon(
        [(x - 0.08, y), (x - 0.06, y - 0.06), (x, y - 0.085), (x + 0.06, y - 0.05), (x + 0.085, y)], colour
    )
    look.polygon(
        [(x - 0.06, y - 0.06), (x, y - 0.085), (x + 0.015, y - 0.045), (x - 0.04, y - 0.03)],
        lighter(colour, 0.25),
    )


def _rainbow(look: Viewfinder, centre: Point, radius: float) -> None:
    look.part("rainbow")
    for k, colour in enumerate(
        [(240, 110, 110), (250, 180, 100), (250, 236, 130), (140, 212, 140), (130, 176, 240), (180, 150, 226)]
    ):
        look.arc(centre, (radius - 0.02 * k, radius - 0.02 * k), 180, 360, colour, 0.023)


def _flowers(look: Viewfinder, name: str, foot: Point, petals: Colour, size: float = 1.0) -> None:
    x, y = foot
    look.part(name)
    for dx, tall in ((-0.055, 0.1), (0.0, 0.14), (0.055, 0.09)):
        head = (x + dx * size, y - tall * size)
        look.line([(x + dx * size * 0.5, y), head], (52, 132, 58), 0.012 * size)
        for k in range(5):
            angle = 2 * math.pi * k / 5 - 0.3
            look.ellipse(
                (head[0] + 0.022 * size * math.cos(angle), head[1] + 0.022 * size * math.sin(angle)),
                (0.017 * size, 0.017 * size),
                petals,
            )
        look.ellipse(head, (0.014 * size, 0.014 * size), (255, 244, 190))
