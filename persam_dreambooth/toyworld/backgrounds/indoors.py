"""Rooms at home: living room and kitchen."""

from itertools import pairwise
from random import Random

from persam_dreambooth.toyworld.backgrounds.scenery import window
from persam_dreambooth.toyworld.backgrounds.viewfinder import FAR, Viewfinder
from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point, darker, jitter, lighter, mix

WALLPAPERS: tuple[Colour, ...] = (
    (244, 214, 200),
    (206, 226, 210),
    (240, 226, 176),
    (222, 208, 232),
    (198, 220, 234),
)
UPHOLSTERY: tuple[Colour, ...] = (
    (196, 74, 82),
    (54, 124, 136),
    (226, 150, 54),
    (98, 92, 164),
    (106, 146, 84),
    (214, 114, 150),
)
OUTSIDE: tuple[tuple[Colour, Colour], ...] = (
    ((150, 212, 248), (150, 204, 120)),
    ((196, 224, 240), (170, 200, 150)),
    ((252, 206, 150), (150, 160, 110)),
)


def room(canvas: Canvas, place: Random, view: Random) -> float:
    """A living room with a sofa, a lamp, a picture, a window, a plant and a rug; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    wall, paper = jitter(place.choice(WALLPAPERS), place, 6), place.choice(["stripes", "dots", "plain"])
    floor, sofa = (
        jitter(place.choice([(190, 134, 86), (164, 106, 70), (210, 164, 114)]), place, 6),
        place.choice(UPHOLSTERY),
    )
    rug = place.choice([c for c in UPHOLSTERY if c != sofa])
    shade, motif = place.choice([(250, 232, 180), (246, 190, 170), (190, 224, 214)]), place.randrange(3)
    at = [place.uniform(-0.03, 0.03) for _ in range(4)]
    look.backdrop((wall, wall), 0.62, (darker(floor, 0.08), lighter(floor, 0.12)))
    _wallpaper(look, paper, darker(wall, 0.07))
    _floorboards(look, darker(floor, 0.16))
    look.box((-FAR, 0.59), (1 + FAR, 0.625), (252, 246, 238))
    look.part("rug")
    look.ellipse((0.52, 0.88), (0.42, 0.1), rug)
    look.ellipse((0.52, 0.88), (0.35, 0.076), lighter(rug, 0.5))
    look.ellipse((0.52, 0.88), (0.3, 0.062), rug)
    look.part("window")
    _curtained_window(look, (0.76 + at[0], 0.12), view.choice(OUTSIDE), sofa)
    _picture(look, (0.26 + at[1], 0.2 + at[2]), motif)
    _sofa(look, (0.26 + at[3], 0.72), sofa, lighter(rug, 0.2))
    _plant(look, (0.74 + at[1], 0.7), place.choice([(214, 112, 74), (238, 232, 220), (78, 110, 150)]))
    _lamp(look, (0.93 + at[2] * 0.6, 0.78), shade)
    return look.height(0.89)


def kitchen(canvas: Canvas, place: Random, view: Random) -> float:
    """A kitchen with a counter, a stove, a fridge and a tiled floor; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    front = jitter(
        place.choice([(112, 186, 176), (120, 170, 214), (240, 200, 110), (236, 150, 140)]), place, 6
    )
    tile, dark = (244, 246, 244), place.choice([(92, 112, 124), (150, 84, 76), (74, 118, 108)])
    fridge, pot = (
        place.choice([(238, 244, 246), (240, 112, 100), (150, 214, 204), (250, 222, 130)]),
        place.choice(UPHOLSTERY),
    )
    at = [place.uniform(-0.025, 0.025) for _ in range(3)]
    look.backdrop((tile, tile), 0.68, (tile, tile))
    for k in range(-4, 14):
        look.box((-0.01 + 0.1 * k, -FAR), (0.1 * k, 0.68), (214, 222, 222))
        look.box(
            (-FAR, 0.1 * k - 0.01 if k < 7 else 0.6), (1 + FAR, 0.1 * k if k < 7 else 0.61), (214, 222, 222)
        )
    _checkered_floor(look, 0.68, dark)
    look.part("window")
    window(look, (0.44 + at[0], 0.14), (0.64 + at[0], 0.36), (252, 252, 248), view.choice(OUTSIDE))
    look.box((0.41 + at[0], 0.1), (0.67 + at[0], 0.18), mix(pot, (255, 255, 255), 0.3), radius=0.02)
    _cupboard(look, (0.03, 0.06), front)
    _counter(look, front)
    _stove(look, (0.24 + at[1], 0.7))
    _pot(look, (0.24 + at[1] + view.uniform(-0.03, 0.03), 0.475), pot)
    _fruit_bowl(look, (view.uniform(0.48, 0.62), 0.475), view)
    _fridge(look, (0.87 + at[2], 0.74), fridge)
    return look.height(0.89)


