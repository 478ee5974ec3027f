"""What LeakBench runs: subjects, prompts, ways to train, and in which order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random

from persam_dreambooth.errors import UserError
from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.subjects import SUBJECTS

TOKEN = "sks"
FIXED, VARIED, PHOTOS = "fixed", "varied", "photos"
"""Groups of subjects: photographed in one scene, in as many as there are photos, or by somebody."""

RECONTEXT, BARE, CLASS = "recontext", "bare", "class"
"""Prompt families: another place, no place, and the class without the subject's word."""

NUM_PHOTOS = 4
NUM_PLACES = 6
"""Places that a toy subject is drawn in."""


@dataclass(frozen=True)
class Prompt:
    """What is drawn."""

    family: str
    text: str
    """As the tuned models are asked."""
    base_text: str
    """As the base model is asked: without the subject's word, which it does not know."""
    background: str | None = None
    """The toy world's name of the place that is asked for."""


@dataclass(frozen=True)
class Subject:
    """Photos of one individual, and what is drawn of it."""

    name: str
    noun: str
    """Its class in words."""
    group: str
    prompts: tuple[Prompt, ...]
    identity: int | None = None
    """Its number in the toy world; None for a subject of photos."""
    scenes: tuple[tuple[str, int], ...] = ()
    """Place and number of that place for each photo, in the toy world."""
    has_captions: bool = True
    """Whether every photo has a caption of its own, which the captioned arm needs."""

    @property
    def instance_prompt(self) -> str:
        """What every photo is called."""
        return f"a photo of {TOKEN} {self.noun}"

    @property
    def class_prompt(self) -> str:
        """The same without the subject's word."""
        return f"a photo of a {self.noun}"

    @property
    def photographed(self) -> tuple[str, ...]:
        """Places in the toy photos, each once."""
        return tuple(dict.fromkeys(place for place, _ in self.scenes))


@dataclass(frozen=True)
class Arm:
    """A way to train: flags of train_dreambooth.py over those that all arms share."""

    title: str
    flags: tuple[str, ...] = ()
    masks: bool = True
    captions: bool = False
    """Whether each photo is called by its place, too."""


_MASK_ALONE = ("--outside_prior_weight", "0")
_OUTSIDE = ("--outside_prior_weight", "1")
_CLASS_IMAGES = ("--with_prior_preservation",)

ARMS: dict[str, Arm] = {
    "plain": Arm("plain", masks=False),
    "masked": Arm("masked (loss mask alone)", _MASK_ALONE),
    "masked_outside": Arm("masked + outside prior", _OUTSIDE),
    "random_outside": Arm("strict, random background + outside prior", (*_OUTSIDE, "--background", "random")),
    "random": Arm("strict, random background", (*_MASK_ALONE, "--background", "random")),
    "class_outside": Arm("strict, class background + outside prior", (*_OUTSIDE, "--background", "class")),
    "class": Arm("strict, class background", (*_MASK_ALONE, "--background", "class")),
    "plain_prior": Arm("plain + prior preservation", _CLASS_IMAGES, masks=False),
    "masked_prior": Arm("masked + prior preservation", (*_MASK_ALONE, *_CLASS_IMAGES)),
    "captioned": Arm("plain, captions name the place", masks=False, captions=True),
    "captioned_outside": Arm("masked + outside prior, captions", _OUTSIDE, captions=True),
    "captioned_masked": Arm("masked (loss mask alone), captions", _MASK_ALONE, captions=True),
    "fill": Arm("strict, grey background", (*_MASK_ALONE, "--background", "fill")),
    "noise": Arm("strict, noise as background", (*_MASK_ALONE, "--background", "noise")),
    "blur": Arm("masked, blurred background", (*_MASK_ALONE, "--background", "blur")),
}
"""By name, the most telling first."""
CHOSEN = "captioned_masked"
"""The way to train that the first eight subjects chose, with 50 steps; tried on fresh ones."""
BLOCKS = (tuple(ARMS)[:4], tuple(ARMS)[4:8], tuple(ARMS)[8:])
"""All subjects are trained in the ways of one block before any in those of the next."""

