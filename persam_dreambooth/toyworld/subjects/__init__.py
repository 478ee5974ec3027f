"""The twelve kinds of subject of the toy world, each drawn by one function with one signature."""

from collections.abc import Callable

from persam_dreambooth.toyworld.canvas import Canvas
from persam_dreambooth.toyworld.subjects.animals import draw_bird, draw_cat, draw_dog, draw_duck
from persam_dreambooth.toyworld.subjects.identity import Identity, Pose, identity_of, random_pose
from persam_dreambooth.toyworld.subjects.machines import draw_car, draw_robot
from persam_dreambooth.toyworld.subjects.things import (
    draw_backpack,
    draw_boot,
    draw_clock,
    draw_mug,
    draw_plant,
    draw_teapot,
)

__all__ = ["DRAW", "SUBJECTS", "Identity", "Pose", "identity_of", "random_pose"]

DRAW: dict[str, Callable[[Canvas, Identity, Pose], None]] = {
    "cat": draw_cat,
    "dog": draw_dog,
    "duck": draw_duck,
    "teapot": draw_teapot,
    "backpack": draw_backpack,
    "car": draw_car,
    "mug": draw_mug,
    "robot": draw_robot,
    "bird": draw_bird,
    "boot": draw_boot,
    "plant": draw_plant,
    "clock": draw_clock,
}
"""Paints an individual in a pose on a square canvas; it stands on y = 0.96."""

SUBJECTS: tuple[str, ...] = tuple(DRAW)
