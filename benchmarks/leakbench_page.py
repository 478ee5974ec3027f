"""The tables and the plot of docs/leakage.md, from the rows of LeakBench and nothing else.

What is generated stands between `<!-- leakbench: NAME -->` and `<!-- end -->`; the text around is a person's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakbench_coverage import BASE, Comparable, comparable, coverage
from leakbench_plan import ARMS, CHOSEN
from leakbench_plot import pareto_plot
from leakbench_tables import (
    Rows,
    arms_table,
    at_step,
    likeness_of,
    matched_table,
    others_table,
    percent_text,
    points_of,
    points_text,
    pooled,
    scenes_table,
    signed_text,
    steps_table,
    title_of,
)

from persam_dreambooth.errors import UserError
from persam_dreambooth.files import write_text

PLOT = "leakbench_pareto.svg"
TARGET_REDUCTION, TARGET_LIKENESS = 0.8, -0.05

_BLOCK = re.compile(r"(<!-- leakbench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """What is generated."""

    parts: Mapping[str, str]
    """By name, as Markdown."""
    plot: str | None = None
    """As SVG."""


def page_of(rows: Rows, about: Mapping[str, Any]) -> Page:
    """Return what is generated from rows.

    Args:
        rows: of all pictures.
        about: `features` that they were measured with, and the numbers of `steps`.
    """
    last = about["steps"][-1]
    summaries = _summaries(rows, about["steps"])
    summary = summaries[last]
    # The longer tables: the last two lengths only.
    late = {step: summaries[step] for step in about["steps"][-2:]}
    parts = {
        "coverage": f"{coverage(rows)} Measured with `--features {about['features']}`.",
        "verdict": _by_step({step: verdict(found) for step, found in summaries.items()}),
        "arms": _by_step({step: arms_table(rows, found) for step, found in summaries.items()}),
        "buys": _by_step({step: buys(found) for step, found in late.items()}),
        "scenes": _by_step(
            {step: scenes_table(at_step(rows, None if step == last else step)) for step in late}
        ),
        "steps": steps_table(rows, summary),
        "matched": matched_table(summary),
        "others": others_table(rows, summary),
    }
    return Page(parts, plot(summary))


def confirmation_of(rows: Rows, about: Mapping[str, Any]) -> Page:
    """Return what fresh subjects say about the way to train that other subjects chose.

    Args:
        rows: of all pictures.
        about: as for `page_of`.
    """
    told = {
        step: "\n\n".join((verdict(found, CHOSEN), arms_table(rows, found), buys(found)))
        for step, found in _summaries(rows, about["steps"]).items()
    }
    counted = f"{coverage(rows)} Measured with `--features {about['features']}`."
    return Page({"confirmed": f"{counted}\n\n{_by_step(told)}"})


def verdict(summary: Mapping[str, Any], chosen: str | None = None) -> str:
    """Return whether the target is met, and by which arm: the one that removes most at no loss of likeness.

    Where none meets it for sure and some may, the best of these is named and the question stays open. Arms
    that were not trained on all of the subjects are passed over.

    Args:
        summary: of all rows.
        chosen: ask of this arm only, which was chosen before there were these rows.
    """
    whole, likeness = comparable(summary["rows"]).arms, likeness_of(summary)
    told = [
        found
        for found in summary["differences"]
        if found["arm"] in (whole if chosen is None else {chosen}) and found.get("relative_reduction")
    ]
    if not told:
        return "Plain training did not leak for sure in these runs, so that there is nothing to remove."
    if not all(found.get(likeness) for found in told):
        return "These features could not measure likeness, so that nothing is said of the target."
    safe = [found for found in told if found[likeness]["low"] > TARGET_LIKENESS]
    met = [found for found in safe if found["relative_reduction"]["mean"] >= TARGET_REDUCTION]
    possible = [
        found
        for found in told
        if found[likeness]["high"] > TARGET_LIKENESS
        and found["relative_reduction"]["high"] >= TARGET_REDUCTION
    ]
    state = "met" if met else "not shown and not ruled out: more runs would tell" if possible else "missed"
    best = max(met or possible or safe or told, key=lambda found: found["relative_reduction"]["mean"])
    title = title_of(best["arm"])
    best_of = f"the best of {len(told)} ways, chosen on these same runs"
    how = best_of if chosen is None else "chosen before, on other subjects"
    return (
        f"**Target {state}.** {title[0].upper()}{title[1:]} removes "
        f"{percent_text(best['relative_reduction'])} of plain training's excess and changes likeness by "
        f"{signed_text(best[likeness])}. (Target: at least {TARGET_REDUCTION:.0%} removed, and the lower "
        f"bound of the likeness change above {TARGET_LIKENESS}. It was {how}.)"
    )


def buys(summary: Mapping[str, Any]) -> str:
    """Return a line on each arm: what it changes against plain training, and where it is surely worse."""
    likeness, left_out = likeness_of(summary), comparable(summary["rows"]).left_out
    asked = {
        "leak": ("leaked", points_text, False),
        "excess": ("excess", points_text, False),
        "agreement": ("prompted place kept", points_text, True),
        likeness: ("likeness", signed_text, True),
        "subject": ("class seen", points_text, True),
    }
    lines = []
    for found in sorted(summary["differences"], key=lambda found: list(ARMS).index(found["arm"])):
        told = [f"{name} {text(found[key])}" for key, (name, text, _) in asked.items() if found.get(key)]
        worse = [
            name
            for key, (name, _, more_is_better) in asked.items()
            if found.get(key) and (found[key]["high"] < 0 if more_is_better else found[key]["low"] > 0)
        ]
        loses = f" **Worse: {', '.join(worse)}.**" if worse else ""
        part = f" ({left_out[found['arm']]})" if found["arm"] in left_out else ""
        lines.append(f"- {title_of(found['arm'])}{part}: {', '.join(told)}.{loses}")
    return "\n".join(lines) or "- No arm has a plain training beside it."


def spliced(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with these of its generated parts replaced.

    Raises:
        UserError: the page has no place for a part.
    """
    lacking = parts.keys() - {match[2] for match in _BLOCK.finditer(page)}
    if lacking:
        name = min(lacking)
        raise UserError(
            f"leakage.md: has no part {name!r}; lines `<!-- leakbench: {name} -->` and `<!-- end -->` are "
            "needed. Add them where it is to stand."
        )

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}{parts[match[2]]}\n{match[3]}" if match[2] in parts else match[0]

    return _BLOCK.sub(part, page)


