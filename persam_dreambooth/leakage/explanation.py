"""How the numbers came about, in words, for the report: what was counted, against what, what stays open."""

from collections.abc import Mapping
from html import escape
from typing import Any


def explanation(result: Mapping[str, Any]) -> str:
    """Return the report's paragraphs on how the comparison was measured."""
    parts = []
    if truth := result.get("truth"):
        parts.append(_truth(escape(truth["subject"]), escape(", ".join(truth["training_backgrounds"]))))
    if used := result.get("features"):
        missing = ", ".join(
            f"{escape(name)} {arm['subject_missing']} of {arm['num_pictures']}"
            for name, arm in result["arms"].items()
        )
        parts.append(_excess(used, missing))
    parts.append(_intervals(result["statistics"]["num_resamples"]))
    return "".join(f"<p>{part}</p>" for part in parts)


def _truth(subject: str, places: str) -> str:
    """Return what the classifier is asked."""
    return (
        "<strong>Leaked, kept, likeness</strong> come from a classifier trained on renderings of the toy "
        f"world, in which the truth is known. This {subject}’s photos show: {places}. A picture counts as "
        "leaked where the classifier sees one of these instead of the prompted background; a prompt that "
        "names one of these, or no background, counts in neither share. Likeness is the mean probability of "
        "the individual’s main, second and accent colour, pattern and accessory. The base model has never "
        "seen the individual: its likeness is what guessing earns."
    )


def _excess(used: Mapping[str, Any], missing: str) -> str:
    """Return how the measure without truth is computed."""
    return (
        "<strong>Excess over the base model</strong> needs no known truth. Each background cell of a picture "
        f"({used['num_features']} numbers of colour and gradients) is compared with the photos’ backgrounds "
        f"and with {used['num_banks']} equally large banks of decoys ({used['bank_size']} cells each), which "
        "are other places. It counts as the photos’ where their bank holds the nearest cell of all; by "
        f"chance that happens in {100 * used['chance']:.0f}&nbsp;%. The base model’s share on the same "
        "prompts and seeds is subtracted. The subject is found with PerSAM-F and left out; where it is not "
        f"found, the whole picture counts ({missing})."
    )


def _intervals(num_resamples: int) -> str:
    """Return what the intervals mean."""
    return (
        "<strong>Intervals</strong> hold 95&nbsp;%. A paired bootstrap draws prompts, then their seeds, "
        f"{num_resamples:,} times; shares get at least Wilson’s interval, so that 0 of 24 is not taken for "
        "never. The intervals speak of other prompts and seeds, not of another training run or another "
        "subject. The three conditions on top are fixed in the program, not chosen after the fact."
    )