def _wallpaper(look: Viewfinder, kind: str, ink: Colour) -> None:
    for column in range(-3, 14) if kind != "plain" else ():
        x = 0.1 * column
        if kind == "stripes":
            look.box((x, -FAR), (x + 0.045, 0.62), ink)
            continue
        for row in range(-2, 6):
            look.ellipse((x + 0.05 * (row % 2), 0.11 * row + 0.04), (0.017, 0.017), ink)


def _floorboards(look: Viewfinder, ink: Colour) -> None:
    for y in (0.68, 0.755, 0.85, 0.97):
        look.box((-FAR, y), (1 + FAR, y + 0.007), ink)


def _curtained_window(
    look: Viewfinder, left_top: Point, outside: tuple[Colour, Colour], curtain: Colour
) -> None:
    (x, y), cloth = left_top, lighter(curtain, 0.35)
    window(look, (x - 0.12, y), (x + 0.12, y + 0.28), (252, 248, 240), outside)
    for side in (-1, 1):
        edge = x + side * 0.165
        look.polygon(
            [
                (edge, y - 0.03),
                (x + side * 0.05, y - 0.03),
                (x + side * 0.11, y + 0.18),
                (x + side * 0.1, y + 0.34),
                (edge, y + 0.34),
            ],
            cloth,
        )
    look.box((x - 0.19, y - 0.045), (x + 0.19, y - 0.022), (128, 88, 62), radius=0.01)


def _picture(look: Viewfinder, centre: Point, motif: int) -> None:
    x, y = centre
    look.part("picture")
    look.box((x - 0.12, y - 0.09), (x + 0.12, y + 0.09), (206, 158, 76))
    look.box(
        (x - 0.1, y - 0.07), (x + 0.1, y + 0.07), [(196, 226, 244), (252, 222, 190), (250, 244, 228)][motif]
    )
    if motif == 0:
        look.polygon([(x - 0.1, y + 0.07), (x - 0.04, y - 0.02), (x + 0.02, y + 0.07)], (84, 130, 116))
        look.polygon([(x - 0.04, y + 0.07), (x + 0.04, y - 0.04), (x + 0.1, y + 0.07)], (112, 160, 130))
    elif motif == 1:
        look.ellipse((x, y), (0.038, 0.038), (240, 110, 80))
        look.box((x - 0.1, y + 0.02), (x + 0.1, y + 0.07), (70, 120, 160))
    else:
        for dx, colour in ((-0.05, (224, 90, 110)), (0.0, (246, 190, 70)), (0.05, (90, 130, 200))):
            look.line([(x + dx, y + 0.06), (x + dx, y - 0.01)], (90, 150, 90), 0.01)
            look.ellipse((x + dx, y - 0.02), (0.024, 0.024), colour)


def _sofa(look: Viewfinder, foot: Point, cloth: Colour, cushion: Colour) -> None:
    x, y = foot
    look.part("sofa")
    for dx in (-0.22, 0.22):
        look.box((x + dx - 0.015, y - 0.04), (x + dx + 0.015, y + 0.015), (94, 64, 46))
    look.box((x - 0.24, y - 0.28), (x + 0.24, y - 0.06), darker(cloth, 0.1), radius=0.05)
    look.box((x - 0.2, y - 0.25), (x - 0.005, y - 0.1), cloth, radius=0.03)
    look.box((x + 0.005, y - 0.25), (x + 0.2, y - 0.1), cloth, radius=0.03)
    look.polygon(
        [(x - 0.17, y - 0.1), (x - 0.19, y - 0.19), (x - 0.1, y - 0.21), (x - 0.08, y - 0.11)], cushion
    )
    look.box((x - 0.22, y - 0.135), (x + 0.22, y - 0.015), lighter(cloth, 0.12), radius=0.02)
    look.box((x - 0.22, y - 0.065), (x + 0.22, y - 0.015), darker(cloth, 0.14), radius=0.01)
    for dx in (-0.25, 0.25):
        look.box((x + dx - 0.04, y - 0.19), (x + dx + 0.04, y - 0.01), lighter(cloth, 0.04), radius=0.035)
    look.shade(0.2, 80)


def _plant(look: Viewfinder, foot: Point, pot: Colour) -> None:
    x, y = foot
    look.part("plant")
    for dx, dy, green in (
        (-0.09, 0.2, (62, 132, 76)),
        (0.09, 0.2, (62, 132, 76)),
        (-0.05, 0.27, (84, 158, 86)),
        (0.05, 0.27, (84, 158, 86)),
        (0.0, 0.29, (110, 182, 98)),
    ):
        look.polygon(
            [
                (x, y - 0.08),
                (x + dx * 0.5 - 0.03, y - dy * 0.7),
                (x + dx, y - dy),
                (x + dx * 0.5 + 0.03, y - dy * 0.65),
            ],
            green,
        )
    look.polygon([(x - 0.055, y - 0.1), (x + 0.055, y - 0.1), (x + 0.04, y), (x - 0.04, y)], pot)
    look.box((x - 0.062, y - 0.115), (x + 0.062, y - 0.085), lighter(pot, 0.15), radius=0.008)


