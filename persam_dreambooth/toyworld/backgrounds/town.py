"""Streets: the city by day and a small street at night."""

from random import Random

from persam_dreambooth.toyworld.backgrounds.scenery import cloud, glow
from persam_dreambooth.toyworld.backgrounds.viewfinder import FAR, Viewfinder
from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point, darker, lighter, mix

FACADES: tuple[Colour, ...] = (
    (96, 126, 164),
    (204, 112, 92),
    (136, 146, 160),
    (224, 178, 124),
    (120, 150, 158),
    (178, 138, 160),
)
COTTAGES: tuple[Colour, ...] = ((86, 64, 110), (60, 76, 124), (104, 66, 92), (52, 88, 112), (92, 80, 104))


def city(canvas: Canvas, place: Random, view: Random) -> float:
    """Towers along a road with a car, a traffic light and a pavement; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [
            ((128, 176, 222), (232, 236, 236)),
            ((160, 170, 214), (252, 220, 196)),
            ((142, 190, 206), (240, 244, 226)),
        ]
    )
    walls = place.sample(FACADES, 4)
    heights, car, shopfront = [place.uniform(-0.05, 0.05) for _ in range(4)], _paint(place), _paint(place)
    look.backdrop(sky, 0.64, ((172, 172, 178), (196, 194, 196)))
    far = mix(sky[1], (120, 140, 180), 0.4)
    for k in range(9):
        look.box((-0.2 + 0.16 * k, 0.3 - 0.09 * ((k * 5) % 3)), (-0.06 + 0.16 * k, 0.66), far)
    cloud(look, "cloud", (view.uniform(0.42, 0.6), view.uniform(0.08, 0.14)), view.uniform(0.08, 0.11))
    _tower(look, "building1", (0.26, 0.66), (0.2, 0.42 + heights[0]), walls[0])
    _tower(look, "building2", (0.72, 0.66), (0.2, 0.38 + heights[1]), walls[1])
    _tower(look, "building3", (0.04, 0.66), (0.24, 0.58 + heights[2]), walls[2])
    _tower(look, "building4", (0.96, 0.66), (0.26, 0.54 + heights[3]), walls[3])
    _awning(look, (0.96, 0.66), shopfront)
    look.part("road")
    look.box((-FAR, 0.66), (1 + FAR, 0.82), (84, 86, 98))
    for k in range(-2, 8):
        look.box((0.04 + 0.18 * k, 0.735), (0.13 + 0.18 * k, 0.75), (244, 232, 190))
    look.box((-FAR, 0.815), (1 + FAR, 0.835), (226, 222, 218))
    _car(look, (view.choice([0.2, 0.76]) + view.uniform(-0.03, 0.05), 0.79), car)
    _traffic_light(look, (0.93, 0.86), view)
    return look.height(0.89)


def night(canvas: Canvas, place: Random, view: Random) -> float:
    """A dark street with lit windows, a moon and street lights; returns the ground line."""
    look = Viewfinder(canvas, place, view)
    sky = place.choice(
        [((14, 18, 52), (48, 52, 108)), ((22, 16, 58), (78, 52, 112)), ((10, 26, 54), (34, 72, 110))]
    )
    walls = place.sample(COTTAGES, 4)
    at, doors = (
        [place.uniform(-0.03, 0.03) for _ in range(5)],
        [place.choice([(150, 62, 62), (54, 110, 112), (170, 122, 60)]) for _ in range(4)],
    )
    look.backdrop(sky, 0.66, ((38, 38, 66), (58, 54, 84)))
    stars = Random(place.random())
    for _ in range(22):
        r = stars.choice([0.006, 0.008, 0.011])
        look.ellipse((stars.uniform(-0.1, 1.1), stars.uniform(-0.1, 0.42)), (r, r), (240, 236, 210))
    moon = (view.uniform(0.44, 0.58), view.uniform(0.1, 0.16))
    glow(look, moon, 0.16, mix(sky[0], (250, 240, 200), 0.35), mix(sky[0], sky[1], 0.3))
    for k in range(3):
        look.ellipse(
            (0.5, 0.92),
            (0.62 - 0.14 * k, 0.16 - 0.035 * k),
            mix((58, 54, 84), (216, 170, 100), 0.14 + 0.14 * k),
        )
    look.part("moon")
    look.ellipse(moon, (0.07, 0.07), (252, 244, 206))
    look.ellipse((moon[0] - 0.02, moon[1] - 0.015), (0.016, 0.016), (232, 220, 176))
    look.ellipse((moon[0] + 0.025, moon[1] + 0.022), (0.012, 0.012), (232, 220, 176))
    for k, x in enumerate((0.3, 0.7, 0.06, 0.95)):
        _cottage(look, f"house{k + 1}", (x + at[k], 0.7), 0.28 + at[k] + 0.06 * (k > 1), walls[k], doors[k])
    look.part("pavement")
    look.box((-FAR, 0.7), (1 + FAR, 0.735), (86, 80, 112))
    _street_light(look, "streetlight1", (0.17 + at[4], 0.84), 0.5)
    _street_light(look, "streetlight2", (0.85 - at[4], 0.84), 0.5)
    return look.height(0.88)


def _paint(rng: Random) -> Colour:
    return rng.choice([(244, 190, 40), (220, 64, 60), (58, 128, 200), (70, 168, 120), (240, 240, 236)])


def _tower(look: Viewfinder, name: str, foot: Point, size: Point, wall: Colour) -> None:
    (x, y), (wide, high) = foot, size
    left, top = x - wide / 2, y - high
    look.part(name)
    look.box((left, top), (x + wide / 2, y), wall)
    look.box((left + wide * 0.8, top), (x + wide / 2, y), darker(wall, 0.2))
    look.box((left - 0.012, top - 0.018), (x + wide / 2 + 0.012, top + 0.008), darker(wall, 0.3))
    for row in range(int((high - 0.12) / 0.085)):
        for column in range(3):
            at = (left + wide * (0.1 + 0.24 * column), top + 0.04 + 0.085 * row)
            look.box(
                at,
                (at[0] + wide * 0.15, at[1] + 0.05),
                (250, 240, 190) if (row + 2 * column) % 4 == 0 else lighter(wall, 0.5),
            )


def _awning(look: Viewfinder, foot: Point, colour: Colour) -> None:
    x, y = foot
    look.part("shop")
    look.box((x - 0.13, y - 0.13), (x + 0.13, y), darker(colour, 0.45))
    look.box((x - 0.11, y - 0.08), (x + 0.02, y - 0.015), (206, 232, 240))
    for k in range(6):
        edge = x - 0.14 + 0.047 * k
        look.box(
            (edge, y - 0.15), (edge + 0.048, y - 0.09), (252, 248, 240) if k % 2 else colour, radius=0.01
        )


def _car(look: Viewfinder, foot: Point, paint: Colour) -> None:
    x, y = foot
    look.part("car")
    look.polygon(
        [(x - 0.1, y - 0.08), (x - 0.06, y - 0.145), (x + 0.05, y - 0.145), (x + 0.1, y - 0.08)], paint
    )
    look.polygon(
        [(x - 0.078, y - 0.08), (x - 0.05, y - 0.13), (x - 0.008, y - 0.13), (x - 0.008, y - 0.08)],
        (206, 230, 242),
    )
    look.polygon(
        [(x + 0.008, y - 0.08), (x + 0.008, y - 0.13), (x + 0.042, y - 0.13), (x + 0.078, y - 0.08)],
        (206, 230, 242),
    )
    look.box((x - 0.15, y - 0.085), (x + 0.15, y - 0.022), paint, radius=0.025)
    look.box((x - 0.15, y - 0.045), (x + 0.15, y - 0.022), darker(paint, 0.2), radius=0.01)
    look.ellipse((x + 0.138, y - 0.062), (0.012, 0.012), (255, 246, 190))
    for dx in (-0.085, 0.085):
        look.ellipse((x + dx, y - 0.02), (0.034, 0.034), (40, 40, 48))
        look.ellipse((x + dx, y - 0.02), (0.014, 0.014), (200, 200, 206))


def _traffic_light(look: Viewfinder, foot: Point, view: Random) -> None:
    (x, y), on = foot, view.randrange(3)
    look.part("traffic light")
    look.box((x - 0.011, y - 0.28), (x + 0.011, y), (62, 66, 74))
    look.box((x - 0.034, y - 0.43), (x + 0.034, y - 0.24), (46, 50, 58), radius=0.015)
    for k, colour in enumerate([(240, 70, 60), (250, 196, 60), (80, 210, 110)]):
        look.ellipse((x, y - 0.4 + 0.065 * k), (0.022, 0.022), colour if k == on else darker(colour, 0.6))


def _cottage(look: Viewfinder, name: str, foot: Point, high: float, wall: Colour, door: Colour) -> None:
    (x, y), lit, half = foot, (255, 206, 104), 0.125
    look.part(name)
    look.box((x + 0.05, y - high - 0.11), (x + 0.09, y - high), darker(wall, 0.35))
    look.box((x - half, y - high), (x + half, y), wall)
    look.polygon(
        [(x - half - 0.025, y - high), (x, y - high - 0.15), (x + half + 0.025, y - high)], darker(wall, 0.42)
    )
    look.ellipse((x, y - high - 0.045), (0.025, 0.025), lit)
    for dx in (-0.09, 0.03):
        look.box((x + dx, y - high + 0.035), (x + dx + 0.06, y - high + 0.11), lit)
        look.box((x + dx + 0.025, y - high + 0.035), (x + dx + 0.035, y - high + 0.11), darker(wall, 0.2))
    look.box((x - 0.085, y - 0.13), (x - 0.015, y), door, radius=0.01)
    look.box((x + 0.03, y - 0.115), (x + 0.09, y - 0.05), lit)


def _street_light(look: Viewfinder, name: str, foot: Point, high: float) -> None:
    (x, y), iron = foot, (24, 24, 40)
    look.part(name)
    look.box((x - 0.011, y - high + 0.04), (x + 0.011, y), iron)
    look.box((x - 0.03, y - 0.03), (x + 0.03, y), iron, radius=0.01)
    look.polygon(
        [
            (x - 0.035, y - high),
            (x + 0.035, y - high),
            (x + 0.022, y - high + 0.085),
            (x - 0.022, y - high + 0.085),
        ],
        (255, 226, 130),
    )
    look.ellipse((x, y - high + 0.04), (0.018, 0.026), (255, 250, 220))
    look.polygon([(x - 0.048, y - high), (x, y - high - 0.045), (x + 0.048, y - high)], iron)
