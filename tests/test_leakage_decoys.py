"""Decoys that somebody chose: as sharp as the pictures, and told where they hide leakage."""

import numpy as np
import pytest
from leakage_cases import PROMPTS, arm, disc, photos, place

from persam_dreambooth.leakage.comparison import Options, compare

TRAINING = 100
DECOYS = [place(number) for number in range(3)]
SHOWN = {(PROMPTS[0], seed): place(210 + seed) for seed in range(2)}


def test_decoys_are_no_sharper_than_the_pictures():
    """Large decoys would lose to shrunk photos by their fine detail alone."""
    arms = {"base": arm(SHOWN)}
    large = [np.kron(decoy, np.ones((3, 3, 1), np.uint8)) for decoy in DECOYS]
    measured = [
        compare(
            arms,
            photos=photos(TRAINING, 2),
            decoys=decoys,
            find_subject=lambda _: disc(),
            options=Options(num_banks=3),
        )["rows"]
        for decoys in (DECOYS, large, [(decoy, None) for decoy in large])
    ]
    small, *others = measured
    for rows in others:
        for one, other in zip(small, rows, strict=True):
            assert other["attribution"] == pytest.approx(one["attribution"], abs=0.03)
            assert other["max_cosine"] == pytest.approx(one["max_cosine"], abs=0.02)


def test_what_hides_leakage_or_leaves_a_number_out_is_told():
    """Decoys of the photos' scene that cannot be spared; no base picture with a subject: no likeness."""
    decoys = [*DECOYS, place(TRAINING, 9)]
    told = {}
    for name in ("base", "plain"):
        told[name] = compare(
            {name: arm(SHOWN)},
            photos=photos(TRAINING, 2),
            decoys=decoys,
            find_subject=lambda _: disc(),
            options=Options(num_banks=4),
        )["warnings"]
    kept = "decoys of the photos' own scene, kept because the banks need them: 1; they hide leakage"
    assert all(any(warning.startswith(kept) for warning in own) for own in told.values())
    without = "likeness: no picture of the base model shows the subject's class; it is not given"
    assert without in told["plain"]
    assert without not in told["base"]
