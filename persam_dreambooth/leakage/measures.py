"""How every measure is called, explained and written: the same words in the terminal, the page, the docs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """How a measure is called and written."""

    title: str
    short_title: str
    explanation: str
    unit: str
    """Behind its numbers; numbers with a unit are written times 100."""
    lower_is_better: bool
    needs_truth: bool = False
    """Whether only the toy world, where the truth is known, has it."""


MEASURES = {
    "leak": Measure(
        "Background leaked",
        "Leaked",
        "Pictures that show a background of the photos instead of the prompted one. Lower is better.",
        unit="%",
        lower_is_better=True,
        needs_truth=True,
    ),
    "agreement": Measure(
        "Prompted background kept",
        "Kept",
        "Pictures that show the background the prompt asks for. Higher is better.",
        unit="%",
        lower_is_better=False,
        needs_truth=True,
    ),
    "trait_likeness": Measure(
        "Subject’s traits",
        "Traits",
        "Mean probability (0 to 1) of the five traits of this one individual; 0 where its kind is not "
        "recognised. Higher is better.",
        unit="",
        lower_is_better=False,
        needs_truth=True,
    ),
    "subject": Measure(
        "Kind recognised",
        "Kind",
        "Pictures in which the classifier sees the subject’s kind. Higher is better.",
        unit="%",
        lower_is_better=False,
        needs_truth=True,
    ),
    "excess": Measure(
        "Excess over the base model",
        "Excess",
        "Share of the background that looks like the photos’ rather than like other places, less the base "
        "model’s share, in points of percent. Lower is better.",
        unit="points",
        lower_is_better=True,
    ),
    "likeness": Measure(
        "Likeness of the subject",
        "Likeness",
        "The subject alone, cut out: 0 is what the base model draws for the class noun, 1 is the photos "
        "among themselves. Higher is better.",
        unit="",
        lower_is_better=False,
    ),
    "adherence": Measure(
        "Background asked for",
        "Asked for",
        "Pictures whose background fits their own prompt better than every other prompt’s. Higher is better.",
        unit="%",
        lower_is_better=False,
    ),
    "missing": Measure(
        "Subject missing",
        "Missing",
        "Pictures in which the subject was not found. They are counted, not dropped. Lower is better.",
        unit="%",
        lower_is_better=True,
    ),
    "attribution": Measure(
        "Background attributed to the photos",
        "Attributed",
        "Share of the background whose nearest neighbour is in the photos rather than in any decoy bank, "
        "before the base model’s share is taken off. Lower is better.",
        unit="%",
        lower_is_better=True,
    ),
    "copy_rate": Measure(
        "Background that looks copied",
        "Copied",
        "Share of the background nearer to the photos than 99 % of what the base model draws is to the "
        "decoys. Lower is better.",
        unit="%",
        lower_is_better=True,
    ),
    "style_shift": Measure(
        "Shift of colour and light",
        "Style",
        "How much more the mean background resembles the photos’ than the decoys’ (cosines, -1 to 1). Lower "
        "is better.",
        unit="",
        lower_is_better=True,
    ),
    "max_cosine": Measure(
        "Raw largest cosine",
        "Cosine",
        "Mean cosine to the nearest patch of the photos, decoys ignored: for comparison with other work "
        "only. Lower is better.",
        unit="",
        lower_is_better=True,
    ),
    "contamination": Measure(
        "Class contaminated",
        "Contaminated",
        "How much like the subject a picture is whose prompt names the class alone. Lower is better.",
        unit="",
        lower_is_better=True,
    ),
    "widest_copy": Measure(
        "Widest copy",
        "Widest",
        "Share of the background in the largest connected piece that is copied as one. Lower is better.",
        unit="%",
        lower_is_better=True,
    ),
    "likeness_found": Measure(
        "Likeness where the subject was found",
        "Likeness if found",
        "As the likeness, without the pictures whose subject is missing. Higher is better.",
        unit="",
        lower_is_better=False,
    ),
    "excess_found": Measure(
        "Excess where the subject was found",
        "Excess if found",
        "As the excess, without the pictures whose subject is missing. Lower is better.",
        unit="points",
        lower_is_better=True,
    ),
    "excess_common": Measure(
        "Excess over cells that both show",
        "Excess, common",
        "Excess over the cells that are background in the base model’s picture as well. Lower is better.",
        unit="points",
        lower_is_better=True,
    ),
    "excess_wider": Measure(
        "Excess with wider masks",
        "Excess, wider",
        "Excess with every picture’s mask widened by 2 % of its side. Lower is better.",
        unit="points",
        lower_is_better=True,
    ),
    "excess_narrower": Measure(
        "Excess with narrower masks",
        "Excess, narrower",
        "Excess with every picture’s mask narrowed by 2 % of its side. Lower is better.",
        unit="points",
        lower_is_better=True,
    ),
    "excess_without_conflicts": Measure(
        "Excess without prompts in conflict",
        "Excess, no conflicts",
        "Excess without the prompts that ask for a scene like the photos’ own. Lower is better.",
        unit="points",
        lower_is_better=True,
    ),
}
"""By key of report.json, in the order in which people see them."""


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


def p_text(p: float) -> str:
    """Return a p value: `p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def counted(number: int, noun: str) -> str:
    """Return `1 prompt` or `2 prompts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
