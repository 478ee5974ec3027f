"""Cat and dog, duck and bird."""

from persam_dreambooth.toyworld.canvas import Canvas, Colour, darker, lighter
from persam_dreambooth.toyworld.subjects.accessories import put_on
from persam_dreambooth.toyworld.subjects.identity import PALETTE, Identity, Pose
from persam_dreambooth.toyworld.subjects.strokes import (
    BLUSH,
    INK,
    PAPER,
    coat,
    curve,
    eye,
    leg,
    pale,
    smile,
    toes,
    turned,
)


def draw_cat(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A cat that sits and looks at the camera; `build` sets ears, tail and girth."""
    ears, tail, girth = identity.build
    main, light = identity.main, pale(identity.main)
    canvas.part("tail")
    tip = (0.83 + 0.07 * pose.lift, 0.66 - 0.3 * tail - 0.05 * pose.lift)
    canvas.line(curve((0.62, 0.89), (1.0, 0.92), tip, 14), main, 0.1)
    coat(canvas, identity)
    canvas.ellipse(tip, (0.056, 0.056), identity.second)
    canvas.part("body")
    canvas.ellipse((0.5, 0.74), (0.2 + 0.07 * girth, 0.22), main)
    coat(canvas, identity)
    canvas.ellipse((0.5, 0.72), (0.1 + 0.03 * girth, 0.13), light)
    canvas.part("legs")
    for side in (-1, 1):
        foot = 0.5 + side * (0.11 + 0.03 * girth)
        leg(canvas, (0.5 + side * 0.1, 0.76), foot, 0.12, darker(main, 0.08))
    for side in (-1, 1):
        toes(canvas, 0.5 + side * (0.11 + 0.03 * girth), 0.12, light)
    _cat_head(canvas, identity, pose, 0.11 + 0.1 * ears)
    neck, top = (0.5, 0.59), turned((0.5, 0.22), (0.5, 0.5), 15 * pose.head)
    bow = turned((0.66, 0.19), (0.5, 0.5), 15 * pose.head)
    put_on(
        canvas,
        identity,
        {"scarf": (neck, 0.2, 0), "bow": (bow, 0.12, 25), "hat": (top, 0.16, 15 * pose.head)},
    )


def _cat_head(canvas: Canvas, identity: Identity, pose: Pose, ear_height: float) -> None:
    def at(x: float, y: float) -> tuple[float, float]:
        return turned((x, y), (0.5, 0.5), 15 * pose.head)

    light, slide = pale(identity.main), 0.035 * pose.turn
    canvas.part("ears")
    for side in (-1, 1):
        base, tip = 0.5 + side * 0.17, at(0.5 + side * 0.235, 0.29 - ear_height)
        canvas.polygon(
            [at(base - side * 0.11, 0.24), tip, at(base + side * 0.09, 0.34)], darker(identity.main, 0.12)
        )
        inner = at(0.5 + side * 0.225, 0.33 - ear_height)
        canvas.polygon([at(base - side * 0.05, 0.26), inner, at(base + side * 0.06, 0.32)], BLUSH)
    canvas.part("head")
    canvas.ellipse(at(0.5, 0.39), (0.27, 0.205), identity.main)
    coat(canvas, identity, 0.25)
    canvas.ellipse(at(0.5 + slide, 0.49), (0.14, 0.085), light)
    for side in (-1, 1):
        eye(canvas, at(0.5 + side * 0.125 + slide, 0.385), 0.068, pose)
    canvas.ellipse(at(0.5 + slide, 0.455), (0.032, 0.022), BLUSH, INK, 0.008)
    smile(canvas, at(0.5 + slide, 0.485), 0.05, pose)
    for side in (-1, 1):
        for drop in (0.0, 0.045):
            whisker = [at(0.5 + side * 0.17, 0.47 + drop), at(0.5 + side * 0.3, 0.45 + 1.6 * drop)]
            canvas.line(whisker, lighter(identity.main, 0.75), 0.012)


def draw_dog(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A dog that stands, seen from its right side; `build` sets ears, legs and girth."""
    ears, legs, girth = identity.build
    main, light = identity.main, pale(identity.main)
    belly = 0.87 - 0.1 * legs
    back = belly - 0.19 - 0.06 * girth
    canvas.part("tail")
    tip = (0.12 + 0.04 * pose.turn, back - 0.14 - 0.08 * pose.lift)
    canvas.line(curve((0.2, back + 0.1), (0.06, back + 0.06), tip), darker(main, 0.1), 0.075)
    canvas.part("legs")
    swing = 0.06 * pose.lift
    for hip, far in ((0.27, True), (0.57, True), (0.2, False), (0.64, False)):
        step = -swing if far else swing
        leg(canvas, (hip, belly - 0.06), hip + step, 0.1, darker(main, 0.35 if far else 0.12))
        if not far:
            toes(canvas, hip + step, 0.1, light)
    canvas.part("body")
    canvas.box((0.11, back), (0.72, belly), main, 0.12)
    canvas.polygon([(0.5, back + 0.08), (0.58, back - 0.14), (0.76, back - 0.08), (0.72, back + 0.14)], main)
    coat(canvas, identity)
    nod = 14 * pose.head
    _dog_head(canvas, identity, pose, back, 0.12 + 0.13 * ears, nod)
    neck, top = (0.63, back + 0.01), turned((0.66, back - 0.29), (0.62, back), nod)
    spots = {"scarf": (neck, 0.15, -12), "bow": ((0.68, back + 0.04), 0.11, 0), "hat": (top, 0.13, nod)}
    put_on(canvas, identity, spots)


def _dog_head(canvas: Canvas, identity: Identity, pose: Pose, back: float, ear: float, nod: float) -> None:
    def at(x: float, y: float) -> tuple[float, float]:
        return turned((x, back + y), (0.62, back), nod)

    light, slide = pale(identity.main), 0.012 * pose.turn
    canvas.part("head")
    canvas.turned_ellipse(at(0.66, -0.2), (0.175, 0.165), nod, identity.main)
    coat(canvas, identity, 0.25)
    canvas.turned_ellipse(at(0.8, -0.13), (0.125, 0.08), nod + 5, light)
    if pose.mouth > 0.45:
        canvas.turned_ellipse(at(0.8, -0.035), (0.035, 0.055), nod, BLUSH)
    canvas.line([at(0.74, -0.075), at(0.8, -0.06), at(0.87, -0.08)], INK, 0.018)
    canvas.ellipse(at(0.885, -0.175), (0.046, 0.038), INK)
    canvas.ellipse(at(0.875, -0.187), (0.013, 0.01), PAPER)
    eye(canvas, at(0.715 + slide, -0.245), 0.055, pose)
    canvas.part("ears")
    canvas.turned_ellipse(at(0.535, -0.27 + ear * 0.75), (0.075, ear), nod + 12, identity.second)
    canvas.shade(0.35)


def _bill_colour(identity: Identity) -> Colour:
    """Orange, unless the bird itself is nearly that colour."""
    return (255, 214, 70) if identity.main_name in ("orange", "red", "brown") else PALETTE["orange"]


def draw_duck(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A duck seen from its right side; `build` sets neck, bill and girth."""
    neck, bill, girth = identity.build
    main, bill_colour = identity.main, _bill_colour(identity)
    canvas.part("feet")
    for x, step in ((0.38, -0.06), (0.52, 0.06)):
        foot = x + step * pose.lift
        canvas.line([(x, 0.84), (foot, 0.93)], darker(bill_colour, 0.15), 0.04)
        canvas.polygon([(foot - 0.05, 0.96), (foot, 0.9), (foot + 0.11, 0.96)], bill_colour)
    high = 0.38 - 0.1 * neck
    canvas.part("body")
    canvas.polygon([(0.06, 0.5 - 0.05 * pose.lift), (0.3, 0.58), (0.2, 0.8)], main)
    canvas.ellipse((0.43, 0.7), (0.33, 0.16 + 0.05 * girth), main)
    canvas.line(curve((0.6, 0.7), (0.76, 0.55), (0.65, high)), main, 0.17)
    coat(canvas, identity)
    canvas.part("wing")
    canvas.turned_ellipse((0.36, 0.66 - 0.03 * pose.lift), (0.2, 0.105), -6 + 24 * pose.lift, identity.second)
    canvas.shade(0.35)
    nod = 16 * pose.head

    def at(x: float, y: float) -> tuple[float, float]:
        return turned((x, high + y), (0.66, high + 0.12), nod)

    canvas.part("bill")
    long = 0.84 + 0.1 * bill
    canvas.polygon(
        [at(0.74, 0.02), at(long, 0.05), at(long, 0.06 + 0.05 * pose.mouth), at(0.74, 0.1)],
        darker(bill_colour, 0.25),
    )
    canvas.line([at(0.74, 0.02), at(long - 0.02, 0.025)], bill_colour, 0.07)
    canvas.part("head")
    canvas.ellipse(at(0.67, 0.0), (0.15, 0.145), main)
    canvas.shade(0.25)
    canvas.ellipse(at(0.71, 0.075), (0.04, 0.026), BLUSH)
    eye(canvas, at(0.715, -0.03), 0.055, pose)
    places = {
        "scarf": ((0.67, high + 0.19), 0.13, 8),
        "bow": ((0.7, high + 0.2), 0.12, 0),
        "hat": (at(0.65, -0.07), 0.13, nod - 8),
    }
    put_on(canvas, identity, places)


def draw_bird(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """A round little bird that spreads its wings, from the front; `build` sets wings, crest and girth."""
    wings, crest, girth = identity.build
    main, beak = identity.main, _bill_colour(identity)
    wide = 0.21 + 0.05 * girth
    canvas.part("legs")
    for side in (-1, 1):
        x = 0.5 + side * 0.09
        canvas.line([(x, 0.8), (x, 0.935)], darker(beak, 0.2), 0.032)
        canvas.line([(x - 0.06, 0.942), (x + 0.06, 0.942)], beak, 0.034)
    canvas.part("wings")
    for side in (-1, 1):
        root, angle = (0.5 + side * wide * 0.75, 0.56), side * (-20 - 34 * pose.lift)
        reach = 0.12 + 0.04 * wings
        centre = turned((root[0] + side * reach * 0.75, root[1]), root, angle)
        canvas.turned_ellipse(centre, (reach, 0.1), angle, identity.second)
        for k in (0.55, 1.1):
            feather = turned((root[0] + side * reach * k, root[1] + 0.07), root, angle)
            canvas.turned_ellipse(feather, (0.06, 0.05), angle, darker(identity.second, 0.15))
    canvas.shade(0.25)
    canvas.part("crest")
    sway = 0.5 + 0.04 * pose.head
    for lean in (-0.09, 0.0, 0.09):
        tip = (sway + lean * 1.5, 0.22 - 0.1 * crest + abs(lean) * 0.6)
        canvas.line([(0.5 + lean * 0.3, 0.34), tip], identity.second, 0.05)
    canvas.part("body")
    canvas.ellipse((0.5, 0.6), (wide, 0.26), main)
    coat(canvas, identity)
    canvas.ellipse((0.5, 0.72), (wide * 0.6, 0.12), pale(main))
    canvas.part("head")
    slide, nod = 0.035 * pose.turn, 13 * pose.head
    canvas.ellipse((0.5, 0.42), (wide * 0.95, 0.17), main)
    canvas.shade(0.2)
    for side in (-1, 1):
        eye(canvas, turned((0.5 + slide + side * 0.095, 0.41), (0.5, 0.6), nod), 0.07, pose)
    tip = turned((0.5 + 1.6 * slide, 0.54 + 0.03 * pose.mouth), (0.5, 0.6), nod)
    corners = [turned((0.5 + slide + dx, 0.445), (0.5, 0.6), nod) for dx in (-0.052, 0.052)]
    canvas.polygon([*corners, tip], beak, darker(beak, 0.3), 0.01)
    # The hat sits to one side, so that the crest still shows.
    top = turned((0.42, 0.33), (0.5, 0.6), nod)
    put_on(
        canvas,
        identity,
        {"scarf": ((0.5, 0.6), 0.2, 0), "bow": ((0.5, 0.64), 0.12, 0), "hat": (top, 0.13, nod - 24)},
    )
