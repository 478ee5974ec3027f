"""What a generated picture really shows, for subjects of the toy world, whose truth is known.

The toy world's classifier names the background and the subject of a picture, and how likely it bears each of
the traits by which the individual can be recognised.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.toyworld.classifier import INPUT_SIZE, Classifier, Judgement, judge
from persam_dreambooth.toyworld.subjects.traits import TRAITS, traits_of


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of the photos, and the classifier that looks for it in pictures."""

    classifier: Classifier
    subject: str
    """The subject's class."""
    identity: int
    """The number of the individual."""
    training_backgrounds: tuple[str, ...]
    """Names of the backgrounds that the photos show."""


@dataclass(frozen=True)
class Verdict:
    """What the classifier sees in one picture."""

    predicted_background: str
    leak: bool | None
    """Whether a training background is seen instead of the prompted one. None where that cannot be told: the
    prompt names no background, or names one of the training backgrounds itself."""
    agreement: bool | None
    """Whether the prompted background is seen; None in the same cases."""
    subject: bool
    """Whether the subject's class is recognised."""
    trait_likeness: float
    """Mean probability of the individual's traits, 0 to 1; 0 where its class is not recognised."""


def verdicts(pictures: Sequence[Picture], truth: Truth) -> list[Verdict]:
    """Return what the classifier sees in each picture."""
    if not pictures:
        return []
    return verdicts_of(
        judge(truth.classifier, np.stack([_at_input_size(picture) for picture in pictures])),
        [picture.background for picture in pictures],
        subject=truth.subject,
        identity=truth.identity,
        training_backgrounds=truth.training_backgrounds,
    )


def verdicts_of(
    judgement: Judgement,
    prompted: Sequence[str | None],
    *,
    subject: str,
    identity: int,
    training_backgrounds: Sequence[str],
) -> list[Verdict]:
    """Return what follows from the classifier's probabilities.

    Args:
        judgement: probabilities for n pictures.
        prompted: the background that each prompt names, or None.
        subject: the subject's class.
        identity: the number of the individual.
        training_backgrounds: names of the backgrounds that the photos show.
    """
    traits = traits_of(subject, identity)
    likeness = np.mean([judgement.of(trait, traits[trait]) for trait in TRAITS], axis=0)
    seen = zip(prompted, judgement.names("background"), judgement.names("subject"), likeness, strict=True)
    found = []
    for wanted, background, kind, alike in seen:
        told = wanted is not None and wanted not in training_backgrounds
        found.append(
            Verdict(
                predicted_background=background,
                leak=background in training_backgrounds if told else None,
                agreement=background == wanted if told else None,
                subject=kind == subject,
                trait_likeness=float(alike) if kind == subject else 0.0,
            )
        )
    return found


def _at_input_size(picture: Picture) -> np.ndarray:
    """Return a picture's pixels at the classifier's size."""
    if picture.pixels.shape[:2] == (INPUT_SIZE, INPUT_SIZE):
        return picture.pixels
    image = Image.fromarray(picture.pixels)
    return np.asarray(image.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.LANCZOS))
