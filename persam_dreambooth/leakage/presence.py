"""Whether the subject is in a generated picture at all.

A segmenter that is asked for a subject marks something in every picture, also where there is none. What tells
is how much the marked pixels resemble the subject: their mean cosine with its features in the photos. SAM's
own guess of its mask, its stability and the mask's size do not (docs/leakage_measure.md).

How much is enough differs from one SAM and subject to the next. So the line is drawn anew in each comparison,
between pictures of which the answer is known: in those that the base model drew of the class there is a
subject, in decoys there is none. How well it separates these is measured, and where it does not, nothing that
was marked is called missing, and the report says so.

What is there but poorly drawn, or is another individual, counts as there: the likeness pays for it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

MAX_LOST = 0.03
"""Share of the base model's pictures of the class that may fall below the line."""
MIN_CAUGHT = 0.6
"""Share of places without a subject that must."""
MIN_KNOWN = 8
"""Pictures of either kind; with fewer no line is drawn."""
MAX_PLACES = 24
"""Decoys that are looked at, evenly out of all: each costs a pass of SAM."""
_TAIL = 0.05
"""A few base pictures may lack their subject, a few decoys show one: so many do not count."""
_NOTHING = -1.0
"""Resemblance where no mask can be used: the least that a cosine can be."""


@dataclass(frozen=True)
class Presence:
    """From which resemblance on a subject counts as there, and what that line is worth."""

    threshold: float | None
    """Least mean cosine of the marked pixels; None: whatever is marked counts."""
    lost: float | None
    """Share of the base model's pictures of the class below it; None without a line, as the next."""
    caught: float | None
    """Share of places without a subject below it."""
    num_base: int
    """Pictures of the base model that it was drawn with."""
    num_places: int
    """Decoys that it was drawn with."""

    def is_there(self, resemblance: float) -> bool:
        """Return whether a subject of this resemblance counts as there."""
        return self.threshold is None or resemblance >= self.threshold

    def record(self) -> dict[str, Any]:
        """Return it as report.json holds it."""
        return asdict(self)


def presence_of(base: Sequence[float | None], places: Sequence[float | None]) -> Presence:
    """Return the line between pictures with and without a subject.

    It lies half way between the two kinds, but with no more than MAX_LOST of the base model's pictures below
    it. No line is drawn where it would catch less than MIN_CAUGHT of the places, or where pictures are few.

    Args:
        base: resemblance of what was marked in each of the base model's pictures of the class; None where no
            mask can be used.
        places: that in each picture of a place without a subject.
    """
    known, empty = (
        np.array([_NOTHING if value is None else value for value in values], dtype=np.float64)
        for values in (base, places)
    )
    without_line = Presence(None, None, None, len(known), len(empty))
    if min(len(known), len(empty)) < MIN_KNOWN:
        return without_line
    half_way = (
        np.quantile(known, _TAIL, method="lower") + np.quantile(empty, 1 - _TAIL, method="higher")
    ) / 2
    threshold = float(min(half_way, np.quantile(known, MAX_LOST, method="lower")))
    caught = float((empty < threshold).mean())
    if caught < MIN_CAUGHT:
        return without_line
    return Presence(threshold, float((known < threshold).mean()), caught, len(known), len(empty))


def evenly(places: Sequence[Any]) -> list[Any]:
    """Return at most MAX_PLACES of the decoys, evenly spread over their list: of all kinds of places."""
    chosen = np.linspace(0, len(places) - 1, min(MAX_PLACES, len(places))).round().astype(int)
    return [places[number] for number in chosen]


def presence_warnings(presence: Presence) -> list[str]:
    """Return what a reader must know where missing subjects cannot be seen."""
    if presence.threshold is not None:
        return []
    known = (
        f"{presence.num_base} pictures of the class by the base model and {presence.num_places} places "
        "without it"
    )
    if min(presence.num_base, presence.num_places) < MIN_KNOWN:
        return [
            f"whether the subject is missing was not looked for: {known}, where {MIN_KNOWN} of each are "
            "needed; whatever SAM marks counts as the subject"
        ]
    return [
        f"whether the subject is missing cannot be told: SAM finds as much of it in places without it "
        f"({known}); whatever it marks counts as the subject"
    ]
