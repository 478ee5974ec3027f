"""The Pareto panel and the training's curves, each with its heading, its legend and its numbers."""

from collections.abc import Mapping
from typing import Any

from persam_dreambooth.leakage.measures import MEASURES, estimate_text
from persam_dreambooth.leakage.report import curves
from persam_dreambooth.leakage.report.looks import Look, key
from persam_dreambooth.leakage.report.pareto import anchors, pareto_chart, pareto_points
from persam_dreambooth.leakage.report.words import section, table, text

PAIRS = (("leak", "trait_likeness"), ("excess", "likeness"))
"""Leakage and likeness drawn against each other: the truth's where it is known, then the measured."""

Result = Mapping[str, Any]
Looks = Mapping[str, Look]


def pareto(result: Result, looks: Looks) -> str:
    """Return likeness against leakage, one panel for each pair of measures that the report has."""
    figures, has_steps = "", False
    for x, y in PAIRS:
        points = pareto_points(result, x, y)
        if not points:
            continue
        has_steps = has_steps or len(points) > len({point["arm"] for point in points})
        lines = [
            [
                text(point["arm"]),
                "finished" if point["step"] is None else str(point["step"]),
                text(estimate_text(x, point["x"])),
                text(estimate_text(y, point["y"])),
            ]
            for point in points
        ]
        heads = [("Arm", 1), ("Step", 1), (MEASURES[x].title, 1), (MEASURES[y].title, 1)]
        numbers = table([heads], lines, "Means with their 95&nbsp;% intervals.")
        chart = pareto_chart(points, anchors(result, x, y), x, y, looks)
        figures += f"<figure>{chart}<details><summary>As numbers</summary>{numbers}</details></figure>"
    if not figures:
        return ""
    path = (
        "Each arm is a path through its training steps; the large mark is where it ends. Trained less also "
        "leaks less, so compare the arms at equal likeness."
        if has_steps
        else "One mark an arm. Steps were not measured: whether an arm leaks less for having learnt less "
        "cannot be seen here."
    )
    intro = f"<p>Better is up and to the left. {path} Crosses are 95&nbsp;% intervals.</p>"
    return section("Likeness against leakage", f'{intro}<div class="charts">{figures}</div>', anchor="pareto")


def training(result: Result, looks: Looks) -> str:
    """Return what was logged during training; nothing where there is nothing."""
    told = result.get("training") or {}
    losses = {arm: own["losses"] for arm, own in told.items() if own.get("losses")}
    advantages = {
        arm: own["background_advantage"] for arm, own in told.items() if own.get("background_advantage")
    }
    influences = {
        arm: own["background_influence"]
        for arm, own in told.items()
        if own.get("background_influence") is not None
    }
    figures = ""
    if advantages:
        figures += _figure(
            "Background learning advantage",
            curves.advantage_chart(advantages, looks),
            advantages,
            looks,
            "How much more the denoising error fell on the photos’ true backgrounds than on decoys put in "
            "their place; the pale band is where the decoys lie. Inside it the network does not know the "
            "backgrounds.",
        )
    if losses:
        figures += _figure(
            "Training loss",
            curves.loss_chart(losses, looks),
            losses,
            looks,
            "Single steps pale, their running mean bold. The arms average over different pixels, so their "
            "heights cannot be compared.",
        )
    if influences:
        lines = "".join(
            f"<li>{key(arm, looks[arm])} <b>{influence_text(value)}</b></li>"
            for arm, value in influences.items()
        )
        figures += (
            "<figure><h3>Background’s influence on the update</h3><p>How much the gradient of a step changes "
            "when "
            f'the photos’ backgrounds are swapped.</p><ul class="told-list">{lines}</ul></figure>'
        )
    body = f'<div class="charts">{figures}</div>' if figures else ""
    return section("During training, without any picture", body, anchor="training")


def influence_text(value: float) -> str:
    """Return an influence in words: an exact zero is told from a small one."""
    if value == 0:
        return "exactly 0"
    return f"{100 * value:.2g}&nbsp;%" if abs(value) < 0.1 else f"{100 * value:.0f}&nbsp;%"


def _figure(title: str, chart: str, curves: Mapping[str, object], looks: Looks, note: str) -> str:
    """Return a chart with its heading and legend."""
    legend = "".join(key(arm, looks[arm]) for arm in curves)
    return f"<figure><h3>{text(title)}</h3><p>{text(note)}</p><p>{legend}</p>{chart}</figure>"
