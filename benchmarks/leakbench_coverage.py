"""How much of LeakBench was run, and what of it compares: an arm that lacks subjects is not like the others.

A training is a subject and a training seed. Rows of an arm that lacks some stand in the tables with a mark;
its differences from plain training are paired, and so of equal trainings whatever was run.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from leakbench_plan import ARMS

BASE = "base"
MARK = "†"

Training = tuple[str, int]
"""Subject and seed."""


@dataclass(frozen=True)
class Comparable:
    """Arms that were trained on the same subjects, and their common trainings."""

    arms: tuple[str, ...]
    trainings: frozenset[Training]
    left_out: Mapping[str, str]
    """By arm, which part of the subjects it was trained on, in words."""

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row is of these; those of the base model are, where their subject is."""
        subjects = {subject for subject, _ in self.trainings}
        if row["arm"] == BASE:
            return row["album"] in subjects
        return row["arm"] in self.arms and (row["album"], row["training_seed"]) in self.trainings


def trainings_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, set[Training]]:
    """Return the trainings of each arm that there are rows of, in the order of the arms."""
    found: dict[str, set[Training]] = {}
    for row in rows:
        if row["arm"] != BASE:
            found.setdefault(row["arm"], set()).add((row["album"], row["training_seed"]))
    return {arm: found[arm] for arm in ARMS if arm in found}


def comparable(rows: Iterable[Mapping[str, Any]]) -> Comparable:
    """Return the arms that cover the same subjects as the arm that covers most, and what they share.

    A seed that only some of them have finished for a subject is not among what they share. An arm with seeds
    of its own, which would leave a subject without any, is left out as well.
    """
    by_arm = trainings_of(rows)
    if not by_arm:
        return Comparable((), frozenset(), {})
    # The sort is stable: of equals the first in the order of the arms.
    order = sorted(by_arm, key=lambda arm: (-len(_subjects(by_arm[arm])), -len(by_arm[arm])))
    subjects, shared = _subjects(by_arm[order[0]]), by_arm[order[0]]
    kept = set()
    for arm in order:
        if _subjects(shared & by_arm[arm]) == subjects:
            shared = shared & by_arm[arm]
            kept.add(arm)
    total = len(set().union(*map(_subjects, by_arm.values())))
    left_out = {arm: _part(own, total) for arm, own in by_arm.items() if arm not in kept}
    return Comparable(tuple(arm for arm in by_arm if arm in kept), frozenset(shared), left_out)


def incomplete(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the arms that lack a training which another arm has."""
    by_arm = trainings_of(rows)
    every = set().union(*by_arm.values())
    return {arm for arm, own in by_arm.items() if own != every}


def footnote(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what the mark of a table says, as a paragraph; nothing where no arm is marked."""
    by_arm = trainings_of(rows)
    every = set().union(*by_arm.values())
    total = len(_subjects(every))
    lacking = [
        f"{ARMS[arm].title} {len(own)} of {len(every)} trainings, {_part(own, total)}"
        for arm, own in by_arm.items()
        if own != every
    ]
    if not lacking:
        return ""
    return (
        f"\n\n{MARK} not all trainings: {'; '.join(lacking)}. Such a row's own numbers are of other subjects "
        "or seeds than those of the other rows; its numbers against plain training are of the subjects and "
        "seeds that both have."
    )


def coverage(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a sentence on how much was run."""
    rows = list(rows)
    by_arm = trainings_of(rows)
    runs = sum(map(len, by_arm.values()))
    subjects = {row["album"]: row["group"] for row in rows}
    groups = ", ".join(f"{count} {group}" for group, count in sorted(Counter(subjects.values()).items()))
    counts = ", ".join(f"{ARMS[arm].title} {len(own)}" for arm, own in by_arm.items())
    seeds = len({seed for own in by_arm.values() for _, seed in own})
    pictures = sum(row["arm"] != BASE for row in rows)
    return (
        f"{runs} trainings of {len(subjects)} subject{'s' * (len(subjects) > 1)} ({groups}) with {seeds} "
        f"training seed{'s' * (seeds > 1)}, {pictures:,} pictures. Trainings of each: {counts}."
    )


def _subjects(trainings: Iterable[Training]) -> set[str]:
    """Return the subjects of trainings."""
    return {subject for subject, _ in trainings}


def _part(own: set[Training], total: int) -> str:
    """Return in words how many of the subjects an arm was trained on."""
    return f"{len(_subjects(own))} of {total} subjects"
