"""What follows from the rows alone: means, differences, tests, the path over training steps, the claim.

Anyone can recompute a report from its rows: `summarise(json.load(...)["rows"], chance=...)`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from persam_dreambooth.leakage import statistics
from persam_dreambooth.leakage.claim import claim, verdict
from persam_dreambooth.leakage.prompt_conflicts import prompt_records
from persam_dreambooth.leakage.rows import BASE, RECONTEXT
from persam_dreambooth.leakage.schema import SCHEMA
from persam_dreambooth.leakage.tables import (
    AVERAGED,
    Rows,
    Table,
    estimates,
    key_of,
    table_of,
    tested_difference,
)

PLAIN = "plain"
"""Name of the arm fine-tuned without masks: what the other arms are compared with."""


PARETO = ("excess", "likeness", "adherence", "missing", "leak", "trait_likeness")
"""What is followed over the training steps."""
SECONDARY = {
    RECONTEXT: ("copy_rate", "style_shift"),
    "bare": ("excess", "likeness"),
    "class": ("excess", "contamination"),
    "none": ("excess",),
}
"""Measures by prompt family that are not part of the claim: their p-values are Holm's, over all of them."""


def summarise(
    rows: Rows, *, chance: float | None = None, drop_conflicting: bool = False, minus: str = PLAIN
) -> dict[str, Any]:
    """Return everything that follows from the rows alone, in the shape of report.json.

    Args:
        rows: one for each picture, from `compare` or from the file of an earlier one, with every arm's
            pictures paired. Their excess is filled in here. Rows of several subjects carry `album`, each its
            subject's name.
        chance: of an attribution where nothing leaks; without it no prompt is said to be in conflict.
        drop_conflicting: leave prompts whose scene is the photos' own out of the headline; without it they
            are only told (see `prompt_conflicts`).
        minus: the arm that the others are compared with.
    """
    prompts = prompt_records(rows, chance, drop_conflicting)
    _fill_in_excess(rows, {record["text"] for record in prompts if record["reason"]})
    dropped = {record["text"] for record in prompts if record["dropped"]}
    kept = [row for row in rows if row["prompt"] not in dropped]
    finished = [row for row in kept if row["step"] is None]
    families = {
        family: table_of([row for row in finished if row["family"] == family])
        for family in dict.fromkeys(row["family"] for row in finished)
    }
    headline = families.get(RECONTEXT)
    told = {family: _arms(finished, family, table) for family, table in families.items()}
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "verdict": "",
        "claim": None,
        "config": {"prompts": prompts, "seeds": sorted({row["seed"] for row in rows})},
        "inputs": {"photos": [], "base": None, "models": {}},
        "arms": dict(told.get(RECONTEXT, {})),
        "families": told,
        "pareto": pareto(kept),
        "differences": [] if headline is None else _differences(headline, minus),
        "secondary": _secondary(families, minus),
        "prompts": list(dict.fromkeys(row["prompt"] for row in finished if row["family"] == RECONTEXT)),
        "seeds": sorted({row["seed"] for row in finished if row["family"] == RECONTEXT}),
        "statistics": {
            "method": "hierarchical paired bootstrap over subjects, prompts and seeds, percentiles, at least "
            "as wide as Student's over the units at the top; at least Wilson's interval for shares, "
            "Newcombe's for differences of shares whose pairs are all equal; sign-flip permutation over the "
            "units at the top",
            "level": statistics.LEVEL,
            "num_resamples": statistics.NUM_RESAMPLES,
            "seed": statistics.SEED,
        },
        "training": {},
        "proof": {},
        "validation": None,
        "truth": None,
        "warnings": [],
        "rows": rows,
    }
    result["claim"] = claim(result)
    result["verdict"] = verdict(result)
    return result


def pareto(rows: Rows) -> list[dict[str, Any]]:
    """Return leakage and likeness of every arm at every training step; `step` is None for finished models."""
    own = [row for row in rows if row["family"] == RECONTEXT]
    points = []
    for arm in dict.fromkeys(row["arm"] for row in own):
        steps = {row["step"] for row in own if row["arm"] == arm}
        for step in sorted(steps, key=lambda step: (step is None, step)):
            table = table_of([row for row in own if (row["arm"], row["step"]) == (arm, step)])
            found = estimates(table.values[arm], table.drawn)
            told = {measure: found[measure] for measure in PARETO if measure in found}
            points.append({"arm": arm, "step": step, **told})
    return points


def _fill_in_excess(rows: Rows, conflicting: set[str]) -> None:
    """Set each row's attributions less those of the base model's picture of the same prompt and seed."""
    base = {key_of(row): row for row in rows if row["arm"] == BASE and row["step"] is None}
    for row in rows:
        before = base.get(key_of(row), {}) if row["arm"] != BASE else {}
        for of in ("", "_wider", "_narrower"):
            own, other = row.get(f"attribution{of}"), before.get(f"attribution{of}")
            row[f"excess{of}"] = None if own is None or other is None else own - other
        row["excess_without_conflicts"] = None if row["prompt"] in conflicting else row["excess"]
        row["excess_found"] = None if row.get("missing") else row["excess"]


def _arms(rows: Rows, family: str, table: Table) -> dict[str, dict[str, Any]]:
    """Return the estimates and counts of each arm's finished model in a family."""
    told = {}
    for arm, values in table.values.items():
        own = [row for row in rows if (row["arm"], row["family"]) == (arm, family)]
        missing = sum(bool(row.get("missing", not row["subject_found"])) for row in own)
        counts = {"num_pictures": len(own), "subject_missing": missing}
        told[arm] = counts | estimates(values, table.drawn)
    return told


def _differences(table: Table, minus: str) -> list[dict[str, Any]]:
    """Return what each tuned arm differs by from the one it is compared with."""
    if minus not in table.values:
        return []
    plain, found = table.values[minus], []
    for arm, values in table.values.items():
        if arm in (BASE, minus):
            continue
        tested = {measure: tested_difference(values, plain, table.drawn, measure) for measure in AVERAGED}
        reduction = statistics.relative_reduction(values["excess"], plain["excess"], table.drawn)
        told = {measure: one for measure, one in tested.items() if one}
        found.append(
            {"arm": arm, "minus": minus, **told, "relative_reduction": reduction and asdict(reduction)}
        )
    return found


def _secondary(families: Mapping[str, Table], minus: str) -> list[dict[str, Any]]:
    """Return the differences that are no part of the claim, with Holm's p-values over all of an arm's."""
    compared = [table for table in families.values() if minus in table.values]
    arms = dict.fromkeys(arm for table in compared for arm in table.values if arm not in (BASE, minus))
    return [one for arm in arms for one in _secondary_of(arm, families, minus)]


def _secondary_of(arm: str, families: Mapping[str, Table], minus: str) -> list[dict[str, Any]]:
    """Return one arm's."""
    asked = [
        (family, measure, families[family])
        for family, measures in SECONDARY.items()
        for measure in measures
        if family in families and {arm, minus} <= set(families[family].values)
    ]
    found = [
        {"arm": arm, "minus": minus, "family": family, "measure": measure, **tested}
        for family, measure, table in asked
        if (tested := tested_difference(table.values[arm], table.values[minus], table.drawn, measure))
    ]
    raised = statistics.holm({str(number): one["p_two_sided"] for number, one in enumerate(found)})
    return [one | {"p_holm": raised[str(number)]} for number, one in enumerate(found)]
