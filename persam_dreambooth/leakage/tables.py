"""The rows of one prompt family and training step as arrays, what is averaged of them, and how.

Pairs of pictures (equal subject, prompt and seed) stand in the same place for all arms.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from persam_dreambooth.leakage import statistics
from persam_dreambooth.leakage.statistics import NO_BOUNDS, Resamples

Rows = list[dict[str, Any]]
Values = dict[str, Float[np.ndarray, " n"]]
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Averaged:
    """How a measure of the rows is averaged."""

    lower_is_better: bool
    is_share: bool = False
    """Whether it is yes or no in each picture."""
    bounds: tuple[float, float] = NO_BOUNDS


_SHARE = (0.0, 1.0)
_CHANGE = (-1.0, 1.0)

AVERAGED: dict[str, Averaged] = {
    "excess": Averaged(True, bounds=_CHANGE),
    "likeness": Averaged(False),
    "adherence": Averaged(False, is_share=True, bounds=_SHARE),
    "missing": Averaged(True, is_share=True, bounds=_SHARE),
    "attribution": Averaged(True, bounds=_SHARE),
    "copy_rate": Averaged(True, bounds=_SHARE),
    "style_shift": Averaged(True),
    "max_cosine": Averaged(True, bounds=_CHANGE),
    "widest_copy": Averaged(True, bounds=_SHARE),
    "contamination": Averaged(True),
    "excess_common": Averaged(True, bounds=_CHANGE),
    "excess_wider": Averaged(True, bounds=_CHANGE),
    "excess_narrower": Averaged(True, bounds=_CHANGE),
    "excess_without_conflicts": Averaged(True, bounds=_CHANGE),
    "excess_found": Averaged(True, bounds=_CHANGE),
    "likeness_found": Averaged(False),
    "leak": Averaged(True, is_share=True, bounds=_SHARE),
    "agreement": Averaged(False, is_share=True, bounds=_SHARE),
    "subject": Averaged(False, is_share=True, bounds=_SHARE),
    "trait_likeness": Averaged(False, bounds=_SHARE),
}
"""Keys of a row that are averaged. The last four need the toy world's truth."""


@dataclass(frozen=True, eq=False)
class Table:
    """The values of some arms' pictures of one family and step; pairs stand in the same place."""

    keys: tuple[Key, ...]
    """Album, prompt and seed of each place."""
    drawn: Resamples
    values: dict[str, Values]
    """By arm and measure; NaN where there is none."""


def table_of(rows: Rows) -> Table:
    """Return the values of rows of one family and step, in one order for all arms."""
    keys = tuple(dict.fromkeys(key_of(row) for row in rows))
    albums = {album for album, _, _ in keys}
    units = [prompt if len(albums) == 1 else (album, prompt) for album, prompt, _ in keys]
    values = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = {key_of(row): row for row in rows if row["arm"] == arm}
        values[arm] = {
            measure: np.array(
                [own[key].get(measure) if key in own else None for key in keys], dtype=np.float64
            )
            for measure in AVERAGED
        }
    return Table(keys, statistics.resamples(units), values)


def estimates(values: Values, drawn: Resamples) -> dict[str, dict[str, float]]:
    """Return an arm's estimates by measure, of measures that have any value."""
    found = {
        measure: statistics.estimate(values[measure], drawn, is_share=kind.is_share, bounds=kind.bounds)
        for measure, kind in AVERAGED.items()
    }
    return {measure: asdict(estimate) for measure, estimate in found.items() if estimate}


def tested_difference(
    first: Values, second: Values, drawn: Resamples, measure: str
) -> dict[str, float] | None:
    """Return the estimate of one arm minus another, with its p-values; None where they share no value.

    `p` is one-sided: how likely a difference at least this much in favour of the first arm is if there is
    none; `p_two_sided` asks for a difference of either sign.
    """
    kind = AVERAGED[measure]
    found = statistics.difference(
        first[measure], second[measure], drawn, is_share=kind.is_share, bounds=kind.bounds
    )
    if found is None:
        return None
    means = statistics.unit_means(first[measure] - second[measure], drawn)
    side = "less" if kind.lower_is_better else "greater"
    return asdict(found) | {
        "p": statistics.sign_flip_p(means, alternative=side),
        "p_two_sided": statistics.sign_flip_p(means, alternative="two-sided"),
    }


def key_of(row: Mapping[str, Any]) -> Key:
    """Return what pairs rows over the arms, steps aside: album, prompt and seed."""
    return row.get("album", ""), row["prompt"], row["seed"]
