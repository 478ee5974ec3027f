"""Car and robot."""

from persam_dreambooth.toyworld.canvas import Canvas, darker, lighter
from persam_dreambooth.toyworld.subjects.accessories import put_on
from persam_dreambooth.toyworld.subjects.identity import Identity, Pose
from persam_dreambooth.toyworld.subjects.strokes import BLUSH, INK, PAPER, coat, eye, turned

TYRE = (48, 46, 54)
GLASS = (188, 226, 244)
LAMP = (255, 232, 140)
METAL = (188, 194, 204)


def draw_car(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A car that drives to the right; `build` sets cabin, bonnet and wheels."""
    cabin, bonnet, wheels = identity.build
    main, second = identity.main, identity.second
    bounce, slide = 0.025 * pose.lift, 0.025 * pose.turn
    roof, waist = 0.36 - 0.12 * cabin + bounce, 0.56 + bounce
    front = 0.76 - 0.14 * bonnet
    canvas.part("cabin")
    canvas.polygon(
        [
            (0.12, waist + 0.04),
            (0.22 + slide, roof),
            (front - 0.14 + slide, roof),
            (front + 0.04, waist + 0.04),
        ],
        second,
    )
    canvas.line([(0.22 + slide, roof), (front - 0.14 + slide, roof)], second, 0.05)
    canvas.shade(0.25)
    sill, head_room, pillar = waist - 0.01, roof + 0.05, (0.12 + front) / 2
    canvas.polygon(
        [(0.2, sill), (0.26 + slide, head_room), (pillar - 0.02 + slide, head_room), (pillar - 0.02, sill)],
        GLASS,
    )
    left, right = pillar + 0.02, front - 0.17 + slide
    canvas.polygon([(left, sill), (left + slide, head_room), (right, head_room), (front - 0.05, sill)], GLASS)
    canvas.line([(0.27 + slide, sill - 0.04), (0.31 + slide, roof + 0.09)], PAPER, 0.022)
    canvas.part("body")
    canvas.box((0.05, waist), (0.95, 0.84 + bounce), main, 0.1)
    coat(canvas, identity, 0.35)
    canvas.ellipse((0.895, waist + 0.1), (0.042, 0.055), LAMP, darker(main, 0.4), 0.012)
    canvas.box((0.05, 0.78 + bounce), (0.95, 0.84 + bounce), darker(main, 0.4), 0.03)
    radius = 0.115 + 0.03 * wheels
    canvas.part("wheels")
    for x in (0.26, 0.74):
        centre = (x, 0.96 - radius)
        canvas.ellipse(centre, (radius, radius), TYRE)
        canvas.ellipse(centre, (radius * 0.58, radius * 0.58), METAL)
        for k in range(3):
            spoke = [
                turned((x, centre[1] + radius * 0.5 * end), centre, 60 * k + 60 * pose.turn)
                for end in (-1, 1)
            ]
            canvas.line(spoke, darker(METAL, 0.45), 0.02)
        canvas.ellipse(centre, (radius * 0.2, radius * 0.2), identity.accent)
    door = (0.5, waist + 0.13)
    mast = ((0.14, waist + 0.01), 0.17, -6 + 8 * pose.head)
    put_on(
        canvas,
        identity,
        {"flag": mast, "star": (door, 0.085, 12 * pose.head), "flower": (door, 0.095, 12 * pose.head)},
    )


def draw_robot(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A robot that faces the camera; `build` sets head, legs and antenna."""
    head, legs, antenna = identity.build
    main, second = identity.main, identity.second
    hips = 0.84 - 0.06 * legs
    canvas.part("legs")
    for side in (-1, 1):
        x = 0.5 + side * 0.11
        canvas.line([(x, hips - 0.03), (x, 0.9)], darker(METAL, 0.3), 0.075)
        canvas.box((x - 0.09, 0.89), (x + 0.09, 0.96), darker(second, 0.15), 0.03)
    canvas.part("arms")
    for side in (-1, 1):
        shoulder = (0.5 + side * 0.22, 0.59)
        hand = turned((shoulder[0] + side * 0.14, 0.71), shoulder, side * (-30 - 60 * side * pose.lift))
        canvas.line([shoulder, hand], darker(METAL, 0.3), 0.065)
        canvas.ellipse(hand, (0.062, 0.062), second, darker(second, 0.3), 0.014)
    canvas.part("body")
    canvas.box((0.27, 0.52), (0.73, hips), main, 0.05)
    coat(canvas, identity, 0.3)
    _robot_head(canvas, identity, pose, 0.22 + 0.08 * head, antenna)
    tilt, slide = 10 * pose.head, 0.02 * pose.turn
    top = turned((0.5, 0.25), (0.5, 0.5), tilt)
    chest = (0.5 + slide, 0.67)
    places = {
        "scarf": ((0.5, 0.53), 0.2, 0),
        "bow": ((0.5, 0.57), 0.12, 0),
        "hat": (top, 0.155, tilt),
        "heart": (chest, 0.09, 0),
    }
    put_on(canvas, identity, places)


def _robot_head(canvas: Canvas, identity: Identity, pose: Pose, half: float, antenna: float) -> None:
    def at(x: float, y: float) -> tuple[float, float]:
        return turned((x, y), (0.5, 0.5), 10 * pose.head)

    canvas.part("antenna")
    tip = at(0.5 + 0.03 * pose.lift, 0.18 - 0.06 * antenna)
    canvas.line([at(0.5, 0.26), tip], darker(METAL, 0.3), 0.032)
    canvas.ellipse(tip, (0.045, 0.045), identity.accent)
    for side in (-1, 1):
        canvas.line([at(0.5 + side * half, 0.33), at(0.5 + side * half, 0.41)], identity.second, 0.085)
    canvas.part("head")
    canvas.polygon(
        [at(0.5 - half, 0.21), at(0.5 + half, 0.21), at(0.5 + half, 0.51), at(0.5 - half, 0.51)],
        identity.main,
    )
    canvas.shade(0.3)
    screen, slide = half - 0.045, 0.02 * pose.turn
    corners = [at(0.5 - screen, 0.25), at(0.5 + screen, 0.25), at(0.5 + screen, 0.47), at(0.5 - screen, 0.47)]
    canvas.polygon(corners, lighter(identity.second, 0.55))
    for side in (-1, 1):
        eye(canvas, at(0.5 + slide + side * 0.095, 0.335), 0.062, pose)
        canvas.ellipse(at(0.5 + slide + side * 0.14, 0.425), (0.026, 0.018), BLUSH)
    canvas.line([at(0.46 + slide, 0.43), at(0.54 + slide, 0.43)], INK, 0.02 + 0.025 * pose.mouth)
