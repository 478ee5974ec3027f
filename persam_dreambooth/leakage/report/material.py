"""The pictures that a report shows: the photos with their masks, and what every arm drew."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from persam_dreambooth.leakage.report.selection import MAIN_FAMILY

MAX_SEEDS = 8
"""Pictures of a prompt and arm in the page; the numbers are always about all of them."""

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


def shots(rows: Iterable[Mapping[str, Any]], material: Material) -> list[Shot]:
    """Return the rows that a picture is there for, of the first MAX_SEEDS seeds of each prompt and arm."""
    told: list[Shot] = []
    counts: dict[tuple[str, str], int] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        pixels, own = material.pictures.get(key_of(row)), (row["arm"], row["prompt"])
        if pixels is None or counts.get(own, 0) >= MAX_SEEDS:
            continue
        counts[own] = counts.get(own, 0) + 1
        told.append(Shot(row["arm"], row["prompt"], row["seed"], row, pixels))
    return told


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
