"""The tables of LeakBench: rows pooled over subjects, prompts and seeds, as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from leakbench_coverage import BASE, MARK, Comparable, footnote, incomplete, trainings_of
from leakbench_plan import ARMS, BARE, CLASS, toy_subjects

from persam_dreambooth.leakage.matched import at_matched_likeness
from persam_dreambooth.leakage.summary import PLAIN, pareto, summarise

_TRAINING = 1000
"""Noise seeds are below this, so that one number names a training and a noise."""

Rows = list[dict[str, Any]]
Estimate = Mapping[str, float]


def pooled(rows: Rows, keep: Callable[[Mapping[str, Any]], bool] = lambda row: True) -> dict[str, Any]:
    """Return the summary over all subjects, prompts and seeds of the rows to keep.

    The base model's pictures are one set a subject. To be paired they stand beside those of every training
    seed; in its own numbers each counts once.
    """
    chosen = [row for row in rows if keep(row)]
    trainings: dict[str, set[int]] = {row["album"]: set() for row in chosen}
    for album, seed in set().union(*trainings_of(chosen).values()):
        trainings[album].add(seed)
    told: Rows = []
    for row in chosen:
        seeds = sorted(trainings[row["album"]]) if row["arm"] == BASE else [row["training_seed"]]
        told += [row | {"seed": _TRAINING * seed + row["seed"]} for seed in seeds]
    return _with_own_numbers_of_base(
        summarise(told), summarise([dict(row) for row in chosen if row["arm"] == BASE])
    )


def _with_own_numbers_of_base(summary: dict[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary with the base model's estimates from another one, which holds nothing but it."""
    summary["arms"].update(base["arms"])
    for family, found in base["families"].items():
        summary["families"][family].update(found)
    others = [point for point in summary["pareto"] if point["arm"] != BASE]
    return summary | {"pareto": [*base["pareto"], *others]}


def points_of(summary: Mapping[str, Any], found: Comparable) -> list[dict[str, Any]]:
    """Return leakage and likeness over the steps, of arms that compare and their common trainings."""
    rows = summary["rows"]
    if not incomplete(rows):
        return summary["pareto"]
    # Of the base model one picture stands beside each training.
    base = {
        (row["album"], row["prompt"], row["seed"] % _TRAINING): row
        for row in rows
        if row["arm"] == BASE and found.holds(row)
    }
    return pareto([*base.values(), *(row for row in rows if row["arm"] != BASE and found.holds(row))])


def at_step(rows: Rows, step: int | None) -> Rows:
    """Return rows as if training had ended after a number of steps; None is the end as it was."""
    if step is None:
        return rows
    return [
        row | {"step": None}
        for row in rows
        if row["step"] == step or (row["arm"] == BASE and row["step"] is None)
    ]


def arms_table(rows: Rows, summary: Mapping[str, Any]) -> str:
    """Return the table of all arms at the end."""
    differences = {row["arm"]: row for row in summary["differences"]}
    likeness, title = likeness_of(summary), marked_titles(rows)
    num_runs = {arm: len(own) for arm, own in trainings_of(rows).items()}
    lines = []
    for arm in arms_in(summary["arms"]):
        own, minus = summary["arms"][arm], differences.get(arm, {})
        lines.append(
            [
                title[arm],
                str(num_runs.get(arm, "-")),
                *(share_text(own.get(name)) for name in ("leak", "agreement", "subject")),
                number_text(own.get(likeness)),
                signed_text(minus.get(likeness)),
                points_text(own.get("excess")),
                percent_text(minus.get("relative_reduction")),
            ]
        )
    head = [
        *("trained", "runs", "leaked", "kept", "class seen", "likeness", "likeness - plain"),
        *("excess, points", "of plain's excess removed"),
    ]
    return _table(head, lines) + footnote(rows)


def scenes_table(rows: Rows) -> str:
    """Return leakage and adherence apart for the groups of subjects."""
    groups = sorted({row["group"] for row in rows})
    summaries = {group: pooled(rows, lambda row, group=group: row["group"] == group) for group in groups}
    title, lines = marked_titles(rows), []
    for arm in arms_in({arm for summary in summaries.values() for arm in summary["arms"]}):
        cells = [title[arm]]
        for summary in summaries.values():
            own = summary["arms"].get(arm, {})
            cells += [
                share_text(own.get("leak")),
                share_text(own.get("agreement")),
                points_text(own.get("excess")),
            ]
        lines.append(cells)
    head = [f"{group}: {what}" for group in groups for what in ("leaked", "kept", "excess, points")]
    return _table(["trained", *head], lines) + footnote(rows)


def steps_table(rows: Rows, summary: Mapping[str, Any]) -> str:
    """Return how arms fare after each number of steps."""
    points, title = summary["pareto"], marked_titles(rows)
    likeness = "trait_likeness" if any("trait_likeness" in point for point in points) else "likeness"
    steps = sorted({point["step"] for point in points if point["step"] is not None})
    marks = [*steps, None]
    by_key = {(point["arm"], point["step"]): point for point in points}
    lines = [
        [
            title[arm],
            *(points_text(by_key.get((arm, step), {}).get("excess"), short=True) for step in marks),
            *(number_text(by_key.get((arm, step), {}).get(likeness), short=True) for step in marks),
        ]
        for arm in arms_in({arm for arm, _ in by_key})
        if arm != BASE
    ]
    names = [*(f"{step} steps" for step in steps), "end"]
    head = ["trained", *(f"excess, {name}" for name in names), *(f"likeness, {name}" for name in names)]
    return _table(head, lines) + footnote(rows)


