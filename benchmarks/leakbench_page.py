"""The tables and the plot of docs/leakage.md, from the rows of LeakBench and nothing else.

What is generated stands between `<!-- leakbench: NAME -->` and `<!-- end -->`; the text around is a person's.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leakbench_plan import ARMS
from leakbench_plot import pareto_plot
from leakbench_tables import (
    BASE,
    Rows,
    arms_table,
    at_step,
    likeness_of,
    matched_table,
    others_table,
    percent_text,
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
PARTS = ("coverage", "verdict", "arms", "buys", "scenes", "steps", "matched", "others")
TARGET_REDUCTION, TARGET_LIKENESS = 0.8, -0.05

_BLOCK = re.compile(r"(<!-- leakbench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables(rows: Rows, about: Mapping[str, Any]) -> dict[str, str]:
    """Return the generated parts of the page by name, as Markdown.

    Args:
        rows: of all pictures.
        about: `features` that they were measured with, and the numbers of `steps`.
    """
    early, last = [*about["steps"][-2:-1], None], about["steps"][-1]
    summaries = {step or last: pooled(at_step(rows, step)) for step in early}
    return {
        "coverage": f"{coverage(rows)} Measured with `--features {about['features']}`.",
        "verdict": _by_step({step: verdict(found) for step, found in summaries.items()}),
        "arms": _by_step({step: arms_table(rows, found) for step, found in summaries.items()}),
        "buys": _by_step({step: buys(found) for step, found in summaries.items()}),
        "scenes": _by_step({step or last: scenes_table(at_step(rows, step)) for step in early}),
        "steps": steps_table(rows),
        "matched": matched_table(rows),
        "others": others_table(rows),
    }


def coverage(rows: Rows) -> str:
    """Return a sentence on how much was run."""
    runs = {(row["album"], row["arm"], row["training_seed"]) for row in rows if row["arm"] != BASE}
    subjects = {row["album"]: row["group"] for row in rows}
    groups = ", ".join(f"{count} {group}" for group, count in sorted(Counter(subjects.values()).items()))
    by_arm = Counter(arm for _, arm, _ in runs)
    counts = ", ".join(f"{ARMS[arm].title} {by_arm[arm]}" for arm in ARMS if by_arm[arm])
    seeds = len({seed for _, _, seed in runs})
    pictures = sum(row["arm"] != BASE for row in rows)
    return (
        f"{len(runs)} trainings of {len(subjects)} subjects ({groups}) with {seeds} training seed"
        f"{'s' * (seeds > 1)}, {pictures:,} pictures. Trainings of each: {counts}."
    )


def verdict(summary: Mapping[str, Any]) -> str:
    """Return whether the target is met, and by which arm: the one that removes most at no loss of likeness.

    Where none meets it for sure and some may, the best of these is named and the question stays open. Arms
    that were trained less than half as often as the others are passed over.
    """
    told = [found for found in summary["differences"] if found.get("relative_reduction")]
    if not told:
        return "Plain training did not leak for sure in these runs, so that there is nothing to remove."
    likeness, most = likeness_of(summary), max(found["excess"]["n"] for found in told)
    told = [found for found in told if 2 * found["excess"]["n"] >= most]
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
    return (
        f"**Target {state}.** {title[0].upper()}{title[1:]} removes "
        f"{percent_text(best['relative_reduction'])} of plain training's excess and changes likeness by "
        f"{signed_text(best[likeness])}. (Target: at least {TARGET_REDUCTION:.0%} removed, and the lower "
        f"bound of the likeness change above {TARGET_LIKENESS}.)"
    )


def buys(summary: Mapping[str, Any]) -> str:
    """Return a line on each arm: what it changes against plain training, and where it is surely worse."""
    likeness = likeness_of(summary)
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
        lines.append(f"- {title_of(found['arm'])}: {', '.join(told)}.{loses}")
    return "\n".join(lines) or "- No arm has a plain training beside it."


def spliced(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with its generated parts replaced.

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
    return _BLOCK.sub(lambda match: f"{match[1]}{parts.get(match[2], '')}\n{match[3]}", page)


def write_page(path: Path, images: Path, rows: Rows, about: Mapping[str, Any]) -> None:
    """Write the plot, and tables and sentences into a page that is there, at their marks."""
    write_text(images / PLOT, plot(rows))
    write_text(path, spliced(path.read_text(encoding="utf-8"), tables(rows, about)))


def write_new_page(path: Path, rows: Rows, about: Mapping[str, Any]) -> None:
    """Write a page of nothing but tables and sentences, and the plot beside it."""
    marks = "".join(f"<!-- leakbench: {name} -->\n<!-- end -->\n\n" for name in PARTS)
    write_text(path, f"# LeakBench\n\n![Excess and likeness]({PLOT})\n\n{marks}")
    write_page(path, path.parent, rows, about)


def _by_step(parts: Mapping[int, str]) -> str:
    """Return parts under a line that says after how many steps."""
    return "\n\n".join(f"After {step} steps:\n\n{part}" for step, part in parts.items())


def plot(rows: Rows) -> str:
    """Return the paths of the arms over leakage and likeness as SVG."""
    points = [point for point in pooled(rows)["pareto"] if point["arm"] in (BASE, *ARMS)]
    return pareto_plot(points, {arm: title_of(arm) for arm in (BASE, *ARMS)})
