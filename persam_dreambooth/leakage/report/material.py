"""The pictures that a report shows: the photos with their masks, and what every arm drew."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from persam_dreambooth.leakage.report.looks import BASE
from persam_dreambooth.leakage.report.selection import MAIN_FAMILY

MAX_SEEDS = 8
"""Pictures of a prompt and arm in the page; the numbers are always about all of them."""
MAX_PICTURES = 900
"""Pictures in the page; more could neither be looked at nor sent by mail."""

Key = tuple[str, str, str, int]
"""Arm, family, prompt and seed: which picture of the finished models it is."""


@dataclass(frozen=True, eq=False)
class ShownPhoto:
    """One training photo."""

    name: str
    pixels: UInt8[np.ndarray, "H W 3"] = field(repr=False)
    mask: Bool[np.ndarray, "H W"] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Material:
    """Every picture of a report, in memory."""

    photos: Sequence[ShownPhoto]
    pictures: Mapping[Key, UInt8[np.ndarray, "H W 3"]]


@dataclass(frozen=True, eq=False)
class Shot:
    """One generated picture with its row of the report."""

    arm: str
    prompt: str
    seed: int
    row: Mapping[str, Any]
    pixels: UInt8[np.ndarray, "H W 3"] = field(repr=False)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the cells that it was measured in; (1, 1) where the row does not say."""
        rows, columns = self.row.get("grid") or (1, 1)
        return rows, columns

    @property
    def hits(self) -> list[list[Any]]:
        """Leaked patches, as the report holds them."""
        return self.row.get("hits") or []


def key_of(row: Mapping[str, Any]) -> Key:
    """Return which picture a row is about."""
    return row["arm"], row.get("family", MAIN_FAMILY), row["prompt"], row["seed"]


def shots(rows: Iterable[Mapping[str, Any]], material: Material, most: int = MAX_PICTURES) -> list[Shot]:
    """Return the rows that a picture is there for, as many as a page can show.

    Of each prompt and arm the first MAX_SEEDS seeds, or fewer, so that all prompts have their place; where
    there are too many prompts even so, those that leak most.

    Args:
        rows: of one family of prompts.
        material: their pictures.
        most: so many pictures at most.
    """
    found: dict[tuple[str, str], list[Shot]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        pixels = material.pictures.get(key_of(row))
        if pixels is not None:
            shot = Shot(row["arm"], row["prompt"], row["seed"], row, pixels)
            found.setdefault((shot.prompt, shot.arm), []).append(shot)
    if not found:
        return []
    num_arms = len({arm for _, arm in found})
    seeds = min(MAX_SEEDS, max(1, most // len(found)))
    kept = _most_leaked(found, most // num_arms) if len(found) > most else {prompt for prompt, _ in found}
    chosen = [shot for (prompt, _), own in found.items() if prompt in kept for shot in own[:seeds]]
    return sorted(chosen, key=lambda shot: shot.seed)


def _most_leaked(found: Mapping[tuple[str, str], Sequence[Shot]], count: int) -> set[str]:
    """Return the prompts of which trained arms' pictures leak most."""
    worst: dict[str, float] = {}
    for (prompt, arm), own in found.items():
        rate = 0.0 if arm == BASE else leak_rate(own)
        worst[prompt] = max(rate, worst.get(prompt, 0.0))
    return set(sorted(worst, key=lambda prompt: -worst[prompt])[:count])


def telling(hit: Sequence[Any]) -> float:
    """Return how much a leaked patch tells: by how much it is nearer to the photos than to any decoy.

    The cosine itself, where the report does not hold the decoys'.
    """
    return hit[5] - hit[6] if len(hit) > 6 else hit[5]


def leak_rate(own: Sequence[Shot]) -> float:
    """Return how much some pictures leaked: by the truth first where it is known, then by the measure."""
    if not own:
        return 0.0
    leaks = sum(float(shot.row.get("leak") or 0.0) for shot in own)
    rates = sum(shot.row.get("attribution") or 0.0 for shot in own)
    return (leaks + rates / 100) / len(own)
