"""What follows from measured pictures whose leak is known: does a score rise with it, and when is it seen.

A row is one picture: `name` (of the subject), `case`, `host`, `mode`, `level` and the scores. Every value is
taken against the base picture of the same host.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from persam_dreambooth.leakage.statistics import estimate, resamples, sign_flip_p
from persam_dreambooth.leakage.validation.plan import AGAIN, AREAS, BASE, LEAKS, SUBJECTS

SCORES = ("attribution", "copy_rate", "style_shift", "max_cosine")
SIGNIFICANCE = 0.05
POWER = 0.8
FEWEST_HOSTS = math.ceil(-math.log2(SIGNIFICANCE))
"""With fewer pictures a sign-flip test can never be significant: 5, as 1 in 32 is the first below 5 %."""
NUM_RESAMPLES = 1000
"""Panels of subjects drawn for the accuracy of rankings and for intervals."""

Rows = Sequence[dict[str, Any]]


def rank_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Return Spearman's correlation, -1 to 1; 0 where one of the two is the same everywhere.

    Args:
        first: numbers.
        second: the numbers that go with them.
    """
    x, y = _ranks(first), _ranks(second)
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / spread) if spread else 0.0


def area_under_curve(positive: Float[np.ndarray, " n"], negative: Float[np.ndarray, " m"]) -> float:
    """Return how often a positive's value is the higher one of a random pair; ties count one half.

    Args:
        positive: values where the answer is yes; not empty.
        negative: values where it is no; not empty.
    """
    higher = (positive[:, None] > negative).mean()
    return float(higher + 0.5 * (positive[:, None] == negative).mean())


def outcome(rows: Rows, score: str, seed: int = 0) -> dict[str, Any]:
    """Return everything that the rows tell of one score.

    Args:
        rows: from `protocol.measure`.
        score: one of SCORES.
        seed: of the panels.

    Returns:
        `base` (mean), `modes` (by mode that leaks: `rho`, `ranking`, `smallest_share`, and by level `mean`,
        `d_z`, `power`), `false_alarms`, and of every harmless mode the mean `change` with its interval.
    """
    told = [row for row in rows if row.get(score) is not None]
    base = {_host(row): row[score] for row in told if row["mode"] == BASE}
    changes: dict[str, dict[float, list[tuple[tuple, float]]]] = {}
    for row in told:
        if row["mode"] != BASE and _host(row) in base:
            of_mode = changes.setdefault(row["mode"], {})
            of_mode.setdefault(row["level"], []).append((_host(row), row[score] - base[_host(row)]))
    mean = float(np.mean(list(base.values()))) if base else math.nan
    return {
        "base": mean,
        "modes": {mode: _response(changes[mode], mean, seed) for mode in LEAKS if mode in changes},
        "false_alarms": {
            "benign": _false_alarms(changes, (AGAIN, "benign")),
            "look_alike": _false_alarms(changes, ("look_alike",)),
        },
        "harmless": {
            mode: _harmless(changes[mode]) for mode in (AGAIN, *AREAS, *SUBJECTS) if mode in changes
        },
    }


def _host(row: dict[str, Any]) -> tuple[str, int, int]:
    """Return which picture a row was made from; the subject's name comes first."""
    return row["name"], row["case"], row["host"]


def _response(levels: dict[float, list[tuple[tuple, float]]], base: float, seed: int) -> dict[str, Any]:
    """Return how the score answers to one way of leaking."""
    by_level = {level: _by_subject(levels[level]) for level in sorted(levels)}
    powers = {level: _share_found(values) for level, values in by_level.items()}
    found = [level for level, power in powers.items() if power is not None and power >= POWER]
    return {
        "rho": _mean_rho(levels),
        "ranking": _ranking(by_level, seed),
        "smallest_share": min(found) if found else None,
        "levels": {
            str(level): {
                "mean": base + float(np.mean([change for _, change in levels[level]])),
                "d_z": _effect(np.array([change for _, change in levels[level]])),
                "power": powers[level],
            }
            for level in by_level
        },
    }


def _mean_rho(levels: dict[float, list[tuple[tuple, float]]]) -> float:
    """Return Spearman's correlation of level and value within a host, level 0 included, mean over hosts."""
    by_host: dict[tuple, list[tuple[float, float]]] = {}
    for level, pairs in levels.items():
        for host, change in pairs:
            by_host.setdefault(host, [(0.0, 0.0)]).append((level, change))
    return float(np.mean([rank_correlation(*np.array(pairs).T) for pairs in by_host.values()]))


def _ranking(by_level: dict[float, dict[str, Float[np.ndarray, " n"]]], seed: int) -> float:
    """Return how often a panel's mean is higher than at the next lower level.

    A panel is as many subjects as there are, drawn with replacement.
    """
    names = sorted(set.intersection(*(set(values) for values in by_level.values())))
    means = np.array([[0.0] * len(names)] + [[v[n].mean() for n in names] for v in by_level.values()])
    drawn = np.random.default_rng(seed).integers(len(names), size=(NUM_RESAMPLES, len(names)))
    return float((np.diff(means[:, drawn].mean(axis=2), axis=0) > 0).mean())


def _share_found(by_subject: dict[str, Float[np.ndarray, " n"]]) -> float | None:
    """Return the share of subjects whose pictures alone show the leak; None with too few pictures."""
    answers = [_is_found(values) for values in by_subject.values() if len(values) >= FEWEST_HOSTS]
    return float(np.mean(answers)) if answers else None


def _is_found(values: Float[np.ndarray, " n"]) -> bool:
    """Return whether the values of one subject are above 0 at the 5 % level."""
    return sign_flip_p(values) <= SIGNIFICANCE


def _false_alarms(
    changes: dict[str, dict[float, list[tuple[tuple, float]]]], modes: Sequence[str]
) -> dict[str, Any] | None:
    """Return how often a test of one subject sees a leak where there is none."""
    tests = [
        _is_found(values)
        for mode in modes
        for pairs in changes.get(mode, {}).values()
        for values in _by_subject(pairs).values()
        if len(values) >= FEWEST_HOSTS
    ]
    if not tests:
        return None
    return {"rate": float(np.mean(tests)), "count": int(np.sum(tests)), "tests": len(tests)}


def _harmless(levels: dict[float, list[tuple[tuple, float]]]) -> dict[str, float | None]:
    """Return the mean change where nothing leaks, over all levels, with its 95 % interval.

    Subjects are resampled, and the pictures of each.
    """
    pairs = sorted(pair for pairs in levels.values() for pair in pairs)
    values = np.array([change for _, change in pairs])
    units = [(host[0], f"{host[1]} {host[2]}") for host, _ in pairs]
    found = estimate(values, resamples(units, NUM_RESAMPLES))
    return {"change": found.mean, "low": found.low, "high": found.high, "d_z": _effect(values)}


def _by_subject(pairs: Sequence[tuple[tuple, float]]) -> dict[str, Float[np.ndarray, " n"]]:
    """Return the changes by subject."""
    found: dict[str, list[float]] = {}
    for host, change in pairs:
        found.setdefault(host[0], []).append(change)
    return {name: np.array(values) for name, values in found.items()}


def _effect(values: Float[np.ndarray, " n"]) -> float | None:
    """Return the mean in units of the spread; None where there is no spread."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean() / spread) if spread > 0 else None


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse.reshape(-1)]
