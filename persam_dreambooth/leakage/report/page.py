"""The page: its sections in order, in one file with style, drawings, pictures, data and script inside."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from persam_dreambooth.leakage.report.bars import bars, differences
from persam_dreambooth.leakage.report.evidence import evidence
from persam_dreambooth.leakage.report.explanation import explanation
from persam_dreambooth.leakage.report.looks import Look, looks_of
from persam_dreambooth.leakage.report.matches import matches
from persam_dreambooth.leakage.report.material import Material
from persam_dreambooth.leakage.report.panels import pareto, training
from persam_dreambooth.leakage.report.photos import photos
from persam_dreambooth.leakage.report.tables import families, prompts, secondary, settings
from persam_dreambooth.leakage.report.trust import trust
from persam_dreambooth.leakage.report.verdict import first_sentence, verdict
from persam_dreambooth.leakage.report.words import embedded, section, text

MAX_BYTES = 14_500_000
"""Of the sections: with style and script the page stays below 15 MB, which most mail servers take."""

_HERE = Path(__file__).parent


def page(result: Mapping[str, Any], material: Material) -> str:
    """Return the whole page as HTML.

    Args:
        result: report.json of schema 2; parts that it does not have are left out.
        material: its photos and pictures.
    """
    looks = looks_of_report(result)
    above = [pareto(result, looks), bars(result, looks), differences(result, looks)]
    below = [
        matches(result, material, looks),
        photos(result, material),
        training(result, looks),
        trust(result),
        section("Prompt by prompt", prompts(result) + families(result) + secondary(result), anchor="table"),
        explanation(result),
        settings(result),
    ]
    # The pictures are made as small as the rest leaves room for.
    spent = sum(len(part.encode()) for part in (*above, *below))
    drawn, data = evidence(result, material, looks, MAX_BYTES - spent)
    sections = [*above, drawn, *below]
    return Template(_read("page.html")).substitute(
        title=text(first_sentence(result["verdict"])[0]),
        style=_read("page.css"),
        verdict=verdict(result),
        sections="\n".join(part for part in sections if part),
        data=embedded(data),
        script=_read("page.js"),
        version=text(result.get("version", "")),
    )


def looks_of_report(result: Mapping[str, Any]) -> dict[str, Look]:
    """Return the look of every arm that the report names, those with pictures first."""
    names = [
        *result["arms"],
        *(result.get("training") or {}),
        *(row["arm"] for row in result.get("rows") or ()),
    ]
    return looks_of(list(dict.fromkeys(names)))


def _read(name: str) -> str:
    """Return one of the page's own files."""
    return (_HERE / name).read_text(encoding="utf-8").strip()
