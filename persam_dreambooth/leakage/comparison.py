"""The comparison: the same prompts and seeds drawn by several models, measured, with intervals.

In: the arms' pictures, the photos with their masks, decoys, and the truth where there is one.
Out: one dict that JSON can hold; `report` shows it. Equal pictures give equal numbers, to the last digit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage import features, statistics
from persam_dreambooth.leakage.finder import SubjectFinder
from persam_dreambooth.leakage.metrics import NUM_BANKS, Attribution, Banks, attribution, build_banks
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.truth import Truth, Verdict, verdicts

SCHEMA = "persam-dreambooth-comparison/1"
BASE = "base"
"""Name of the arm of the model before fine-tuning: what excess is counted from."""
PLAIN = "plain"
"""Name of the arm fine-tuned without masks: what the other arms are compared with."""

SHARES = ("leak", "agreement", "subject")
"""Measures that are yes or no in each picture. They need the truth, and so does `likeness`."""
MEASURES = (*SHARES, "likeness", "attribution", "excess")
"""Keys of a row that are averaged."""


def compare(
    arms: Mapping[str, Sequence[Picture]],
    *,
    photos: Sequence[tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]],
    decoys: Sequence[UInt8[np.ndarray, "H W 3"]],
    find_subject: SubjectFinder,
    truth: Truth | None = None,
    num_banks: int = NUM_BANKS,
) -> dict[str, Any]:
    """Measure every picture of every arm and return the comparison.

    Args:
        arms: pictures by arm; `base` and `plain` have a meaning, other names are free.
        photos: pixels and subject mask of each training photo.
        decoys: pictures of other places, without the subject (see `metrics.build_banks`).
        find_subject: from `finder.subject_finder`.
        truth: for subjects of the toy world; without it leak, agreement, subject and likeness are absent.
        num_banks: number of decoy banks.

    Raises:
        UserError: the arms differ in prompts or seeds; too few decoys; photos without background.
    """
    check_pairs(arms)
    banks = build_banks(photos, decoys, num_banks=num_banks)
    rows = []
    for arm, pictures in arms.items():
        seen = verdicts(pictures, truth) if truth else [None] * len(pictures)
        progress = tqdm(pictures, desc=f"measure {arm}", unit="picture", disable=None)
        for picture, verdict in zip(progress, seen, strict=True):
            rows.append(_row(arm, picture, banks, find_subject(picture.pixels), verdict))
    result = summarise(rows)
    result["features"] = {
        "name": features.NAME,
        "num_features": features.NUM_FEATURES,
        "num_banks": len(banks.decoys),
        "bank_size": len(banks.training),
        "num_decoys": len(decoys),
        "chance": banks.chance,
    }
    result["truth"] = truth and {
        "subject": truth.subject,
        "identity": truth.identity,
        "training_backgrounds": list(truth.training_backgrounds),
    }
    return result


def check_pairs(arms: Mapping[str, Sequence[Picture]]) -> None:
    """Raise UserError unless every arm has exactly one picture of the same prompts and seeds."""
    if not arms or not all(arms.values()):
        raise UserError(
            "arms: at least one arm with at least one picture is needed. Generate pictures first."
        )
    first, *others = arms
    keys = {arm: [picture.key for picture in pictures] for arm, pictures in arms.items()}
    for arm, own in keys.items():
        twice = next((key for key in own if own.count(key) > 1), None)
        if twice:
            raise UserError(
                f"arm {arm}: two pictures of {twice[0]!r} with seed {twice[1]}; one is needed. "
                "Remove the other."
            )
    for arm in others:
        if odd := set(keys[first]) ^ set(keys[arm]):
            prompt, seed = min(odd)
            lacking = arm if (prompt, seed) in keys[first] else first
            raise UserError(
                f"arm {lacking}: no picture of {prompt!r} with seed {seed}; every arm needs the same prompts "
                "and seeds. Generate it."
            )


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what follows from the rows alone: means, differences and their intervals.

    Args:
        rows: one for each picture, from `compare` or from the file of an earlier one, with every arm's
            pictures paired. Their `excess` is filled in here.

    Returns:
        `schema`, `statistics`, `prompts` (in the rows' order), `seeds`, `arms` (estimates by arm and
        measure), `differences` (each arm but base minus plain, by measure) and `rows`.
    """
    names = list(dict.fromkeys(row["arm"] for row in rows))
    _fill_in_excess(rows)
    # One order for all arms, so that pairs stand in the same place.
    pictures = list(dict.fromkeys((row["prompt"], row["seed"]) for row in rows))
    weights = statistics.resampling_weights([prompt for prompt, _ in pictures])
    values = {arm: _values(rows, arm, pictures) for arm in names}
    tuned = [arm for arm in names if arm not in (BASE, PLAIN) and PLAIN in names]
    return {
        "schema": SCHEMA,
        "statistics": {
            "method": "two-level paired bootstrap over prompts and their seeds, percentiles; at least "
            "Wilson's interval for shares, Newcombe's for differences of shares whose pairs are all equal",
            "level": statistics.LEVEL,
            "num_resamples": statistics.NUM_RESAMPLES,
            "seed": statistics.SEED,
        },
        "prompts": list(dict.fromkeys(prompt for prompt, _ in pictures)),
        "seeds": sorted({seed for _, seed in pictures}),
        "arms": {arm: _arm_summary(rows, arm, values[arm], weights) for arm in names},
        "differences": [
            {"arm": arm, "minus": PLAIN, **_difference(values[arm], values[PLAIN], weights)} for arm in tuned
        ],
        "rows": rows,
    }


