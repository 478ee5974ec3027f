"""Every picture with a known leak, measured by the very functions that measure generated ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.banks import NUM_BANKS, Banks, build_banks
from persam_dreambooth.leakage.features import Cells, Features
from persam_dreambooth.leakage.scores import Scores, copy_threshold, score
from persam_dreambooth.leakage.validation import outcomes
from persam_dreambooth.leakage.validation.cases import Case, Data
from persam_dreambooth.leakage.validation.gates import gates
from persam_dreambooth.leakage.validation.plan import BASE, LEVELS, Made, pictures_of
from persam_dreambooth.photos import array_digest

SCHEMA = "persam-dreambooth-validation/1"


class Remembered:
    """Features that describe a picture only once: folds share their photos, and all cases their decoys."""

    def __init__(self, features: Features) -> None:
        """Remember nothing yet."""
        self.name, self.version = features.name, features.version
        self.digest, self.num_features = features.digest, features.num_features
        self._features = features
        self._cells: dict[tuple[str, str | None], Cells] = {}

    def cells(self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"] | None) -> Cells:
        """Return what the features said of this picture before, or say now."""
        key = array_digest(pixels), None if mask is None else array_digest(mask)
        if key not in self._cells:
            self._cells[key] = self._features.cells(pixels, mask)
        return self._cells[key]

    def subject(self, pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> np.ndarray:
        """Return what the features say of the subject."""
        return self._features.subject(pixels, mask)


def validate(
    data: Data,
    features: Features,
    *,
    levels: Sequence[float] = LEVELS,
    num_banks: int = NUM_BANKS,
    seed: int = 0,
) -> dict[str, Any]:
    """Make every picture, measure it, and return what follows; JSON can hold it.

    Args:
        data: the subjects.
        features: what describes a cell.
        levels: of the planted leaks, rising, in (0, 1].
        num_banks: decoy banks K.
        seed: decides everything that is drawn at random.

    Raises:
        UserError: there are no pictures to plant in; too few decoys; photos without background.
    """
    remembered = Remembered(features)
    banks = [_banks(case, remembered, num_banks, seed) for case in data.cases]
    rows = measure(data, banks, features, levels=levels, seed=seed)
    scores = {name: outcomes.outcome(rows, name, seed) for name in outcomes.SCORES}
    return {
        "schema": SCHEMA,
        "data": data.description,
        "subjects": data.names,
        "num_pictures": len(rows),
        "features": {
            "name": features.name,
            "version": features.version,
            "digest": features.digest,
            "num_features": features.num_features,
        },
        "banks": {
            "num": num_banks,
            "size": min(len(each.training) for each in banks),
            "chance": banks[0].chance,
            "num_decoys": [len(case.decoys) for case in data.cases],
            "dropped": [list(each.dropped) for each in banks],
        },
        "levels": list(levels),
        "seed": seed,
        "own_attribution": _own_attribution(data, banks),
        "scores": scores,
        "gates": [gate.record() for gate in gates(scores["attribution"], banks[0].chance)],
        "rows": rows,
    }


def measure(
    data: Data,
    banks: Sequence[Banks],
    features: Features,
    *,
    levels: Sequence[float],
    seed: int,
) -> list[dict[str, Any]]:
    """Return a row for every picture: what is known of it, and its scores.

    Args:
        data: the subjects.
        banks: one for each case.
        features: what describes a cell.
        levels: of the planted leaks.
        seed: of the pictures.
    """
    rows = []
    total = sum(len(case.hosts) for case in data.cases)
    with tqdm(total=total, desc=f"validate {features.name}", unit="picture", disable=None) as bar:
        for number, (case, own) in enumerate(zip(data.cases, banks, strict=True)):
            rows += _rows_of(case, number, own, features, levels, seed, bar)
    return rows


def _rows_of(
    case: Case, number: int, banks: Banks, features: Features, levels: Sequence[float], seed: int, bar: tqdm
) -> list[dict[str, Any]]:
    """Return the rows of one case, picture by picture; what a copy is follows from its base pictures."""
    rows = []
    base = [features.cells(one.pixels, one.mask) for one in _bases(case, levels, seed)]
    threshold = copy_threshold(banks, base)
    for host, before in enumerate(base):
        for made in pictures_of(case, host, levels, seed):
            cells = before if made.mode == BASE else features.cells(made.pixels, made.mask)
            known = {"name": case.name, "case": number, "host": host}
            rows.append(known | _row(made, score(banks, cells, threshold)))
        bar.update()
    return rows


def _bases(case: Case, levels: Sequence[float], seed: int) -> list[Made]:
    """Return the picture without any leak of each host: the first that is made of it."""
    return [next(pictures_of(case, host, levels, seed)) for host in range(len(case.hosts))]


def _row(made: Made, scores: Scores) -> dict[str, Any]:
    """Return what is known and what was measured of one picture."""
    told = {"mode": made.mode, "level": made.level, "share": made.share}
    measured = {one: getattr(scores, one) for one in outcomes.SCORES}
    return told | {"num_background_cells": scores.num_cells} | measured


def _banks(case: Case, features: Features, num_banks: int, seed: int) -> Banks:
    """Return the banks of a case."""
    if not case.hosts:
        raise UserError(
            f"{case.name}: no picture to plant leaks in; at least one is needed. Give more subjects, or more "
            "decoys."
        )
    photos = [
        (photo.pixels, photo.mask if photo.mask is not None else ~photo.background) for photo in case.photos
    ]
    decoys = [(decoy.pixels, decoy.mask) for decoy in case.decoys]
    return build_banks(photos, decoys, features, num_banks=num_banks, seed=seed)


def _own_attribution(data: Data, banks: Sequence[Banks]) -> dict[str, float | None]:
    """Return how leak-prone each subject's photos are: the mean over photos and cases that can tell."""
    found: dict[str, list[float]] = {name: [] for name in data.names}
    for case, own in zip(data.cases, banks, strict=True):
        found[case.name] += [rate for rate in own.own_attribution if rate is not None]
    return {name: float(np.mean(rates)) if rates else None for name, rates in found.items()}
