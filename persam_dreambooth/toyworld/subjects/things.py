"""Household things: teapot, mug, backpack, boot, plant and clock."""

from persam_dreambooth.toyworld.canvas import Canvas, darker, lighter
from persam_dreambooth.toyworld.subjects.accessories import put_on
from persam_dreambooth.toyworld.subjects.identity import Identity, Pose
from persam_dreambooth.toyworld.subjects.strokes import INK, PAPER, coat, curve, turned

LEAF = (70, 150, 74)
METAL = (196, 200, 208)
GOLD = (250, 206, 84)


def draw_teapot(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A teapot with its spout to the left; `build` sets girth, spout and knob."""
    girth, spout, knob = identity.build
    main, second = identity.main, identity.second
    wide, slide = 0.24 + 0.05 * girth, 0.03 * pose.turn
    left, right = 0.5 - wide, 0.5 + wide
    canvas.part("handle")
    canvas.arc((right - 0.01, 0.62), (0.135 - 0.02 * pose.turn, 0.16), -100, 100, second, 0.065)
    canvas.shade(0.3)
    canvas.part("spout")
    tip = (0.09 + 0.02 * pose.turn, 0.48 - 0.12 * spout)
    lower, upper = (
        curve((left + 0.12, 0.84), (left - 0.08, 0.76), tip),
        curve((tip[0] + 0.1, tip[1]), (left, 0.6), (left + 0.1, 0.58)),
    )
    canvas.polygon([*lower, *upper], darker(main, 0.1))
    canvas.shade(0.3)
    canvas.line([(tip[0] - 0.005, tip[1]), (tip[0] + 0.1, tip[1])], second, 0.045)
    canvas.part("body")
    canvas.box((0.5 - wide * 0.6, 0.88), (0.5 + wide * 0.6, 0.96), darker(second, 0.1), 0.03)
    canvas.ellipse((0.5, 0.68), (wide, 0.235), main)
    coat(canvas, identity, 0.35)
    canvas.part("lid")
    tilt, rise = 13 * pose.head, 0.09 * max(0.0, pose.lift)
    hinge = (0.5, 0.47 - rise)
    dome = [
        turned(p, hinge, tilt)
        for p in curve((0.5 - wide * 0.66, hinge[1]), (0.5, hinge[1] - 0.26), (0.5 + wide * 0.66, hinge[1]))
    ]
    canvas.polygon(dome, second)
    canvas.shade(0.3)
    canvas.line([dome[0], dome[-1]], darker(second, 0.25), 0.04)
    top, radius = turned((0.5, hinge[1] - 0.15 - 0.035 * knob), hinge, tilt), 0.04 + 0.03 * knob
    canvas.ellipse(top, (radius, radius), main, darker(main, 0.25), 0.012)
    front = (0.5 + slide, 0.69)
    put_on(
        canvas,
        identity,
        {"heart": (front, 0.1, 0), "flower": (front, 0.11, 12), "bow": ((0.5 + slide, 0.53), 0.12, 0)},
    )


def draw_mug(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A mug of cocoa with its handle to the right and a spoon; `build` sets height, width and handle."""
    height, width, handle = identity.build
    main, second = identity.main, identity.second
    top, half = 0.46 - 0.16 * height, 0.21 + 0.06 * width
    middle, slide = 0.44, 0.035 * pose.turn
    left, right = middle - half, middle + half
    canvas.part("handle")
    centre = (right - 0.01, (top + 0.96) / 2 + 0.01)
    canvas.arc(
        centre, (0.15 + 0.05 * handle + 0.02 * pose.turn, 0.13 + 0.06 * handle), -100, 100, second, 0.07
    )
    canvas.shade(0.3)
    canvas.part("body")
    canvas.box((left + 0.01, 0.7), (right - 0.01, 0.96), main, 0.09)
    canvas.polygon([(left, top), (right, top), (right - 0.01, 0.88), (left + 0.01, 0.88)], main)
    coat(canvas, identity, 0.35)
    canvas.part("rim")
    canvas.ellipse((middle, top), (half + 0.012, 0.07), lighter(second, 0.15), darker(second, 0.25), 0.01)
    canvas.ellipse((middle, top + 0.008), (half - 0.035, 0.047), (96, 58, 38))
    canvas.ellipse((middle + 0.35 * half * pose.head, top + 0.012), (0.06, 0.022), (250, 236, 214))
    canvas.part("spoon")
    stir = (middle - 0.02, top + 0.01)
    far = turned((stir[0], top - 0.22), stir, -22 + 30 * pose.lift)
    canvas.line([stir, far], METAL, 0.035)
    canvas.ellipse(far, (0.042, 0.042), METAL, darker(METAL, 0.35), 0.012)
    front = (middle + slide, (top + 0.98) / 2 + 0.03)
    put_on(
        canvas, identity, {"heart": (front, 0.11, 0), "star": (front, 0.11, 0), "flower": (front, 0.12, 0)}
    )


def draw_backpack(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A backpack seen from its front; `build` sets width, flap and pocket."""
    width, flap, pocket = identity.build
    main, second = identity.main, identity.second
    half, slide = 0.25 + 0.06 * width, 0.025 * pose.turn
    left, right = 0.5 - half, 0.5 + half
    canvas.part("straps")
    canvas.arc(
        (0.5 + slide + 0.04 * pose.head, 0.19),
        (0.095, 0.09 + 0.035 * pose.lift),
        180,
        360,
        darker(second, 0.3),
        0.055,
    )
    for x, side in ((left + 0.02, -1), (right - 0.02, 1)):
        canvas.arc(
            (x, 0.58),
            (0.1 + 0.025 * side * pose.turn, 0.2),
            90 if side < 0 else -90,
            270 if side < 0 else 90,
            darker(second, 0.3),
            0.06,
        )
    canvas.part("body")
    canvas.box((left, 0.17), (right, 0.96), main, 0.2)
    canvas.box((left, 0.7), (right, 0.96), main, 0.07)
    coat(canvas, identity, 0.35)
    canvas.part("pocket")
    deep = 0.72 - 0.07 * pocket
    canvas.box((0.5 - half * 0.72 + slide, deep), (0.5 + half * 0.72 + slide, 0.92), second, 0.06)
    canvas.shade(0.3)
    canvas.line(
        [(0.5 - half * 0.5 + slide, deep + 0.06), (0.5 + half * 0.5 + slide, deep + 0.06)],
        darker(second, 0.4),
        0.024,
    )
    pull = 0.5 + slide + half * 0.45 * pose.head
    canvas.line([(pull, deep + 0.06), (pull, deep + 0.11)], GOLD, 0.03)
    canvas.part("flap")
    edge = 0.44 + 0.1 * flap + 0.04 * pose.lift
    canvas.box((left - 0.015, 0.15), (right + 0.015, edge), darker(main, 0.22), 0.16)
    canvas.shade(0.2)
    for side in (-1, 1):
        x = 0.5 + side * half * 0.55 + slide
        canvas.box((x - 0.035, edge - 0.1), (x + 0.035, edge + 0.07), second, 0.015)
        canvas.box((x - 0.04, edge - 0.03), (x + 0.04, edge + 0.03), GOLD, 0.012, darker(GOLD), 0.01)
    badge = (0.5 + slide, 0.3)
    put_on(canvas, identity, {"star": (badge, 0.1, 0), "heart": (badge, 0.1, 0), "flower": (badge, 0.11, 0)})


def draw_boot(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A boot with its toe to the right; `build` sets shaft, toe and heel."""
    shaft, toe, heel = identity.build
    main, second = identity.main, identity.second
    top, tip = 0.3 - 0.16 * shaft, 0.8 + 0.1 * toe
    lean = 0.07 * pose.turn
    canvas.part("body")
    canvas.polygon([(0.2 + lean, top), (0.56 + lean, top), (0.56, 0.62), (0.56, 0.9), (0.2, 0.9)], main)
    canvas.ellipse((tip - 0.18, 0.76), (0.18, 0.15), main)
    canvas.box((0.2, 0.62), (tip, 0.9), main, 0.12)
    canvas.box((0.2, 0.78), (tip, 0.9), main, 0.02)
    coat(canvas, identity, 0.35)
    canvas.part("toe")
    canvas.ellipse((tip - 0.11, 0.79), (0.12, 0.115), second)
    canvas.shade(0.3)
    canvas.part("sole")
    sole = darker(second, 0.45)
    canvas.box((0.18, 0.86), (tip + 0.02, 0.91), sole, 0.02)
    canvas.box((0.18, 0.88), (0.4, 0.96), sole, 0.015)
    canvas.box((0.5, 0.88), (tip + 0.02, 0.93 + 0.03 * (1 - heel)), sole, 0.02)
    canvas.part("cuff")
    canvas.line(
        [(0.2 + lean, top + 0.01), (0.56 + lean, top + 0.01)],
        PAPER if identity.second_name != "white" else second,
        0.11,
    )
    canvas.shade(0.25)
    canvas.part("laces")
    for k in range(3):
        y = top + 0.15 + (0.62 - top - 0.15) * k / 3
        sway = 0.03 * pose.lift * (k == 0)
        canvas.line(
            [(0.42 + lean * (1 - k / 3), y), (0.57 + lean * (1 - k / 3), y + 0.03 + sway)], INK, 0.045
        )
        canvas.line(
            [(0.42 + lean * (1 - k / 3), y), (0.57 + lean * (1 - k / 3), y + 0.03 + sway)], PAPER, 0.026
        )
    side, tilt = (0.32, 0.62), 14 * pose.head
    put_on(
        canvas,
        identity,
        {"star": (side, 0.09, tilt), "bow": ((0.56, 0.6), 0.12, tilt), "flower": (side, 0.1, tilt)},
    )


def draw_plant(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A flower in a pot; `build` sets stem, petals and pot."""
    stem, petals, pot = identity.build
    main, second = identity.main, identity.second
    half, brim = 0.18 + 0.1 * pot, 0.66
    head = (0.5 + 0.14 * pose.head, 0.39 - 0.11 * stem)
    canvas.part("leaves")
    canvas.line(curve((0.5, 0.68), (0.5, 0.5), head), darker(LEAF, 0.2), 0.045)
    for side in (-1, 1):
        angle = side * (-26 - 22 * pose.lift)
        centre = turned((0.5 + side * 0.17, 0.58), (0.5, 0.6), angle)
        canvas.turned_ellipse(centre, (0.17, 0.07), angle, LEAF)
        canvas.line(
            [(0.5, 0.6), turned((0.5 + side * 0.27, 0.58), (0.5, 0.6), angle)], lighter(LEAF, 0.35), 0.016
        )
    canvas.part("flower")
    count, reach = (5, 6, 8)[min(2, int(petals * 3))], 0.125 + 0.015 * stem
    for k in range(count):
        petal = turned((head[0], head[1] - reach), head, 360 * k / count + 20 * pose.turn)
        canvas.turned_ellipse(petal, (0.41 / count + 0.01, 0.1), 360 * k / count + 20 * pose.turn, second)
    canvas.shade(0.25)
    canvas.ellipse(head, (0.085, 0.085), GOLD, darker(GOLD, 0.35), 0.016)
    canvas.part("body")
    canvas.polygon(
        [(0.5 - half, brim), (0.5 + half, brim), (0.5 + half * 0.72, 0.96), (0.5 - half * 0.72, 0.96)], main
    )
    coat(canvas, identity, 0.35)
    canvas.part("rim")
    canvas.box((0.5 - half - 0.03, brim - 0.04), (0.5 + half + 0.03, brim + 0.05), darker(main, 0.2), 0.025)
    canvas.shade(0.2)
    slide = 0.025 * pose.turn
    front = (0.5 + slide, 0.83)
    places = {
        "bow": ((0.5 + slide, 0.74), 0.13, 0),
        "heart": (front, 0.085, 0),
        "flag": ((0.5 + half * 0.62, 0.64), 0.11, 8),
    }
    put_on(canvas, identity, places)


def draw_clock(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """An alarm clock; `build` sets bells, rim and feet. The time it shows is part of its pose."""
    bells, rim, feet = identity.build
    main, second = identity.main, identity.second
    centre, radius = (0.5, 0.59), 0.31
    canvas.part("feet")
    for side in (-1, 1):
        spread = 0.2 + 0.08 * feet
        canvas.line([(0.5 + side * 0.16, 0.82), (0.5 + side * spread, 0.93)], darker(second, 0.3), 0.06)
    canvas.part("bells")
    canvas.line([(0.5, 0.28), (0.5 + 0.05 * pose.lift, 0.17)], INK, 0.03)
    canvas.ellipse((0.5 + 0.05 * pose.lift, 0.16), (0.035, 0.035), INK)
    size = 0.1 + 0.045 * bells
    for side in (-1, 1):
        shake = 6 * pose.lift
        middle = (0.5 + side * 0.22, 0.29)
        dome = [
            turned((middle[0] + size * dx, middle[1] + size * dy), middle, side * 38 + shake)
            for dx, dy in curve((-1, 0.1), (0, -2.2), (1, 0.1))
        ]
        canvas.polygon(dome, second)
        canvas.line([dome[0], dome[-1]], darker(second, 0.25), 0.03)
    canvas.shade(0.25)
    canvas.part("body")
    canvas.ellipse(centre, (radius, radius), main)
    coat(canvas, identity, 0.35)
    canvas.part("dial")
    inner = 0.27 - 0.06 * rim
    canvas.ellipse(centre, (inner, inner), PAPER, darker(main, 0.4), 0.016)
    for k in range(12):
        mark = turned((0.5, centre[1] - inner * 0.8), centre, 30 * k)
        dot = 0.022 if k % 3 == 0 else 0.011
        canvas.ellipse(mark, (dot, dot), INK)
    canvas.part("hands")
    canvas.line([centre, turned((0.5, centre[1] - inner * 0.48), centre, 150 * pose.turn)], INK, 0.045)
    canvas.line(
        [centre, turned((0.5, centre[1] - inner * 0.72), centre, 180 * pose.head)], identity.accent, 0.03
    )
    canvas.ellipse(centre, (0.028, 0.028), INK)
    low = (0.5, 0.87)
    put_on(
        canvas,
        identity,
        {
            "bow": (low, 0.13, 0),
            "hat": ((0.5, 0.31), 0.18, 4 * pose.head),
            "flower": ((0.74, 0.8), 0.105, 10),
        },
    )