def _row(
    arm: str,
    picture: Picture,
    banks: Banks,
    mask: Bool[np.ndarray, "H W"] | None,
    verdict: Verdict | None,
) -> dict[str, Any]:
    """Return everything that is known about one picture."""
    found: Attribution = attribution(banks, picture.pixels, mask)
    row: dict[str, Any] = {
        "arm": arm,
        "prompt": picture.prompt,
        "prompted_background": picture.background,
        "seed": picture.seed,
        "subject_found": mask is not None,
        "num_background_cells": found.num_cells,
        "attribution": found.rate,
    }
    return row | asdict(verdict) if verdict else row


def _fill_in_excess(rows: list[dict[str, Any]]) -> None:
    """Set each row's attribution less that of the base model's picture of the same prompt and seed."""
    base = {(row["prompt"], row["seed"]): row["attribution"] for row in rows if row["arm"] == BASE}
    for row in rows:
        own, before = row["attribution"], base.get((row["prompt"], row["seed"]))
        told = row["arm"] != BASE and own is not None and before is not None
        row["excess"] = own - before if told else None


def _values(
    rows: list[dict[str, Any]], arm: str, pictures: list[tuple[str, int]]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return an arm's values by measure, in the order of the pictures, NaN where there is none."""
    own = {(row["prompt"], row["seed"]): row for row in rows if row["arm"] == arm}
    return {
        measure: np.array([own[key].get(measure) for key in pictures], dtype=np.float64)
        for measure in MEASURES
    }


def _arm_summary(
    rows: list[dict[str, Any]],
    arm: str,
    values: dict[str, Float[np.ndarray, " n"]],
    weights: Float[np.ndarray, "r n"],
) -> dict[str, Any]:
    """Return an arm's estimates, by measure, and its counts."""
    own = [row for row in rows if row["arm"] == arm]
    counts = {
        "num_pictures": len(own),
        "subject_missing": sum(not row["subject_found"] for row in own),
    }
    estimates = {
        measure: statistics.estimate(values[measure], weights, is_share=measure in SHARES)
        for measure in MEASURES
    }
    return counts | _told(estimates)


def _difference(
    first: dict[str, Float[np.ndarray, " n"]],
    second: dict[str, Float[np.ndarray, " n"]],
    weights: Float[np.ndarray, "r n"],
) -> dict[str, Any]:
    """Return the estimates of one arm minus another, by measure."""
    return _told(
        {
            measure: statistics.difference(
                first[measure], second[measure], weights, is_share=measure in SHARES
            )
            for measure in MEASURES
        }
    )


def _told(estimates: dict[str, statistics.Estimate | None]) -> dict[str, dict[str, float]]:
    """Return the estimates that exist, as JSON holds them."""
    return {measure: asdict(found) for measure, found in estimates.items() if found}
