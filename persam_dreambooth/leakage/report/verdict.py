"""The top of the page: the verdict, what it rests on, and the conditions that were fixed beforehand."""

import re
from collections.abc import Mapping
from typing import Any

from persam_dreambooth.leakage.measures import counted
from persam_dreambooth.leakage.report.looks import BASE
from persam_dreambooth.leakage.report.words import text

_MARKS = {"met": "✓", "broken": "✗", "open": "?"}
_STATES = {"met": "met", "broken": "not met", "open": "open"}


def verdict(result: Mapping[str, Any]) -> str:
    """Return the verdict in words, the size of the comparison, and each condition with its state."""
    prompts, seeds = len(result["prompts"]), len(result["seeds"])
    arms = result["arms"]
    pictures = max((arm["num_pictures"] for arm in arms.values()), default=0)
    headline, rest = first_sentence(result["verdict"])
    lead = f'<p class="lead">{text(rest)}</p>' if rest else ""
    same = ", the same noise for every arm" if drew_all(result) else ""
    before = "; base is the one before training" if BASE in arms else ""
    basis = (
        f"{counted(pictures, 'picture')} an arm: {counted(prompts, 'prompt')}, {counted(seeds, 'seed')}"
        f"{same}. An arm is one of the models compared{before}. Brackets hold 95 % intervals."
    )
    top = f'<h1>{text(headline)}</h1>{lead}<p class="basis">{text(basis)}</p>'
    return top + _claim(result) + _warnings(result)


def drew_all(result: Mapping[str, Any]) -> bool:
    """Return whether this program drew the pictures: only then does it know their noise."""
    return bool((result.get("config") or {}).get("sampler"))


def first_sentence(told: str) -> tuple[str, str]:
    """Return the first sentence of a text, and the rest of it."""
    end = re.search(r"[.!?](?= [A-Z])", told)
    return (told[: end.end()], told[end.end() :].strip()) if end else (told, "")


def _claim(result: Mapping[str, Any]) -> str:
    """Return the conditions; nothing where there are not two arms to compare."""
    claim = result.get("claim")
    if not claim or not claim.get("conditions"):
        return ""
    conditions = claim["conditions"]
    items = "".join(
        f'<li class="{item["state"]}"><span aria-hidden="true">{_MARKS[item["state"]]}</span> '
        f'{text(item["text"])}<span class="state"> ({_STATES[item["state"]]})</span></li>'
        for item in conditions
    )
    met = sum(item["state"] == "met" for item in conditions)
    return (
        f'<div class="claim"><p>The claim “{text(claim["arm"])} leaks less than {text(claim["minus"])}, at '
        "no "
        f"loss”: <strong>{text(claim['verdict'])}</strong>, {met} of {len(conditions)} conditions met. They "
        f"were fixed in the program beforehand.</p><ul>{items}</ul></div>"
    )


def _warnings(result: Mapping[str, Any]) -> str:
    """Return what the reader should know before believing the verdict."""
    told = "".join(f"<li>{text(warning)}</li>" for warning in result.get("warnings") or ())
    return f'<ul class="warnings" aria-label="Warnings">{told}</ul>' if told else ""