def _lamp(look: Viewfinder, foot: Point, shade: Colour) -> None:
    x, y = foot
    look.part("lamp")
    look.box((x - 0.01, y - 0.4), (x + 0.01, y), (84, 66, 58))
    look.ellipse((x, y), (0.06, 0.018), (84, 66, 58))
    look.polygon(
        [(x - 0.05, y - 0.5), (x + 0.05, y - 0.5), (x + 0.09, y - 0.36), (x - 0.09, y - 0.36)], shade
    )
    look.polygon(
        [(x - 0.02, y - 0.5), (x + 0.02, y - 0.5), (x + 0.035, y - 0.36), (x - 0.035, y - 0.36)],
        lighter(shade, 0.6),
    )


def _checkered_floor(look: Viewfinder, top: float, dark: Colour) -> None:
    rows = (top, top + 0.06, top + 0.145, top + 0.27, top + 0.45, top + 0.7)
    for k, (y0, y1) in enumerate(pairwise(rows)):
        for column in range(-9, 9):
            if (column + k) % 2:
                continue
            near, far = (0.1 + 0.42 * (y1 - top)), (0.1 + 0.42 * (y0 - top))
            corners = [
                (column * far, y0),
                ((column + 1) * far, y0),
                ((column + 1) * near, y1),
                (column * near, y1),
            ]
            look.polygon([(0.5 + x, y) for x, y in corners], dark)


def _cupboard(look: Viewfinder, left_top: Point, front: Colour) -> None:
    x, y = left_top
    look.part("cupboard")
    look.box((x - 0.02, y - 0.02), (x + 0.34, y + 0.24), darker(front, 0.2))
    for k in range(2):
        left = x + 0.165 * k
        look.box((left, y), (left + 0.15, y + 0.22), lighter(front, 0.15), radius=0.01)
        look.ellipse((left + (0.125 if k == 0 else 0.025), y + 0.16), (0.012, 0.012), (250, 244, 220))


def _counter(look: Viewfinder, front: Colour) -> None:
    look.part("counter")
    look.box((-FAR, 0.5), (0.76, 0.7), front)
    for k in range(-2, 4):
        left = -0.06 + 0.2 * k
        look.box((left, 0.53), (left + 0.17, 0.68), lighter(front, 0.18), radius=0.01)
        look.box((left + 0.06, 0.55), (left + 0.11, 0.565), darker(front, 0.45))
    look.box((-FAR, 0.47), (0.78, 0.51), (214, 164, 110))
    look.box((-FAR, 0.69), (0.76, 0.715), darker(front, 0.5))


def _stove(look: Viewfinder, foot: Point) -> None:
    x, y = foot
    look.part("stove")
    look.box((x - 0.12, y - 0.235), (x + 0.12, y + 0.01), (92, 98, 108), radius=0.01)
    look.box((x - 0.125, y - 0.24), (x + 0.125, y - 0.21), (46, 50, 58))
    look.box((x - 0.09, y - 0.14), (x + 0.09, y - 0.02), (40, 42, 50), radius=0.015)
    look.box((x - 0.075, y - 0.125), (x + 0.075, y - 0.035), (250, 158, 70), radius=0.01)
    for dx in (-0.07, 0.0, 0.07):
        look.ellipse((x + dx, y - 0.175), (0.016, 0.016), (234, 236, 238))


def _pot(look: Viewfinder, foot: Point, colour: Colour) -> None:
    x, y = foot
    look.part("pot")
    look.box((x - 0.1, y - 0.07), (x + 0.1, y - 0.05), darker(colour, 0.4), radius=0.01)
    look.box((x - 0.075, y - 0.095), (x + 0.075, y), colour, radius=0.015)
    look.box((x - 0.085, y - 0.115), (x + 0.085, y - 0.09), lighter(colour, 0.2), radius=0.01)
    look.ellipse((x, y - 0.125), (0.018, 0.016), (50, 50, 56))


def _fruit_bowl(look: Viewfinder, foot: Point, view: Random) -> None:
    x, y = foot
    look.part("bowl")
    for dx, dy in ((-0.05, 0.07), (0.045, 0.07), (0.0, 0.09)):
        look.ellipse(
            (x + dx, y - dy),
            (0.035, 0.035),
            view.choice([(226, 60, 56), (250, 160, 50), (140, 196, 70), (250, 214, 80)]),
        )
    look.polygon([(x - 0.1, y - 0.07), (x + 0.1, y - 0.07), (x + 0.055, y), (x - 0.055, y)], (74, 112, 172))


def _fridge(look: Viewfinder, foot: Point, colour: Colour) -> None:
    x, y = foot
    look.part("fridge")
    look.box((x - 0.13, y - 0.6), (x + 0.13, y), darker(colour, 0.3), radius=0.035)
    look.box((x - 0.13, y - 0.6), (x + 0.11, y - 0.015), colour, radius=0.035)
    look.box((x - 0.13, y - 0.41), (x + 0.11, y - 0.4), darker(colour, 0.35))
    for y0, y1 in ((0.5, 0.43), (0.37, 0.24)):
        look.box((x - 0.1, y - y0), (x - 0.082, y - y1), darker(colour, 0.5), radius=0.008)
