"""Woods, heights and fields: forest, mountains and farm."""

from random import Random

from persam_dreambooth.toyworld.backgrounds.scenery import cloud, clouds, fir, leafy_tree, ridge, sun
from persam_dreambooth.toyworld.backgrounds.viewfinder import FAR, Viewfinder
from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point, darker, jitter, lighter, mix


def forest(canvas: Canvas, place: Random, view: Random) -> float:
    """Big trunks under a closed roof of leaves, with a bush, mushrooms and a log; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    leaf = jitter(place.choice([(46, 112, 56), (36, 104, 74), (72, 112, 44)]), place, 8)
    bark, cap = jitter((104, 72, 50), place), place.choice([(220, 60, 50), (232, 130, 48), (196, 88, 150)])
    at = [place.uniform(-0.035, 0.035) for _ in range(6)]
    light = mix((206, 230, 130), leaf, 0.35)
    look.backdrop((mix(leaf, light, 0.5), light), 0.62, (darker(leaf, 0.1), lighter(leaf, 0.12)))
    for k in range(6):
        x = 0.02 + 0.19 * k + at[k]
        look.box((x - 0.02, -FAR), (x + 0.02, 0.64), mix(light, darker(leaf, 0.2), 0.45))
    slant = view.uniform(-0.1, 0.1)
    for x in (0.34, 0.56):
        look.polygon(
            [(x, -FAR), (x + 0.08, -FAR), (x + 0.14 + slant, 0.66), (x - 0.02 + slant, 0.66)],
            mix(light, (255, 250, 200), 0.45),
        )
    ridge(look, 0.64, 0.015, 1.3, at[0] * 60, leaf)
    ridge(look, 0.78, 0.02, 0.8, at[1] * 60, lighter(leaf, 0.14))
    look.polygon([(0.47, 0.65), (0.53, 0.65), (0.86, 1 + FAR), (0.14, 1 + FAR)], (190, 160, 108))
    _trunk(look, "tree1", (0.28 + at[2], 0.7), 0.085, mix(bark, leaf, 0.25), darker(leaf, 0.08))
    _trunk(look, "tree2", (0.76 + at[3], 0.7), 0.09, mix(bark, leaf, 0.25), lighter(leaf, 0.06))
    _trunk(look, "tree3", (0.05 + at[4], 0.8), 0.14, bark, darker(leaf, 0.25))
    _trunk(look, "tree4", (0.97 + at[5], 0.8), 0.14, bark, darker(leaf, 0.3))
    _bush(look, (0.84 + at[1], 0.86), mix(leaf, (120, 176, 70), 0.5))
    _mushrooms(look, (view.uniform(0.13, 0.22), 0.92), cap)
    return look.height(0.87)


def mountains(canvas: Canvas, place: Random, view: Random) -> float:
    """Peaks with snow caps behind a lake, with firs and a tent; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [
            ((98, 140, 214), (216, 226, 250)),
            ((128, 128, 204), (252, 210, 200)),
            ((90, 166, 214), (232, 240, 232)),
        ]
    )
    stone = jitter(place.choice([(112, 112, 146), (124, 116, 132), (96, 118, 144)]), place, 8)
    grass, tent = (
        jitter((128, 148, 96), place, 8),
        place.choice([(240, 140, 50), (226, 80, 74), (250, 200, 70)]),
    )
    at = [place.uniform(-0.045, 0.045) for _ in range(6)]
    look.backdrop(sky, 0.6, (grass, lighter(grass, 0.15)))
    clouds(look, view, 0.13)
    _peak(look, "mountain1", (0.2 + at[0], 0.62), 0.3, 0.42 + at[1], mix(stone, sky[1], 0.25))
    _peak(look, "mountain2", (0.84 + at[2], 0.62), 0.3, 0.38 + at[3], mix(stone, sky[1], 0.2))
    _peak(look, "mountain3", (0.52 + at[4], 0.62), 0.33, 0.5 + at[5], stone)
    look.part("lake")
    look.box((-FAR, 0.6), (1 + FAR, 0.74), mix((72, 140, 190), sky[1], 0.2))
    for k in range(4):
        x = view.uniform(0.0, 0.9)
        look.line(
            [(x, 0.625 + 0.025 * k), (x + 0.12, 0.625 + 0.025 * k)],
            mix((72, 140, 190), (255, 255, 255), 0.5),
            0.008,
        )
    look.part("shore")
    ridge(look, 0.74, 0.02, 0.7, at[0] * 60, darker(grass, 0.1))
    ridge(look, 0.8, 0.02, 0.8, at[1] * 60, lighter(grass, 0.1))
    green = (48, 94, 78)
    fir(look, "tree1", (0.06 + at[2], 0.82), 0.44, green)
    fir(look, "tree2", (0.2 + at[3], 0.8), 0.3, lighter(green, 0.1))
    _tent(look, (0.86 + at[4], 0.86), tent)
    return look.height(0.88)


