"""What may be said of a comparison: three conditions, the report's first sentence, the terminal's lines.

The rule is fixed beforehand: masks are said to help only where the whole interval of the difference to plain
training lies below zero for leakage, and above -MARGIN for the subject's likeness and for the prompted
background. Whatever the intervals leave open is called undecided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

MARGIN = 0.05
"""A loss of likeness, or of prompted backgrounds, up to this counts as none."""
MIN_PROMPTS = 4
MIN_PICTURES = 8
"""With fewer prompts or pictures an arm, nothing is concluded."""

State = Literal["met", "broken", "open"]


@dataclass(frozen=True)
class Measure:
    """How a measure is called and written."""

    title: str
    short_title: str
    explanation: str
    unit: str
    """Behind its numbers; numbers with a unit are written times 100."""
    lower_is_better: bool


MEASURES = {
    "leak": Measure(
        "Background leaked",
        "Leaked",
        "Pictures that show a background of the photos instead of the prompted one. Lower is better.",
        unit="%",
        lower_is_better=True,
    ),
    "agreement": Measure(
        "Prompted background kept",
        "Kept",
        "Pictures that show the background the prompt asks for. Higher is better.",
        unit="%",
        lower_is_better=False,
    ),
    "likeness": Measure(
        "Subject likeness",
        "Likeness",
        "Mean probability (0 to 1) of the five traits of this one individual; 0 where its kind is not "
        "recognised. Higher is better.",
        unit="",
        lower_is_better=False,
    ),
    "excess": Measure(
        "Excess over the base model",
        "Excess",
        "Share of the background that looks like the photos’ rather than like other places, less the base "
        "model’s share, in points of percent. Needs no known truth. Lower is better.",
        unit="points",
        lower_is_better=True,
    ),
}
"""The measures that people see first, in the order of the report."""


@dataclass(frozen=True)
class Condition:
    """One of the three conditions of the claim, and whether the intervals meet it."""

    text: str
    state: State


def main_difference(result: dict[str, Any]) -> dict[str, Any] | None:
    """Return the difference that the report is about: masked minus plain, else the first, or None."""
    differences = result["differences"]
    masked = (found for found in differences if found["arm"] == "masked")
    return next(masked, differences[0] if differences else None)


def primary_measure(result: dict[str, Any]) -> str:
    """Return what leakage is told by: `leak` where the truth is known, else `excess`."""
    return "leak" if any("leak" in arm for arm in result["arms"].values()) else "excess"


def too_few(result: dict[str, Any]) -> str | None:
    """Return why nothing can be concluded from so few pictures, or None where there are enough."""
    prompts, pictures = len(result["prompts"]), _num_pictures(result)
    if prompts >= MIN_PROMPTS and pictures >= MIN_PICTURES:
        return None
    return (
        f"Not enough pictures to tell: {counted(prompts, 'prompt')} and {counted(pictures, 'picture')} an "
        f"arm, where a verdict needs {MIN_PROMPTS} prompts and {MIN_PICTURES} pictures"
    )


def conditions(result: dict[str, Any]) -> list[Condition]:
    """Return the conditions of "less leakage at no loss" and whether each is met; none without two arms."""
    found = main_difference(result)
    if found is None:
        return []
    enough = too_few(result) is None
    wanted = {
        primary_measure(result): (0.0, "less background leakage"),
        "likeness": (-MARGIN, f"no loss of likeness beyond {MARGIN}"),
        "agreement": (-MARGIN, f"no loss of prompted backgrounds beyond {round(100 * MARGIN)} points"),
    }
    told = []
    for measure, (bound, text) in wanted.items():
        if measure not in found:
            told.append(Condition(f"{text}: not measured", "open"))
            continue
        gain, worst, best = found[measure]["mean"], found[measure]["low"], found[measure]["high"]
        if MEASURES[measure].lower_is_better:
            gain, worst, best = -gain, -best, -worst
        state: State = "met" if enough and worst > bound else "broken" if enough and best < bound else "open"
        told.append(Condition(f"{text}: {difference_text(measure, found[measure])}", state))
    return told


def finding(result: dict[str, Any]) -> str:
    """Return the result in one sentence of plain words, which claims no more than the intervals allow."""
    found = main_difference(result)
    measure = primary_measure(result)
    if found is None or measure not in found:
        return "No verdict: this takes pictures of a plain arm and of another one to compare."
    if few := too_few(result):
        return f"{few}."
    arms = {arm: result["arms"][arm] for arm in (found["arm"], found["minus"])}
    own, plain = arms[found["arm"]][measure], arms[found["minus"]][measure]
    if measure == "leak" and own["mean"] == plain["mean"] == 0:
        return (
            f"Nothing to remove: neither {found['arm']} nor plain training leaked the background into any of "
            f"{own['n']} pictures, so these cannot show what masks buy."
        )
    return f"{_leakage_clause(found, measure, own, plain)}{_cost_clause(found, arms)}."


def summary(result: dict[str, Any]) -> str:
    """Return the headline numbers for the terminal: a line each, every arm with its interval."""
    shown = [measure for measure in MEASURES if any(measure in arm for arm in result["arms"].values())]
    if "leak" in shown:
        shown = [measure for measure in shown if measure != "excess"]
    width = max((len(MEASURES[measure].title) for measure in shown), default=0)
    lines = []
    for measure in shown:
        arms = [
            f"{name} {estimate_text(measure, arm[measure])}"
            for name, arm in result["arms"].items()
            if measure in arm
        ]
        lines.append(f"{MEASURES[measure].title:<{width}}  {'   '.join(arms)}")
    return "\n".join(lines)


def value_text(measure: str, value: float) -> str:
    """Return a value with its unit: `62 %`, `15 points`, or `0.81` for a likeness."""
    return f"{number_text(measure, value)} {MEASURES[measure].unit}".rstrip()


def number_text(measure: str, value: float) -> str:
    """Return a value without its unit, and without a minus in front of a zero."""
    text = f"{round(100 * value)}" if MEASURES[measure].unit else f"{round(value, 2) + 0.0:.2f}"
    return text.replace("-", "−")


def interval_text(measure: str, estimate: Mapping[str, float]) -> str:
    """Return an interval in the unit of its value: `[48, 75]`."""
    return f"[{number_text(measure, estimate['low'])}, {number_text(measure, estimate['high'])}]"


def estimate_text(measure: str, estimate: Mapping[str, float]) -> str:
    """Return a value with its interval: `62 % [48, 75]`."""
    return f"{value_text(measure, estimate['mean'])} {interval_text(measure, estimate)}"


def difference_text(measure: str, estimate: Mapping[str, float]) -> str:
    """Return a difference with its interval: `−58 points [−71, −42]`."""
    value = number_text(measure, estimate["mean"])
    sign = "+" if value.strip("0.−") and not value.startswith("−") else ""
    unit = " points" if MEASURES[measure].unit else ""
    return f"{sign}{value}{unit} {interval_text(measure, estimate)}"


def _leakage_clause(
    found: dict[str, Any], measure: str, own: dict[str, float], plain: dict[str, float]
) -> str:
    """Return what is known of leakage."""
    first, second = value_text(measure, own["mean"]), value_text(measure, plain["mean"])
    if measure == "leak":
        told = (
            f"{found['arm']} training leaked the photos’ background into {first} of pictures, "
            f"plain training into {second}"
        )
    else:
        told = (
            f"{found['arm']} training raised the share of the background that looks like the photos’ by "
            f"{first}, plain training by {second}"
        )
    if found[measure]["high"] < 0:
        return told[0].upper() + told[1:]
    if found[measure]["low"] > 0:
        return f"It did not help: {told}"
    return f"Undecided: {told}; {own['n']} pictures cannot tell the two apart"


def _cost_clause(found: dict[str, Any], arms: dict[str, dict[str, Any]]) -> str:
    """Return what is known of likeness, and of the prompted background where it suffered."""
    if "likeness" not in found:
        return "; the subject’s likeness was not measured"
    own, plain = (value_text("likeness", arm["likeness"]["mean"]) for arm in arms.values())
    change = found["likeness"]
    if change["low"] > 0:
        cost = f", and the subject is more alike ({own} against {plain})"
    elif change["low"] > -MARGIN:
        cost = f", and the subject keeps its likeness ({own} against {plain})"
    elif change["high"] < 0:
        cost = f", but the subject is less alike ({own} against {plain})"
    else:
        cost = f"; whether the subject’s likeness suffers is open ({own} against {plain})"
    if "agreement" in found and found["agreement"]["high"] < 0:
        own, plain = (value_text("agreement", arm["agreement"]["mean"]) for arm in arms.values())
        cost += f"; the prompted background is drawn less often ({own} against {plain})"
    return cost


def _num_pictures(result: dict[str, Any]) -> int:
    """Return the pictures of an arm; all have as many."""
    return min(arm["num_pictures"] for arm in result["arms"].values())


def counted(number: int, noun: str) -> str:
    """Return `1 prompt` or `2 prompts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