def write_page(path: Path, images: Path, page: Page) -> None:
    """Write the plot, and tables and sentences into a page that is there, at their marks."""
    text = spliced(path.read_text(encoding="utf-8"), page.parts)
    if page.plot is not None:
        write_text(images / PLOT, page.plot)
    write_text(path, text)


def write_new_page(path: Path, page: Page) -> None:
    """Write a page of nothing but tables and sentences, and the plot beside it."""
    marks = "".join(f"<!-- leakbench: {name} -->\n<!-- end -->\n\n" for name in page.parts)
    image = f"![Excess and likeness]({PLOT})\n\n" if page.plot is not None else ""
    write_text(path, f"# LeakBench\n\n{image}{marks}")
    write_page(path, path.parent, page)


def _summaries(rows: Rows, steps: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the summary after each number of steps; pooling is what takes long, so each is made once."""
    *early, last = steps
    return {step or last: pooled(at_step(rows, step)) for step in (*early, None)}


def _by_step(parts: Mapping[int, str]) -> str:
    """Return parts under a line that says after how many steps."""
    return "\n\n".join(f"After {step} steps:\n\n{part}" for step, part in parts.items())


def plot(summary: Mapping[str, Any]) -> str:
    """Return the paths of the arms over leakage and likeness as SVG: of those that compare."""
    found = comparable(summary["rows"])
    titles = {arm: title_of(arm) for arm in (BASE, *ARMS)}
    lacking = [f"{title_of(arm)} ({part})" for arm, part in found.left_out.items()]
    return pareto_plot(points_of(summary, found), titles, caption_of(found, lacking))


def caption_of(found: Comparable, left_out: Sequence[str]) -> str:
    """Return what the plot says below itself: of which trainings it is, and which arms it leaves out."""
    subjects = len({subject for subject, _ in found.trainings})
    told = f"{len(found.trainings)} trainings of each way, the same {subjects} subjects and seeds."
    if not left_out:
        return told
    return f"{told} Left out, because other subjects are not comparable: {'; '.join(left_out)}."
