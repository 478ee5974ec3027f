"""Leakage where the truth is known, by hand: leak, agreement, likeness of single pictures."""

import numpy as np
import pytest
import torch

from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.truth import Truth, verdicts, verdicts_of
from persam_dreambooth.toyworld.classifier import HEADS, Classifier, Judgement
from persam_dreambooth.toyworld.subjects.traits import TRAITS, traits_of

IDENTITY = 7


def judgement(*pictures: dict[str, str], certainty: float = 1.0) -> Judgement:
    """Return a judgement that gives each named class `certainty`, and the rest to the others equally."""
    told = {}
    for head, classes in HEADS.items():
        told[head] = np.full((len(pictures), len(classes)), (1 - certainty) / (len(classes) - 1))
        for number, names in enumerate(pictures):
            told[head][number, classes.index(names.get(head, classes[0]))] = certainty
    return Judgement(told)


def judged(picture: dict[str, str], prompted: str | None, certainty: float = 1.0):
    picture = {"subject": "cat", **traits_of("cat", IDENTITY), **picture}
    return verdicts_of(
        judgement(picture, certainty=certainty),
        [prompted],
        subject="cat",
        identity=IDENTITY,
        training_backgrounds=("room", "kitchen"),
    )[0]


@pytest.mark.parametrize(
    ("seen", "prompted", "leak", "agreement"),
    [
        ("beach", "beach", False, True),
        ("room", "beach", True, False),
        ("kitchen", "beach", True, False),
        ("snow", "beach", False, False),
        ("room", None, None, None),
        ("room", "room", None, None),
        ("kitchen", "room", None, None),
    ],
)
def test_leak_and_agreement(seen, prompted, leak, agreement):
    found = judged({"background": seen}, prompted)
    assert (found.predicted_background, found.leak, found.agreement) == (seen, leak, agreement)


def test_likeness_is_the_mean_probability_of_the_five_traits():
    assert len(TRAITS) == 5
    assert judged({}, "beach").trait_likeness == pytest.approx(1.0)
    assert judged({}, "beach", certainty=0.6).trait_likeness == pytest.approx(0.6)
    own = traits_of("cat", IDENTITY)["main"]
    other = next(name for name in TRAITS["main"] if name != own)
    assert judged({"main": other}, "beach").trait_likeness == pytest.approx(0.8)


@pytest.mark.parametrize("kind", ["dog", "nothing"])
def test_another_kind_has_no_likeness(kind):
    found = judged({"subject": kind}, "beach")
    assert not found.subject
    assert found.trait_likeness == 0.0


def test_pictures_of_any_size_are_judged():
    torch.manual_seed(1)
    rng = np.random.default_rng(0)
    pictures = [
        Picture("p", "beach", seed, rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        for seed, side in enumerate((128, 64, 200))
    ]
    truth = Truth(Classifier().eval(), "cat", IDENTITY, ("room",))
    found = verdicts(pictures, truth)
    assert len(found) == 3
    assert all(one.predicted_background in HEADS["background"] for one in found)
    assert verdicts(pictures[:1], truth)[0].trait_likeness == pytest.approx(found[0].trait_likeness, abs=1e-6)
    assert verdicts([], truth) == []
