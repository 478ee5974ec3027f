"""Prompts that ask for the very scene of the photos: what is drawn for them looks leaked with every model.

A prompt is in conflict where the base model's pictures of it are already attributed to the photos more than
MAX_OF_CHANCE times as often as by chance. It is told, and by default stays in the headline: the base model's
share is subtracted anyhow, and leaving prompts out because their base pictures came out high would leave base
pictures that came out low, so that every excess would look larger than it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from persam_dreambooth.leakage.rows import BASE, RECONTEXT

MAX_OF_CHANCE = 2


def prompt_records(
    rows: Sequence[Mapping[str, Any]], chance: float | None, drop_conflicting: bool
) -> list[dict[str, Any]]:
    """Return for each prompt its number, family, text, background, whether it is dropped, and why it is told.

    Args:
        rows: of all arms.
        chance: of an attribution where nothing leaks; None finds no conflict.
        drop_conflicting: whether prompts in conflict are dropped.
    """
    first = {row["prompt"]: row for row in reversed(rows)}
    records, numbers = [], dict[str, int]()
    for text in dict.fromkeys(row["prompt"] for row in rows):
        family = first[text]["family"]
        numbers[family] = numbers.get(family, 0) + 1
        reason = _reason(rows, text, chance) if family == RECONTEXT and chance is not None else None
        records.append(
            {
                "id": f"{family}-{numbers[family]:02d}",
                "family": family,
                "text": text,
                "background": first[text]["background"],
                "dropped": drop_conflicting and reason is not None,
                "reason": reason,
            }
        )
    return records


def _reason(rows: Sequence[Mapping[str, Any]], prompt: str, chance: float) -> str | None:
    """Return why a prompt cannot tell the photos' scene from what it asks for, or None."""
    rates = [
        row["attribution"]
        for row in rows
        if (row["arm"], row["prompt"], row["step"]) == (BASE, prompt, None) and row["attribution"] is not None
    ]
    if not rates or np.mean(rates) <= MAX_OF_CHANCE * chance:
        return None
    return (
        f"the base model's own pictures of it look like the photos' background "
        f"({100 * np.mean(rates):.0f} % of cells; by chance {100 * chance:.0f} %)"
    )
