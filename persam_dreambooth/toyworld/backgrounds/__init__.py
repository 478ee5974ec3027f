"""Twelve places to stand at. Each is drawn from two seeds: what the place is, and how this photo sees it."""

from collections.abc import Callable
from random import Random

from persam_dreambooth.toyworld.backgrounds.countryside import farm, forest, mountains
from persam_dreambooth.toyworld.backgrounds.indoors import kitchen, room
from persam_dreambooth.toyworld.backgrounds.library import library
from persam_dreambooth.toyworld.backgrounds.open_air import beach, desert, meadow, snow
from persam_dreambooth.toyworld.backgrounds.town import city, night
from persam_dreambooth.toyworld.canvas import Canvas

DRAW: dict[str, Callable[[Canvas, Random, Random], float]] = {
    "beach": beach,
    "snow": snow,
    "forest": forest,
    "city": city,
    "desert": desert,
    "room": room,
    "meadow": meadow,
    "night": night,
    "kitchen": kitchen,
    "mountains": mountains,
    "library": library,
    "farm": farm,
}
"""Name to drawing. Called with a square canvas, the place's and the photo's random numbers; returns the
height (a fraction of the side, 0.62..0.95) at which something standing in the middle has its feet."""

BACKGROUNDS: tuple[str, ...] = tuple(DRAW)
"""The names, in a fixed order."""

PHRASES: dict[str, tuple[str, ...]] = {
    "beach": ("on a beach", "at the beach"),
    "snow": ("in the snow",),
    "forest": ("in a forest", "in the woods"),
    "city": ("in a city", "in the city"),
    "desert": ("in a desert", "in the desert"),
    "room": ("in a living room", "in a room"),
    "meadow": ("in a meadow", "in a field of flowers"),
    "night": ("in a street at night", "at night"),
    "kitchen": ("in a kitchen", "in the kitchen"),
    "mountains": ("in the mountains",),
    "library": ("in a library", "in the library"),
    "farm": ("on a farm", "at a farm"),
}
"""How captions speak of each background; the first phrase is the usual one."""
