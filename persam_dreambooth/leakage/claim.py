"""What may be said of a comparison, by a rule that was fixed before anyone saw a number.

"Less leakage at no loss" is said only where all four hold against plain training:

    (i)   the whole interval of the difference in attribution lies below 0
    (ii)  that of the difference in likeness lies above -MARGIN
    (iii) that of the difference in scenes recognised lies above -MARGIN
    (iv)  subjects are not missing more often, by more than MAX_MORE_MISSING

All must hold, so that looking at four needs no correction. What intervals leave open is called undecided.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from persam_dreambooth.leakage.measures import (
    MEASURES,
    counted,
    difference_text,
    estimate_text,
    interval_text,
    value_text,
)

MARGIN = 0.05
"""A loss of likeness, or of prompted backgrounds, up to this counts as none."""
MAX_MORE_MISSING = 0.02
"""Subjects may be missing in this share of pictures more."""
MIN_PROMPTS = 4
MIN_PICTURES = 8
"""With fewer prompts or pictures an arm, nothing is concluded."""
MAIN = "masked"
"""Name of the arm that a report is about, where there is one of this name."""

State = Literal["met", "broken", "open"]
Verdict = Literal["supported", "not supported", "undecided", "too few pictures"]
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Condition:
    """One of the four conditions, and whether the intervals meet it."""

    name: str
    text: str
    state: State


def main_difference(result: Result) -> dict[str, Any] | None:
    """Return the difference that the report is about: masked minus plain, else the first, or None."""
    differences = result["differences"]
    masked = (found for found in differences if found["arm"] == MAIN)
    return next(masked, differences[0] if differences else None)


def claim(result: Result, arm: str | None = None) -> dict[str, Any] | None:
    """Return the claim about an arm as report.json holds it; None where there is no plain arm beside another.

    Args:
        result: from `summary.summarise`.
        arm: which; by default the one that the report is about.
    """
    found = main_difference(result)
    if arm is not None:
        found = next((one for one in result["differences"] if one["arm"] == arm), None)
    if found is None:
        return None
    told = conditions(result, found)
    states = [condition.state for condition in told]
    answer: Verdict = "undecided"
    if too_few(result):
        answer = "too few pictures"
    elif "broken" in states:
        answer = "not supported"
    elif set(states) == {"met"}:
        answer = "supported"
    return {
        "arm": found["arm"],
        "minus": found["minus"],
        "conditions": [vars(condition) for condition in told],
        "met": states.count("met"),
        "verdict": answer,
    }


def conditions(result: Result, found: Mapping[str, Any]) -> list[Condition]:
    """Return the four conditions for one of the differences."""
    enough = too_few(result) is None
    # Where no model looked for the scenes, the toy world's judge knows them.
    scenes = "adherence" if "adherence" in found or "agreement" not in found else "agreement"
    margin = f"{round(100 * MARGIN)} points"
    return [
        _condition("leakage", "excess", found, 0.0, "less background leakage", enough),
        _condition("likeness", "likeness", found, -MARGIN, f"no loss of likeness beyond {MARGIN}", enough),
        _condition(
            "adherence", scenes, found, -MARGIN, f"no loss of prompted scenes beyond {margin}", enough
        ),
        _missing(found, enough),
    ]


def too_few(result: Result) -> str | None:
    """Return why nothing can be concluded from so few pictures, or None where there are enough."""
    prompts = len(result["prompts"])
    pictures = min((arm["num_pictures"] for arm in result["arms"].values()), default=0)
    if prompts >= MIN_PROMPTS and pictures >= MIN_PICTURES:
        return None
    return (
        f"Not enough pictures to tell: {counted(prompts, 'prompt')} and {counted(pictures, 'picture')} an "
        f"arm, where a verdict needs {MIN_PROMPTS} prompts and {MIN_PICTURES} pictures"
    )


def verdict(result: Result) -> str:
    """Return the result in words and numbers, every number with its interval; no more than they allow."""
    found = main_difference(result)
    if found is None or "excess" not in found:
        return "No verdict: this takes pictures of the base model, of a plain arm and of another one."
    if few := too_few(result):
        return f"{few}."
    sentences = [_leakage(result, found), _likeness(found), _scenes(result, found)]
    told = claim(result)
    met = f"Claim {told['verdict']}: {told['met']} of {len(told['conditions'])} conditions."
    return " ".join(sentence for sentence in (*sentences, met, _truth(result, found)) if sentence)


def _condition(
    name: str, measure: str, found: Mapping[str, Any], bound: float, text: str, enough: bool
) -> Condition:
    """Return a condition on a difference, by where its interval lies."""
    if measure not in found:
        return Condition(name, f"{text}: not measured", "open")
    worst, best = found[measure]["low"], found[measure]["high"]
    if MEASURES[measure].lower_is_better:
        worst, best = -best, -worst
    state: State = "met" if enough and worst > bound else "broken" if enough and best < bound else "open"
    return Condition(name, f"{text}: {difference_text(measure, found[measure])}", state)


def _missing(found: Mapping[str, Any], enough: bool) -> Condition:
    """Return the condition on missing subjects: by the difference itself, broken only where it is certain."""
    text = f"subjects missing in no more than {round(100 * MAX_MORE_MISSING)} points more pictures"
    if "missing" not in found:
        return Condition("missing", f"{text}: not measured", "open")
    change = found["missing"]
    state: State = "open"
    if enough and change["mean"] <= MAX_MORE_MISSING:
        state = "met"
    elif enough and change["low"] > MAX_MORE_MISSING:
        state = "broken"
    return Condition("missing", f"{text}: {difference_text('missing', change)}", state)


def _leakage(result: Result, found: Mapping[str, Any]) -> str:
    """Return the sentence on leakage."""
    arm, minus = found["arm"], found["minus"]
    own, plain = (_rate(result, name) for name in (arm, minus))
    base = result["arms"].get("base", {}).get("attribution")
    level = f"; the base model’s own share is {estimate_text('attribution', base)}" if base else ""
    told = (
        f"{arm} training leaves {own} of the background nearer to the photos’ than to any other place, "
        f"{minus} training {plain}{level}."
    )
    change = found["excess"]
    excess = result["arms"][minus].get("excess", {"low": 0.0})
    if change["high"] < 0:
        return told[0].upper() + told[1:] + _reduction(found)
    if change["low"] > 0:
        return f"It did not help: {told}"
    if excess["low"] <= 0:
        return (
            f"Nothing to remove: {minus} training itself did not measurably leak. {told[0].upper()}{told[1:]}"
        )
    return f"Undecided: {told}"


def _rate(result: Result, arm: str) -> str:
    """Return an arm's attribution."""
    return estimate_text("attribution", result["arms"][arm]["attribution"])


