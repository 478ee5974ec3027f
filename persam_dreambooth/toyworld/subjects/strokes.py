"""Strokes that several subjects share: curves, coats of colour, eyes and legs."""

import math
from random import Random

from persam_dreambooth.toyworld.canvas import Canvas, Colour, Point, darker, lighter
from persam_dreambooth.toyworld.subjects.identity import Identity, Pose

INK: Colour = (38, 34, 44)
PAPER: Colour = (255, 253, 248)
BLUSH: Colour = (240, 130, 140)


def curve(start: Point, control: Point, end: Point, num_steps: int = 12) -> list[Point]:
    """Points of the quadratic Bezier curve from `start` to `end`, pulled towards `control`."""
    points = []
    for k in range(num_steps + 1):
        t = k / num_steps
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
        points.append(
            (a * start[0] + b * control[0] + c * end[0], a * start[1] + b * control[1] + c * end[1])
        )
    return points


def turned(point: Point, centre: Point, degrees: float) -> Point:
    """`point` turned clockwise about `centre`."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = point[0] - centre[0], point[1] - centre[1]
    return centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos


def coat(canvas: Canvas, identity: Identity, strength: float = 0.3) -> None:
    """Give the current part the individual's pattern in its second colour, then round it off with shade."""
    canvas.pattern(identity.pattern, identity.second, Random(identity.pattern_seed))
    canvas.shade(strength)


def pale(colour: Colour) -> Colour:
    """The light shade of `colour` that bellies, muzzles and inner ears have."""
    return lighter(colour, 0.62)


def eye(canvas: Canvas, centre: Point, radius: float, pose: Pose) -> None:
    """One big round eye that looks where the pose turns, or a shut one."""
    x, y = centre
    if pose.blink:
        canvas.ellipse(centre, (radius, radius), PAPER)
        canvas.arc((x, y - radius * 0.2), (radius * 0.75, radius * 0.6), 10, 170, INK, radius * 0.45)
        return
    canvas.ellipse(centre, (radius * 1.12, radius * 1.12), INK)
    canvas.ellipse(centre, (radius, radius), PAPER)
    look = x + 0.28 * radius * pose.turn
    canvas.ellipse((look, y + 0.05 * radius), (radius * 0.68, radius * 0.74), INK)
    canvas.ellipse((look - radius * 0.25, y - radius * 0.28), (radius * 0.26, radius * 0.26), PAPER)


def smile(canvas: Canvas, centre: Point, radius: float, pose: Pose) -> None:
    """A smile below `centre`; it opens with `pose.mouth`."""
    x, y = centre
    if pose.mouth > 0.5:
        canvas.ellipse((x, y + radius * 0.45), (radius * 0.6, radius * (0.3 + 0.35 * pose.mouth)), INK)
        canvas.ellipse((x, y + radius * 0.7), (radius * 0.38, radius * 0.22), BLUSH)
    canvas.arc(centre, (radius, radius * 0.7), 15, 165, INK, radius * 0.28)


def leg(canvas: Canvas, hip: Point, foot_x: float, width: float, colour: Colour) -> None:
    """A leg from `hip` down to the ground at `foot_x`, with a paw."""
    ground = 0.96
    canvas.line([hip, (foot_x, ground - width / 2)], colour, width)
    canvas.ellipse((foot_x + width * 0.15, ground - width * 0.36), (width * 0.7, width * 0.36), colour)


def toes(canvas: Canvas, foot_x: float, width: float, colour: Colour) -> None:
    """A light paw at the end of a leg drawn by `leg`."""
    canvas.ellipse((foot_x + width * 0.15, 0.96 - width * 0.36), (width * 0.7, width * 0.36), colour)
    canvas.line(
        [(foot_x + width * 0.2, 0.955 - width * 0.25), (foot_x + width * 0.2, 0.95)], darker(colour), 0.012
    )