_FIXED = {"dog": "room", "teapot": "kitchen", "robot": "library", "bird": "farm"}
_VARIED = {
    "cat": ("kitchen", "beach", "city", "library"),
    "backpack": ("room", "forest", "snow", "night"),
    "duck": ("meadow", "library", "desert", "kitchen"),
    "mug": ("farm", "mountains", "room", "city"),
}
_FIRST_IDENTITY, _FIRST_FRESH = 30001, 31001
"""Individuals from 10,000 on were in no training of the toy models; 200xx are the samples."""
_ROOM = 3
"""Which of the many beaches, rooms, ... the photos show."""


@dataclass(frozen=True)
class Run:
    """One training with its pictures."""

    subject: Subject
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.subject.name}/{self.arm}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that is run, and how; what a stored picture follows from."""

    subjects: tuple[Subject, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    """Pictures are drawn after so many training steps."""
    picture_seeds: tuple[int, ...] = (0, 1)
    flags: tuple[str, ...] = field(default=())
    """Of train_dreambooth.py, for all arms."""

    def runs(self) -> list[Run]:
        """Return all runs, those first that tell most.

        Seed by seed; in each block by block, and in each of those subjects with one scene before the others.
        """
        groups = list(dict.fromkeys(subject.group for subject in self.subjects))
        return [
            Run(subject, arm, seed)
            for seed in self.seeds
            for block in BLOCKS
            for group in groups
            for subject in self.subjects
            if subject.group == group
            for arm in self.arms
            if arm in block
            if subject.has_captions or not ARMS[arm].captions
        ]


def part_of(runs: Sequence[Run], part: str) -> list[Run]:
    """Return every n-th run, from "k/n".

    Raises:
        UserError: it is not of that form, or k is none of 1 to n.
    """
    number, slash, count = part.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"--part {part}: no part; one like 1/6 is needed, 1 to 6 of 6. Write it so.")
    return list(runs[int(number) - 1 :: int(count)])


def toy_subjects(names: Iterable[str] | None = None) -> tuple[Subject, ...]:
    """Return the toy subjects, those with one scene first.

    Args:
        names: only these; None is all.
    """
    places: Mapping[str, Sequence[str]] = {
        **{noun: (place,) * NUM_PHOTOS for noun, place in _FIXED.items()},
        **_VARIED,
    }
    return tuple(
        _toy_subject(noun, noun, FIXED if noun in _FIXED else VARIED, _FIRST_IDENTITY + number, photographed)
        for number, (noun, photographed) in enumerate(places.items())
        if names is None or noun in names
    )


def fresh_subjects() -> tuple[Subject, ...]:
    """Return other toy subjects than toy_subjects(): two of each class, those with one scene first.

    What was chosen on those is tried on these.
    """
    made = []
    for number, (group, noun) in enumerate(product((FIXED, VARIED), SUBJECTS)):
        name = f"{noun}_{group}"
        places = Random(f"scenes of {name}").sample(list(backgrounds.BACKGROUNDS), NUM_PHOTOS)
        photographed = places[:1] * NUM_PHOTOS if group == FIXED else places
        made.append(_toy_subject(name, noun, group, _FIRST_FRESH + number, photographed))
    return tuple(made)


def _toy_subject(name: str, noun: str, group: str, identity: int, photographed: Sequence[str]) -> Subject:
    """Return a toy subject by the place of each of its photos."""
    return Subject(
        name=name,
        noun=noun,
        group=group,
        prompts=_toy_prompts(name, noun, photographed),
        identity=identity,
        scenes=tuple((place, _ROOM) for place in photographed),
    )


def other_prompts(noun: str) -> tuple[Prompt, ...]:
    """Return the prompts without a place: the subject, and its class."""
    return (
        Prompt(BARE, f"a photo of {TOKEN} {noun}", f"a photo of a {noun}"),
        Prompt(CLASS, f"a photo of a {noun}", f"a photo of a {noun}"),
    )


def _toy_prompts(name: str, noun: str, photographed: Sequence[str]) -> tuple[Prompt, ...]:
    """Return what a toy subject is drawn as: in places that no photo shows, and the other families."""
    others = [place for place in backgrounds.BACKGROUNDS if place not in photographed]
    places = sorted(Random(f"places of {name}").sample(others, NUM_PLACES))
    phrases = {place: backgrounds.PHRASES[place][0] for place in places}
    return (
        *(
            Prompt(RECONTEXT, f"a photo of {TOKEN} {noun} {phrase}", f"a photo of a {noun} {phrase}", place)
            for place, phrase in phrases.items()
        ),
        *other_prompts(noun),
    )
