"""What of a report's dict each section shows: its arms, its measures, its rows, the means of its prompts."""

from collections.abc import Iterator, Mapping
from typing import Any

from persam_dreambooth.leakage.measures import MEASURES
from persam_dreambooth.leakage.report.looks import PLAIN

HEADLINES = ("leak", "agreement", "trait_likeness", "excess", "likeness", "adherence", "missing")
"""Measures that get a tile, the truth's first."""
COUNTED = ("leak", "agreement", "adherence", "missing")
"""Measures that a table tells as counts of pictures."""
MAIN_FAMILY = "recontext"
FAMILIES = {
    "recontext": "the subject in another place",
    "bare": "the subject, no place named",
    "class": "the class noun alone",
    "none": "a place without any subject",
}
"""What the families of prompts ask for."""

Result = Mapping[str, Any]


def headlines(result: Result) -> list[str]:
    """Return the headline measures that this report has."""
    return [measure for measure in HEADLINES if _has(result, measure)]


def others(result: Result) -> list[str]:
    """Return the further measures that this report has."""
    return [measure for measure in MEASURES if measure not in HEADLINES and _has(result, measure)]


def main_pair(result: Result) -> tuple[str, str] | None:
    """Return the arm that the report is about and the one it is compared with, or None."""
    told = result.get("claim") or next(iter(result.get("differences") or ()), None)
    return (told["arm"], told["minus"]) if told and told.get("arm") else None


def main_rows(result: Result, family: str = MAIN_FAMILY) -> Iterator[dict[str, Any]]:
    """Yield the rows of a family of prompts that the finished models drew."""
    for row in result.get("rows") or ():
        if row.get("family", MAIN_FAMILY) == family and row.get("step") is None:
            yield row


def prompt_means(result: Result, arm: str, measure: str) -> dict[str, float]:
    """Return an arm's mean of a measure for each prompt that has one."""
    return {
        prompt: sum(values) / len(values) for prompt, values in prompt_values(result, arm, measure).items()
    }


def prompt_values(result: Result, arm: str, measure: str) -> dict[str, list[float]]:
    """Return an arm's values of a measure by prompt, pictures without one left out."""
    told: dict[str, list[float]] = {}
    for row in main_rows(result):
        value = row.get(measure)
        if measure == "missing" and value is None and "subject_found" in row:
            value = not row["subject_found"]
        if row["arm"] == arm and value is not None:
            told.setdefault(row["prompt"], []).append(float(value))
    return told


def prompt_differences(result: Result, arm: str, minus: str, measure: str) -> dict[str, float]:
    """Return the difference of each prompt's means, for prompts where both arms have the measure."""
    first, second = (prompt_means(result, name, measure) for name in (arm, minus))
    return {prompt: first[prompt] - second[prompt] for prompt in first if prompt in second}


def tuned(result: Result) -> list[str]:
    """Return the arms that were trained: all but the base model."""
    return [arm for arm in result["arms"] if arm != "base"]


def big_arms(result: Result) -> list[str]:
    """Return the arms whose numbers stand large: the one compared with, and the one the report is about."""
    pair = main_pair(result)
    if pair:
        return [pair[1], pair[0]]
    return [PLAIN] if PLAIN in result["arms"] else list(result["arms"])[-1:]


def _has(result: Result, measure: str) -> bool:
    """Return whether any arm has the measure."""
    return any(found.get(measure) for found in result["arms"].values())
