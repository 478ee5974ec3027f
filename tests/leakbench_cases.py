"""Rows of LeakBench, made up: two subjects, the base model and two ways to train."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from leakbench_plan import FIXED, RECONTEXT, VARIED
from leakbench_scores import MEASURES, NAMES


def row(album, arm, place, attribution, **changes):
    own = dict.fromkeys((*NAMES, *MEASURES))
    told = {"family": RECONTEXT, "seed": 0, "group": FIXED, "subject_found": True, "missing": False}
    training = None if arm == "base" else 0
    return (
        own
        | told
        | {
            "album": album,
            "arm": arm,
            "prompt": place,
            "training_seed": training,
            "attribution": attribution,
            **changes,
        }
    )


def two_albums():
    # Of 100 cells by picture: base 10, plain 50 and 30, masked 20 and 10.
    values = {
        "a": {"base": 0.1, "plain": 0.5, "masked": 0.2},
        "b": {"base": 0.1, "plain": 0.3, "masked": 0.1},
    }
    return [
        row(
            album,
            arm,
            place,
            value,
            group={"a": FIXED, "b": VARIED}[album],
            leak=arm == "plain" and place == "x",
            agreement=arm != "plain",
            trait_likeness={"base": 0.2, "plain": 0.6, "masked": 0.6}[arm],
            subject=True,
        )
        for album, arms in values.items()
        for arm, value in arms.items()
        for place in ("x", "y")
    ]