def _reduction(found: Mapping[str, Any]) -> str:
    """Return how much of the plain arm's excess is gone, where that can be said."""
    reduction = found.get("relative_reduction")
    if reduction is None:
        return ""
    ends = f"[{100 * reduction['low']:.0f}, {100 * reduction['high']:.0f}]".replace("-", "−")
    return f" That is {100 * reduction['mean']:.0f} % {ends} of what {found['minus']} training adds."


def _likeness(found: Mapping[str, Any]) -> str:
    """Return the sentence on the subject."""
    if "likeness" not in found:
        return "The subject’s likeness was not measured."
    change = found["likeness"]
    numbers = f"({difference_text('likeness', change)})"
    if change["low"] > 0:
        return f"The subject is more alike {numbers}."
    if change["low"] > -MARGIN:
        return f"The subject keeps its likeness {numbers}."
    if change["high"] < 0:
        return f"But the subject is less alike {numbers}."
    return f"Whether the subject’s likeness suffers is open {numbers}."


def _scenes(result: Result, found: Mapping[str, Any]) -> str:
    """Return the sentence on the prompted scenes, where these suffered."""
    measure = "adherence" if "adherence" in found else "agreement"
    if measure not in found or found[measure]["high"] >= 0:
        return ""
    own, plain = (estimate_text(measure, result["arms"][name][measure]) for name in _pair(found))
    return f"The prompted scene is drawn less often ({own} against {plain})."


def _truth(result: Result, found: Mapping[str, Any]) -> str:
    """Return what the toy world's judge says of the same pictures, where there is one."""
    if "leak" not in found:
        return ""
    own, plain = (estimate_text("leak", result["arms"][name]["leak"]) for name in _pair(found))
    return f"The toy world’s judge sees the photos’ background in {own} of pictures against {plain}."


def _pair(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return the arm and what it is compared with."""
    return found["arm"], found["minus"]


CheckState = Literal["ok", "breach", "undecided"]


@dataclass(frozen=True)
class Check:
    """Whether a limit is kept by an arm, and in which words."""

    state: CheckState
    text: str


def check(
    result: Result,
    *,
    max_excess: float | None = None,
    min_fidelity: float | None = None,
    arm: str | None = None,
) -> list[Check]:
    """Return whether limits are kept: "ok" or "breach" only where a whole interval lies on one side.

    Args:
        result: a comparison.
        max_excess: most attribution above the base model's that is allowed, as a share: 0.05 is 5 points.
        min_fidelity: least difference in likeness to plain training that is allowed, for example -0.05.
        arm: which; by default the one that the report is about, else the only tuned one.
    """
    arm = arm or _checked_arm(result)
    found = next((one for one in result["differences"] if one["arm"] == arm), {})
    few = too_few(result)
    checks = []
    if max_excess is not None:
        estimate = result["arms"].get(arm, {}).get("excess")
        limit = f"at most {value_text('excess', max_excess)}"
        checks.append(_check(f"{arm}: excess", "excess", estimate, limit, few, lambda x: x <= max_excess))
    if min_fidelity is not None:
        estimate = found.get("likeness")
        limit = f"at least {value_text('likeness', min_fidelity)}"
        subject = f"{arm}: likeness against {found.get('minus', 'plain')}"
        checks.append(_check(subject, "likeness", estimate, limit, few, lambda x: x >= min_fidelity))
    return checks


def _checked_arm(result: Result) -> str | None:
    """Return the arm that limits are for."""
    found = main_difference(result)
    tuned = [arm for arm in result["arms"] if arm != "base"]
    return found["arm"] if found else tuned[0] if len(tuned) == 1 else None


def _check(
    what: str,
    measure: str,
    estimate: Mapping[str, float] | None,
    limit: str,
    few: str | None,
    is_kept: Callable[[float], bool],
) -> Check:
    """Return whether one limit is kept at both ends of an interval."""
    if estimate is None:
        return Check("undecided", f"{what} not measured; {limit} is asked")
    told = (
        f"{what} {value_text(measure, estimate['mean'])} {interval_text(measure, estimate)}; {limit} is asked"
    )
    kept = {is_kept(estimate["low"]), is_kept(estimate["high"])}
    if few is not None or len(kept) > 1:
        return Check("undecided", told)
    return Check("ok" if kept == {True} else "breach", told)
