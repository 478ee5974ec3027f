"""Places to put a subject into, in words: of the prompts, of the decoys, and those that were published.

A scene is what follows the subject in a prompt, and the place alone: ("on a beach", "a beach").
"""

from typing import NamedTuple


class Scene(NamedTuple):
    """A place as prompts speak of it."""

    phrase: str
    """Behind the subject: "on a beach"."""
    place: str
    """Alone: "a beach"; empty where the words name no place."""


OBJECT_SCENES = tuple(
    Scene(*scene)
    for scene in (
        # The first four are the quick preset's, the first ten the default's: as unlike as possible.
        ("on a sandy beach by the sea", "a sandy beach by the sea"),
        ("on a shelf in an old library", "an old library"),
        ("in deep snow under pine trees", "deep snow under pine trees"),
        ("on a street in a city at night", "a street in a city at night"),
        ("on moss in a dense green forest", "moss in a dense green forest"),
        ("on a dune in a desert", "a dune in a desert"),
        ("on a workbench in a cluttered garage", "a workbench in a cluttered garage"),
        ("in a field of red poppies", "a field of red poppies"),
        ("on a rock in front of a waterfall", "a waterfall"),
        ("on the deck of a sailing boat", "the deck of a sailing boat"),
        ("on a table in a street cafe", "a street cafe"),
        ("on the stairs of a stone temple", "the stairs of a stone temple"),
        ("among autumn leaves in a park", "autumn leaves in a park"),
        ("on a tiled floor beside a swimming pool", "a swimming pool"),
        ("on a wooden pier at a mountain lake", "a mountain lake with a wooden pier"),
        ("on a counter in a chemistry laboratory", "a chemistry laboratory"),
        ("on hay in a barn", "hay in a barn"),
        ("on a platform in a railway station", "a railway station"),
        ("on a stage under purple light", "a stage under purple light"),
        ("on cracked earth in front of a volcano", "cracked earth in front of a volcano"),
    )
)
"""For things."""

LIVING_SCENES = tuple(
    Scene(*scene)
    for scene in (
        ("running on a sandy beach by the sea", "a sandy beach by the sea"),
        ("sitting in an old library", "an old library"),
        ("standing in deep snow under pine trees", "deep snow under pine trees"),
        ("walking on a street in a city at night", "a street in a city at night"),
        ("resting in a dense green forest", "a dense green forest"),
        ("standing on a dune in a desert", "a dune in a desert"),
        ("sitting in a cluttered garage", "a cluttered garage"),
        ("sitting in a field of red poppies", "a field of red poppies"),
        ("standing in front of a waterfall", "a waterfall"),
        ("sitting on the deck of a sailing boat", "the deck of a sailing boat"),
        ("sitting in a street cafe", "a street cafe"),
        ("on the stairs of a stone temple", "the stairs of a stone temple"),
        ("playing among autumn leaves in a park", "autumn leaves in a park"),
        ("beside a swimming pool", "a swimming pool"),
        ("on a wooden pier at a mountain lake", "a mountain lake with a wooden pier"),
        ("in a chemistry laboratory", "a chemistry laboratory"),
        ("lying on hay in a barn", "hay in a barn"),
        ("waiting on a platform in a railway station", "a railway station"),
        ("on a stage under purple light", "a stage under purple light"),
        ("on cracked earth in front of a volcano", "cracked earth in front of a volcano"),
    )
)
"""For animals and people."""

LIVING_NOUNS = frozenset(
    "alpaca animal ape baby bear bee bird boar boy bull bunny butterfly calf camel cat cheetah chick chicken "
    "child cow crab crocodile deer dog dolphin donkey duck eagle elephant ferret fish fox frog giraffe girl "
    "goat goose hamster hedgehog hen horse insect kangaroo kitten koala lamb leopard lion lizard llama man "
    "monkey moose mouse octopus otter owl ox panda parrot peacock penguin person pet pig pigeon pony puppy "
    "rabbit raccoon rat rooster seal shark sheep sloth snake spider squirrel swan tiger toddler tortoise "
    "turtle whale wolf woman zebra".split()
)
"""Class nouns of what is alive, by their last word. A stuffed animal is not."""

_DREAMBOOTH_COMMON = (
    ("in the jungle", "the jungle"),
    ("in the snow", "the snow"),
    ("on the beach", "the beach"),
    ("on a cobblestone street", "a cobblestone street"),
    ("on top of pink fabric", "pink fabric"),
    ("on top of a wooden floor", "a wooden floor"),
    ("with a city in the background", "a city"),
    ("with a mountain in the background", "a mountain"),
    ("with a blue house in the background", "a blue house"),
    ("on top of a purple rug in a forest", "a purple rug in a forest"),
)
DREAMBOOTH_LIVING = tuple(Scene(*scene) for scene in _DREAMBOOTH_COMMON)
"""The ten of the 25 published prompts for living subjects that name a place.

Source: google/dreambooth, dataset/prompts_and_classes.txt, as DREAMBOOTH_OBJECTS. The others dress the
subject or change what it is, and say nothing of a background.
"""
DREAMBOOTH_OBJECTS = tuple(
    Scene(*scene)
    for scene in (
        *_DREAMBOOTH_COMMON,
        ("with a wheat field in the background", "a wheat field"),
        ("with a tree and autumn leaves in the background", "a tree and autumn leaves"),
        ("with the Eiffel Tower in the background", "the Eiffel Tower"),
        ("floating on top of water", "water"),
        ("floating in an ocean of milk", "an ocean of milk"),
        ("on top of green grass with sunflowers around it", "green grass with sunflowers"),
        ("on top of a mirror", "a mirror"),
        ("on top of the sidewalk in a crowded street", "the sidewalk in a crowded street"),
        ("on top of a dirt road", "a dirt road"),
        ("on top of a white rug", "a white rug"),
    )
)
"""The twenty of the 25 published prompts for objects that name a place."""

DECOY_KINDS = (
    ("a living room with a sofa", "a bedroom with a large bed", "a hallway with a carpet"),
    ("a kitchen with white tiles", "a bathroom with a mirror", "a laundry room"),
    ("an office with desks", "a classroom with chairs", "a meeting room with a long table"),
    ("a wooden floor in an empty room", "a floor of grey concrete", "a floor of marble"),
    ("a plain white wall", "a wall of red bricks", "a wall with striped wallpaper"),
    ("a lawn behind a house", "a garden with flowers", "a greenhouse full of plants"),
    ("a path through a forest", "a clearing between birches", "the roots of an old oak"),
    ("a meadow in the mountains", "a field of wheat", "a vineyard on a hill"),
    ("a pebble beach", "cliffs above the sea", "a harbour with fishing boats"),
    ("a river between willows", "a lake at sunset", "a pond with water lilies"),
    ("a snowy street in a village", "a frozen lake", "a ski slope"),
    ("a canyon of red rock", "a steppe with dry grass", "a salt flat"),
    ("a busy shopping street", "a square with a fountain", "an alley with graffiti"),
    ("a parking lot in front of a supermarket", "a motorway bridge", "a petrol station at night"),
    ("a museum with paintings", "a church with stained glass", "a theatre with red seats"),
    ("a market with fruit stalls", "a bakery with shelves of bread", "a shop full of books"),
    ("a factory hall with machines", "a workshop with tools", "a warehouse with boxes"),
    ("a playground with a slide", "a football field", "a tennis court"),
    ("a clear blue sky", "storm clouds over a plain", "the stars above a valley"),
)
"""Places for decoys: kinds of places with three of each, so that a bank holds one kind, as an album does."""
