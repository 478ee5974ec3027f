"""A comparison on the terminal: a line an arm, a column a measure, intervals aligned; then what follows."""

from collections.abc import Mapping, Sequence
from typing import Any

from persam_dreambooth.leakage.measures import MEASURES, difference_text, estimate_text

_COLUMNS = ("attribution", "excess", "style_shift", "likeness", "adherence", "missing")
_OF_TRUTH = ("leak", "agreement", "trait_likeness", "subject")
"""What the toy world's judge sees, where it knows the subject."""
_DIFFERENCES = ("leak", "trait_likeness", "excess", "likeness", "adherence", "missing")
_MARKS = {"met": "yes ", "broken": "no  ", "open": "open"}


def table(result: Mapping[str, Any]) -> str:
    """Return what a person at a terminal should see of a report.

    Args:
        result: the content of report.json.
    """
    parts = [_block(result["arms"], _COLUMNS)]
    if told := _block(result["arms"], _OF_TRUTH):
        parts.append(f"What the toy world's judge sees:\n{told}")
    if compared := [_difference(found) for found in result["differences"]]:
        parts.append("\n".join(compared))
    if claim := result.get("claim"):
        parts.append(_claim(claim))
    parts.append(str(result["verdict"]))
    if warnings := result.get("warnings"):
        parts.append("\n".join(f"note: {warning}" for warning in warnings))
    return "\n\n".join(parts)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = []
    for line in lines:
        first, *others = (
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        rows.append("   ".join([first, *others]).rstrip())
    return "\n".join(rows)


def _block(arms: Mapping[str, Mapping[str, Any]], measures: Sequence[str]) -> str:
    """Return arms by measures, as far as these were measured; empty where none was."""
    shown = [name for name in measures if any(name in arm for arm in arms.values())]
    if not shown:
        return ""
    head = ["", "pictures", *(MEASURES[name].short_title for name in shown)]
    lines = [
        [name, str(arm["num_pictures"]), *(_cell(measure, arm.get(measure)) for measure in shown)]
        for name, arm in arms.items()
    ]
    return aligned([head, *lines])


def _cell(measure: str, found: Mapping[str, float] | None) -> str:
    """Return an arm's number with its interval, or a dash."""
    return "–" if found is None else estimate_text(measure, found)


def _difference(found: Mapping[str, Any]) -> str:
    """Return what an arm differs by from another."""
    told = [
        f"{MEASURES[name].short_title.lower()} {difference_text(name, found[name])}{_p(found[name])}"
        for name in _DIFFERENCES
        if name in found
    ]
    return f"{found['arm']} minus {found['minus']}: {', '.join(told)}"


def _p(found: Mapping[str, float]) -> str:
    """Return the p-value of a difference, if it has one."""
    p = found.get("p")
    return "" if p is None else " p<0.001" if p < 0.001 else f" p={p:.3f}"


def _claim(claim: Mapping[str, Any]) -> str:
    """Return the conditions of the claim and which of them hold."""
    conditions = claim["conditions"]
    title = f"{claim['arm']} leaks less than {claim['minus']}, at no loss: {claim['verdict']}"
    lines = [f"  {_MARKS[condition['state']]} {condition['text']}" for condition in conditions]
    return "\n".join([f"{title} ({claim['met']} of {len(conditions)})", *lines])