def matched_table(summary: Mapping[str, Any]) -> str:
    """Return leakage at the highest likeness that an arm and plain training both reach on the way.

    Of every arm those trainings are read that plain training has as well.
    """
    told, likeness = summary["rows"], likeness_of(summary)
    plain = {(row["album"], row["seed"]) for row in told if row["arm"] == PLAIN}
    lines = []
    for arm in arms_in({row["arm"] for row in told} - {BASE, PLAIN}):
        common = plain & {(row["album"], row["seed"]) for row in told if row["arm"] == arm}
        own = [row for row in told if (row["album"], row["seed"]) in common]
        found = {
            key: at_matched_likeness(own, arm, PLAIN, likeness=likeness, leakage=key)
            for key in ("excess", "leak")
        }
        first = found["excess"]
        if first is None:
            continue
        leaked = found["leak"] or {}
        lines.append(
            [
                title_of(arm),
                f"{first['likeness']:.2f}",
                *(points_text(first[key]) for key in ("own", "other", "difference")),
                *(share_text(leaked.get(key), short=True) for key in ("own", "other")),
            ]
        )
    head = ["trained", "likeness", "excess, points", "plain's", "difference", "leaked", "plain's"]
    return _table(head, lines)


def others_table(rows: Rows, summary: Mapping[str, Any]) -> str:
    """Return what comes without a place in the prompt: the photos' place, and the subject for its class."""
    homes = {subject.name: subject.photographed for subject in toy_subjects()}
    found, title = summary["families"], marked_titles(rows)
    lines = []
    for arm in arms_in({row["arm"] for row in rows}):
        bare = [row for row in rows if row["arm"] == arm and row["family"] == BARE]
        # Nothing sees a place in pictures of photographed subjects.
        seen = [
            row["predicted_background"] in homes[row["album"]] for row in bare if row["predicted_background"]
        ]
        at_home = f"{sum(seen) / len(seen):.0%}" if seen else "-"
        of_class = found.get(CLASS, {}).get(arm, {})
        cells = [points_text(found.get(BARE, {}).get(arm, {}).get("excess"), short=True)]
        cells += [points_text(of_class.get("excess"), short=True)]
        lines.append([title[arm], at_home, *cells, number_text(of_class.get("trait_likeness"), short=True)])
    return _table(
        [
            *("trained", "bare prompt: in a place of the photos", "bare prompt: excess, points"),
            *("class alone: excess, points", "class alone: the subject's traits"),
        ],
        lines,
    ) + footnote(rows)


def likeness_of(summary: Mapping[str, Any]) -> str:
    """Return which likeness there is: by the truth, or measured."""
    return "trait_likeness" if "trait_likeness" in summary["arms"].get(PLAIN, {}) else "likeness"


def arms_in(names: Iterable[str]) -> list[str]:
    """Return arms in their order, the base first."""
    return [arm for arm in (BASE, *ARMS) if arm in set(names)]


def title_of(arm: str) -> str:
    """Return what an arm is called."""
    return "base (untrained)" if arm == BASE else ARMS[arm].title


def marked_titles(rows: Rows) -> dict[str, str]:
    """Return what arms are called in a table, with a mark where trainings of others are lacking."""
    marked = incomplete(rows)
    return {arm: title_of(arm) + f" {MARK}" * (arm in marked) for arm in (BASE, *ARMS)}


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rows = [list(head), ["---", *["---:"] * (len(head) - 1)], *map(list, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def share_text(found: Estimate | None, *, short: bool = False) -> str:
    """Return a share with its interval in percent."""
    return _told(found, lambda value: f"{100 * value:.0f}", "%", short=short)


def points_text(found: Estimate | None, *, short: bool = False) -> str:
    """Return a difference of shares in points."""
    return _told(found, lambda value: f"{100 * value:+.1f}", short=short)


def percent_text(found: Estimate | None) -> str:
    """Return a relative change in percent."""
    return _told(found, lambda value: f"{100 * value:.0f}", "%")


def number_text(found: Estimate | None, *, short: bool = False) -> str:
    """Return a number between 0 and 1 or so."""
    return _told(found, lambda value: f"{value:.2f}", short=short)


def signed_text(found: Estimate | None) -> str:
    """Return a change of such a number."""
    return _told(found, lambda value: f"{value:+.2f}")


def _told(
    found: Estimate | None, text: Callable[[float], str], unit: str = "", *, short: bool = False
) -> str:
    """Return a mean and, unless short, its interval; a dash where there is none."""
    if not found:
        return "-"
    mean = f"{text(found['mean'])}{unit}"
    return mean if short else f"{mean} [{text(found['low'])}, {text(found['high'])}]"