def farm(canvas: Canvas, place: Random, view: Random) -> float:
    """A barn with a silo behind a fence, golden fields and hay bales; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [
            ((150, 206, 236), (250, 240, 214)),
            ((130, 190, 236), (232, 244, 250)),
            ((180, 206, 226), (255, 226, 190)),
        ]
    )
    wheat, red = jitter((232, 190, 84), place, 8), jitter((190, 46, 42), place, 10)
    roof, silo = (
        place.choice([(92, 72, 76), (110, 110, 122), (132, 62, 50)]),
        jitter((190, 196, 204), place, 8),
    )
    at = [place.uniform(-0.04, 0.04) for _ in range(4)]
    look.backdrop(sky, 0.54, (wheat, lighter(wheat, 0.1)))
    ridge(look, 0.53, 0.025, 0.8, at[0] * 60, (150, 178, 88))
    ridge(look, 0.6, 0.015, 0.7, at[1] * 60, wheat)
    for k in range(-5, 6):
        look.polygon(
            [
                (0.5 + 0.09 * k, 0.61),
                (0.515 + 0.09 * k, 0.61),
                (0.56 + 0.3 * k, 1 + FAR),
                (0.46 + 0.3 * k, 1 + FAR),
            ],
            darker(wheat, 0.1),
        )
    sun(look, (view.uniform(0.6, 0.72), view.uniform(0.1, 0.18)), 0.06, (255, 216, 96))
    cloud(look, "cloud", (view.uniform(0.36, 0.56), view.uniform(0.1, 0.2)), view.uniform(0.1, 0.13))
    leafy_tree(look, "tree", (0.88 + at[2], 0.62), 0.34, (98, 152, 66), place.choice([None, (224, 62, 52)]))
    _silo(look, (0.42 + at[0] * 0.5, 0.62), silo)
    _barn(look, (0.2 + at[0] * 0.5, 0.65), red, roof)
    _fence(look, 0.72, (250, 244, 232))
    _hay(look, (view.uniform(0.8, 0.9), 0.9), mix(wheat, (206, 130, 50), 0.55))
    return look.height(0.88)


def _trunk(look: Viewfinder, name: str, foot: Point, thick: float, bark: Colour, leaf: Colour) -> None:
    (x, y), half = foot, thick / 2
    look.part(name)
    look.polygon(
        [
            (x - half * 1.7, y),
            (x - half, y - 0.1),
            (x - half * 0.9, -FAR),
            (x + half * 0.9, -FAR),
            (x + half, y - 0.1),
            (x + half * 1.7, y),
        ],
        bark,
    )
    look.polygon(
        [
            (x + half * 0.3, y),
            (x + half * 0.25, -FAR),
            (x + half * 0.9, -FAR),
            (x + half, y - 0.1),
            (x + half * 1.7, y),
        ],
        darker(bark, 0.2),
    )
    for dx, dy, r in ((-1.5, 0.0, 1.2), (1.5, 0.02, 1.2), (0.0, 0.06, 1.35)):
        look.ellipse((x + dx * thick, 0.04 + dy), (r * thick, r * thick * 0.9), leaf)
    look.ellipse((x - thick * 0.6, 0.0), (thick * 0.9, thick * 0.7), lighter(leaf, 0.1))


def _bush(look: Viewfinder, foot: Point, green: Colour) -> None:
    x, y = foot
    look.part("bush")
    for dx, dy, r in ((-0.07, 0.045, 0.06), (0.07, 0.045, 0.06), (0.0, 0.075, 0.075)):
        look.ellipse((x + dx, y - dy), (r, r * 0.9), green)
    look.ellipse((x - 0.02, y - 0.1), (0.04, 0.03), lighter(green, 0.2))
    for dx, dy in ((-0.07, 0.05), (0.0, 0.05), (0.06, 0.07)):
        look.ellipse((x + dx, y - dy), (0.012, 0.012), (232, 70, 96))


def _mushrooms(look: Viewfinder, foot: Point, cap: Colour) -> None:
    look.part("mushroom")
    for dx, size in ((0.0, 1.0), (0.075, 0.66)):
        x, y = foot[0] + dx, foot[1]
        look.box(
            (x - 0.016 * size, y - 0.07 * size), (x + 0.016 * size, y), (250, 238, 214), radius=0.01 * size
        )
        top = [
            (x - 0.058 * size, y - 0.06 * size),
            (x - 0.04 * size, y - 0.105 * size),
            (x, y - 0.125 * size),
        ]
        look.polygon([*top, (x + 0.04 * size, y - 0.105 * size), (x + 0.058 * size, y - 0.06 * size)], cap)
        for sx, sy in ((-0.025, 0.085), (0.02, 0.095)):
            look.ellipse((x + sx * size, y - sy * size), (0.011 * size, 0.011 * size), (255, 250, 240))


def _peak(look: Viewfinder, name: str, foot: Point, half: float, height: float, stone: Colour) -> None:
    (x, y), top = foot, foot[1] - height
    look.part(name)
    look.polygon([(x - half, y), (x, top), (x + half, y)], stone)
    look.polygon(
        [(x, top), (x + half, y), (x + half * 0.2, y), (x + half * 0.08, top + height * 0.5)],
        darker(stone, 0.2),
    )
    left, right = (x - half * 0.36, top + height * 0.36), (x + half * 0.36, top + height * 0.36)
    zigzag = [
        (x - half * 0.2, top + height * 0.3),
        (x - half * 0.06, top + height * 0.42),
        (x + half * 0.1, top + height * 0.3),
    ]
    look.polygon([(x, top), left, *zigzag, right], (250, 251, 255))
    look.polygon([(x, top), zigzag[2], right], (208, 216, 236))


def _tent(look: Viewfinder, foot: Point, colour: Colour) -> None:
    x, y = foot
    look.part("tent")
    look.polygon(
        [(x - 0.15, y), (x - 0.03, y - 0.19), (x + 0.16, y - 0.03), (x + 0.15, y)], darker(colour, 0.2)
    )
    look.polygon([(x - 0.15, y), (x - 0.03, y - 0.19), (x + 0.08, y)], colour)
    look.polygon([(x - 0.07, y), (x - 0.03, y - 0.14), (x + 0.02, y)], darker(colour, 0.6))


def _barn(look: Viewfinder, foot: Point, red: Colour, roof: Colour) -> None:
    (x, y), white = foot, (252, 246, 238)
    look.part("barn")
    gable = [
        (x - 0.16, y - 0.2),
        (x - 0.11, y - 0.31),
        (x, y - 0.38),
        (x + 0.11, y - 0.31),
        (x + 0.16, y - 0.2),
    ]
    look.polygon([(x - 0.16, y), *gable, (x + 0.16, y)], red)
    look.line([(x - 0.175, y - 0.19), *gable[1:4], (x + 0.175, y - 0.19)], roof, 0.03)
    look.box((x - 0.035, y - 0.29), (x + 0.035, y - 0.23), white)
    look.box((x - 0.02, y - 0.277), (x + 0.02, y - 0.243), darker(red, 0.55))
    look.box((x - 0.085, y - 0.16), (x + 0.085, y), white)
    look.box((x - 0.07, y - 0.145), (x + 0.07, y), darker(red, 0.2))
    for end in (-1, 1):
        look.line([(x - 0.07 * end, y - 0.14), (x + 0.07 * end, y - 0.005)], white, 0.014)


def _silo(look: Viewfinder, foot: Point, colour: Colour) -> None:
    x, y = foot
    look.part("silo")
    look.ellipse((x, y - 0.36), (0.06, 0.06), (150, 74, 66))
    look.box((x - 0.06, y - 0.36), (x + 0.06, y), colour)
    for k in range(3):
        look.box((x - 0.06, y - 0.29 + 0.1 * k), (x + 0.06, y - 0.275 + 0.1 * k), darker(colour, 0.2))
    look.shade(0.3, 0)


def _fence(look: Viewfinder, y: float, colour: Colour) -> None:
    look.part("fence")
    for dy in (-0.075, -0.03):
        look.box((-FAR, y + dy), (1 + FAR, y + dy + 0.018), darker(colour, 0.08))
    for k in range(-2, 10):
        x = 0.06 + 0.125 * k
        look.polygon(
            [
                (x - 0.014, y + 0.015),
                (x - 0.014, y - 0.1),
                (x, y - 0.118),
                (x + 0.014, y - 0.1),
                (x + 0.014, y + 0.015),
            ],
            colour,
        )


def _hay(look: Viewfinder, foot: Point, colour: Colour) -> None:
    x, y = foot
    look.part("hay")
    look.box((x - 0.06, y - 0.17), (x + 0.1, y), darker(colour, 0.18), radius=0.06)
    look.ellipse((x - 0.04, y - 0.085), (0.07, 0.085), colour)
    for r in (0.052, 0.026):
        look.arc((x - 0.04, y - 0.085), (r * 0.85, r), 0, 360, darker(colour, 0.3), 0.009)
