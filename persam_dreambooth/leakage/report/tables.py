"""The numbers as tables: prompt by prompt, the other families of prompts; then settings and commands."""

from collections.abc import Mapping, Sequence
from typing import Any

from persam_dreambooth.leakage.measures import MEASURES, difference_text, estimate_text, number_text, p_text
from persam_dreambooth.leakage.report.selection import (
    COUNTED,
    FAMILIES,
    MAIN_FAMILY,
    headlines,
    prompt_values,
)
from persam_dreambooth.leakage.report.words import definitions, section, table, text

Result = Mapping[str, Any]

FAMILY_MEASURES = ("attribution", "excess", "contamination", "likeness")
"""What is told of prompts other than the main ones."""


def prompts(result: Result) -> str:
    """Return the means of every prompt, arm and headline measure."""
    measures = headlines(result)
    if not measures:
        return ""
    told = {
        measure: {
            arm: prompt_values(result, arm, measure)
            for arm, found in result["arms"].items()
            if found.get(measure)
        }
        for measure in measures
    }
    top = [("Prompt", 1)] + [
        (text(MEASURES[measure].short_title), len(told[measure])) for measure in measures
    ]
    below = [("", 1)] + [(text(arm), 1) for measure in measures for arm in told[measure]]
    lines = [
        [text(prompt)]
        + [
            _cell(measure, values.get(prompt, []))
            for measure in measures
            for values in told[measure].values()
        ]
        for prompt in result["prompts"]
    ]
    caption = (
        "Pictures are counted where a measure is yes or no; excess is in points; likeness and traits are "
        "means over the seeds."
    )
    return table([top, below], lines, caption)


def families(result: Result) -> str:
    """Return the arms' numbers for prompts other than the main ones."""
    lines = []
    told = {name: own for name, own in (result.get("families") or {}).items() if own and name != MAIN_FAMILY}
    measures = [
        measure
        for measure in FAMILY_MEASURES
        if any(found.get(measure) for own in told.values() for found in own.values())
    ]
    for name, own in told.items():
        for arm, found in own.items():
            cells = [
                text(estimate_text(measure, found[measure])) if found.get(measure) else "–"
                for measure in measures
            ]
            lines.append([f"{text(FAMILIES.get(name, name))}", text(arm), *cells])
    if not lines or not measures:
        return ""
    head = [("Prompts ask for", 1), ("Arm", 1), *((text(MEASURES[measure].title), 1) for measure in measures)]
    caption = "Other families of prompts, reported apart: no verdict rests on them."
    return table([head], lines, caption, num_names=2)


def secondary(result: Result) -> str:
    """Return the differences that are no part of the claim, with p values that hold for all together."""
    lines = []
    for found in result.get("secondary") or ():
        measure = MEASURES.get(found["measure"])
        if measure is None:
            continue
        lines.append(
            [
                text(f"{found['arm']} minus {found['minus']}"),
                text(FAMILIES.get(found["family"], found["family"])),
                text(measure.title),
                text(difference_text(found["measure"], found)),
                text(p_text(found["p_holm"])),
            ]
        )
    head = [("Arms", 1), ("Prompts ask for", 1), ("Measure", 1), ("Difference", 1), ("p, two-sided", 1)]
    caption = "Secondary differences; the p values are Holm’s, over all of an arm’s in this table."
    return table([head], lines, caption, num_names=3) if lines else ""


def settings(result: Result) -> str:
    """Return the settings and the commands that were run."""
    values = {name: text(value) for name, value in (result.get("settings") or {}).items()}
    lines = "\n".join(text(command) for command in result.get("commands") or ())
    body = definitions(values) if values else ""
    if lines:
        body += f'<div class="scroll" tabindex="0"><pre><code>{lines}</code></pre></div>'
    return section("Settings and commands", body, anchor="settings")


def _cell(measure: str, values: Sequence[float]) -> str:
    """Return a prompt's mean, or count, in the table."""
    if not values:
        return "–"
    if measure in COUNTED:
        return f"{round(sum(values))} of {len(values)}"
    return number_text(measure, sum(values) / len(values))
