"""Who a subject is (colours, pattern, proportions, accessory) and how it holds itself, drawn from numbers."""

import math
from dataclasses import dataclass
from random import Random

from persam_dreambooth.toyworld.canvas import Colour

PALETTE: dict[str, Colour] = {
    "red": (212, 54, 50),
    "orange": (240, 134, 40),
    "yellow": (248, 208, 72),
    "green": (84, 164, 80),
    "teal": (36, 160, 164),
    "blue": (60, 108, 200),
    "purple": (136, 86, 182),
    "pink": (244, 150, 182),
    "brown": (140, 90, 58),
    "white": (248, 244, 236),
    "grey": (152, 156, 166),
    "black": (60, 58, 70),
}

PATTERN_WORDS = {
    "plain": "plain",
    "stripes": "striped",
    "bands": "banded",
    "spots": "spotted",
    "patches": "patched",
}
"""A pattern of the drawing kit, and the adjective captions use for it."""

WORN = ("scarf", "bow", "hat")
ACCESSORIES: dict[str, tuple[str, ...]] = {
    "cat": WORN,
    "dog": WORN,
    "duck": WORN,
    "teapot": ("heart", "flower", "bow"),
    "backpack": ("star", "heart", "flower"),
    "car": ("flag", "star", "flower"),
    "mug": ("heart", "star", "flower"),
    "robot": (*WORN, "heart"),
    "bird": WORN,
    "boot": ("star", "bow", "flower"),
    "plant": ("bow", "heart", "flag"),
    "clock": ("bow", "hat", "flower"),
}
"""What an individual of each kind may wear or carry."""

MIN_CONTRAST = 130.0
"""Least distance in RGB (0..441) between two colours of one individual, so that each reads at 60 pixels."""

NUM_BUILD = 3


@dataclass(frozen=True)
class Identity:
    """One individual: everything that stays the same from photo to photo.

    Attributes:
        main: Colour of most of the subject.
        second: Colour of its pattern or of its second largest part.
        accent: Colour of its accessory.
        pattern: A key of `PATTERN_WORDS`.
        accessory: One of the kind's `ACCESSORIES`.
        build: Three proportions in [0, 1]; what each one sets (ears, legs, girth...) is up to the kind.
        pattern_seed: Where the marks of the pattern fall.
        main_name: The palette's word for `main`; `second_name` and `accent_name` likewise.
    """

    main: Colour
    second: Colour
    accent: Colour
    pattern: str
    accessory: str
    build: tuple[float, float, float]
    pattern_seed: int
    main_name: str
    second_name: str
    accent_name: str

    @property
    def adjectives(self) -> str:
        """What captions put before the kind, such as "orange striped"."""
        return f"{self.main_name} {PATTERN_WORDS[self.pattern]}"

    @property
    def worn(self) -> str:
        """What captions put after "with a", such as "red scarf"."""
        return f"{self.accent_name} {self.accessory}"


@dataclass(frozen=True)
class Pose:
    """How a subject holds itself in one photo.

    Attributes:
        turn: In [-1, 1], to which side it turns or looks.
        lift: In [-1, 1], swing of legs, tail, wings, arms or lid.
        head: In [-1, 1], tilt of the head or the part that stands for one.
        mouth: In [0, 1], how far the mouth is open.
        blink: Whether the eyes are shut.
    """

    turn: float = 0.0
    lift: float = 0.0
    head: float = 0.0
    mouth: float = 0.3
    blink: bool = False


def identity_of(subject: str, number: int) -> Identity:
    """The individual `number` of the kind `subject`: the same one whenever and wherever it is asked for.

    Raises:
        KeyError: `subject` is not one of the kinds in `ACCESSORIES`.
    """
    rng = Random(f"{subject}/{number}")
    accessories = ACCESSORIES[subject]
    main = rng.choice(list(PALETTE))
    second = rng.choice(_far_from([main]))
    accent = rng.choice(_far_from([main, second]))
    return Identity(
        main=PALETTE[main],
        second=PALETTE[second],
        accent=PALETTE[accent],
        pattern=rng.choice(list(PATTERN_WORDS)),
        accessory=rng.choice(accessories),
        # Mostly extremes: a middling ear differs too little from a long or a short one.
        build=tuple(rng.choice((0.0, 0.4, 0.8)) + 0.2 * rng.random() for _ in range(NUM_BUILD)),
        pattern_seed=rng.randrange(2**31),
        main_name=main,
        second_name=second,
        accent_name=accent,
    )


def random_pose(rng: Random) -> Pose:
    """A pose drawn from `rng`; eyes are shut in one of twelve."""
    turn, lift, head = (rng.uniform(-1.0, 1.0) for _ in range(3))
    return Pose(turn=turn, lift=lift, head=head, mouth=rng.random(), blink=rng.random() < 1 / 12)


def _far_from(names: list[str]) -> list[str]:
    """Palette names at least `MIN_CONTRAST` away from every colour in `names`."""
    taken = [PALETTE[name] for name in names]
    return [
        name for name, rgb in PALETTE.items() if all(math.dist(rgb, other) >= MIN_CONTRAST for other in taken)
    ]
