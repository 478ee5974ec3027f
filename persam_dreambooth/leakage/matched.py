"""Leakage at equal likeness: whoever trains less leaks less, and that proves nothing.

Each arm is followed over its training steps, from the base model's pictures on. Both are read at
one likeness, the highest that both reach, where each arm's path first gets there; in between, straight lines.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float

from persam_dreambooth.leakage import statistics
from persam_dreambooth.leakage.rows import BASE, RECONTEXT
from persam_dreambooth.leakage.statistics import weighted_mean
from persam_dreambooth.leakage.tables import Rows, Table, table_of

Path = tuple[Float[np.ndarray, "s n"], Float[np.ndarray, "s n"]]
"""Likeness and excess of the n pictures after each of s lengths of training."""


def at_matched_likeness(
    rows: Rows, arm: str, minus: str, *, likeness: str = "likeness", leakage: str = "excess"
) -> dict[str, Any] | None:
    """Return both arms' leakage at the highest likeness that both reach, and the difference, with intervals.

    Args:
        rows: of a comparison, with pictures of several training steps of both arms.
        arm: one arm.
        minus: the one it is compared with.
        likeness: measure of the rows that says how far training has come.
        leakage: measure of the rows that is read there; what the base model's rows do not have is 0.

    Returns:
        `{arm, minus, likeness, <arm's and minus's> leakage, difference}`, the last three as estimates; None
        where an arm has no steps, pictures without these measures, or no likeness above the base model's.
    """
    paths = [_path(rows, name, likeness, leakage) for name in (arm, minus)]
    if any(path is None for path, _ in paths):
        return None
    (own, table), (other, other_table) = paths
    if table.keys != other_table.keys:
        return None
    level = min(float(path[0].mean(axis=1).max()) for path in (own, other))
    if level <= own[0][0].mean():
        return None
    told = [
        statistics.estimate_of(of_weights, table.drawn, n=len(table.keys))
        for of_weights in (
            lambda weights: _leakage_at(level, own, weights),
            lambda weights: _leakage_at(level, other, weights),
            lambda weights: _leakage_at(level, own, weights) - _leakage_at(level, other, weights),
        )
    ]
    names = ("own", "other", "difference")
    found = {name: asdict(estimate) for name, estimate in zip(names, told, strict=True)}
    return {"arm": arm, "minus": minus, "likeness": level, **found}


def _path(rows: Rows, arm: str, likeness: str, leakage: str) -> tuple[Path | None, Table | None]:
    """Return an arm's path, of pictures that have both measures at every step, and their table."""
    own = [row for row in rows if row["arm"] == arm and row["family"] == RECONTEXT]
    base = [row for row in rows if row["arm"] == BASE and row["family"] == RECONTEXT and row["step"] is None]
    steps = sorted({row["step"] for row in own}, key=lambda step: (step is None, step))
    tables = [table_of(sorted((row for row in own if row["step"] == step), key=_order)) for step in steps]
    if len(steps) < 2 or not base:
        return None, None
    start = table_of(sorted(base, key=_order))
    if any(table.keys != start.keys for table in tables):
        return None, None
    values = [
        np.stack(
            [np.nan_to_num(start.values[BASE][measure]), *(table.values[arm][measure] for table in tables)]
        )
        for measure in (likeness, leakage)
    ]
    if np.isnan(values).any():
        return None, None
    return (values[0], values[1]), tables[0]


def _order(row: dict[str, Any]) -> tuple[str, str, int]:
    """Return by what rows are sorted, so that all steps and arms have one order."""
    return row.get("album", ""), row["prompt"], row["seed"]


def _leakage_at(level: float, path: Path, weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
    """Return the leakage where the path's likeness first reaches a level, for each row of weights."""
    likeness, leakage = (
        np.stack([weighted_mean(values, weights) for values in column], axis=1) for column in path
    )
    reached = likeness >= level
    # A resample that never gets there is read where it comes nearest.
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), likeness.argmax(axis=1))
    rows = np.arange(len(weights))
    before = np.maximum(first - 1, 0)
    ends = likeness[rows, before], likeness[rows, first]
    gap = ends[1] - ends[0]
    share = np.where(gap > 0, (level - ends[0]) / np.where(gap > 0, gap, 1.0), 1.0).clip(0, 1)
    return leakage[rows, before] + share * (leakage[rows, first] - leakage[rows, before])
