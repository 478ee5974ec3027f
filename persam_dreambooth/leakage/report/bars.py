"""The measures: a tile each with every arm's bar, the rest smaller, and the paired differences below."""

from collections.abc import Mapping
from typing import Any

from persam_dreambooth.leakage.measures import (
    MEASURES,
    difference_text,
    estimate_text,
    interval_text,
    number_text,
    p_text,
    value_text,
)
from persam_dreambooth.leakage.report import charts
from persam_dreambooth.leakage.report.looks import Look, key
from persam_dreambooth.leakage.report.selection import (
    big_arms,
    headlines,
    others,
    prompt_differences,
    prompt_means,
)
from persam_dreambooth.leakage.report.words import section, text

Result = Mapping[str, Any]
Looks = Mapping[str, Look]


def bars(result: Result, looks: Looks) -> str:
    """Return a tile for each headline measure, and smaller ones for the others behind a fold."""
    told = headlines(result)
    if not told:
        return ""
    more = "".join(_tile(measure, result, looks, small=True) for measure in others(result))
    folded = (
        f"<details><summary>Further measures</summary>"
        f'<p>Secondary: no verdict rests on them.</p><div class="tiles">{more}</div></details>'
        if more
        else ""
    )
    intro = (
        "<p>A bar ends at the arm’s mean, its line is the 95&nbsp;% interval, and each dot is one prompt.</p>"
    )
    tiles = "".join(_tile(measure, result, looks) for measure in told)
    return section(
        "Every arm, every measure", f'{intro}<div class="tiles">{tiles}</div>{folded}', anchor="bars"
    )


def differences(result: Result, looks: Looks) -> str:
    """Return how every arm differs from the one it is compared with, on the same prompts and seeds."""
    panels = "".join(_panel(measure, result, looks) for measure in headlines(result))
    if not panels:
        return ""
    minus = result["differences"][0]["minus"]
    tested = any(
        "p_two_sided" in entry.get(measure, {})
        for entry in result["differences"]
        for measure in headlines(result)
    )
    told = " p is that of a two-sided test that flips the signs of whole prompts." if tested else ""
    intro = (
        f"<p>Minus {text(minus)}, pair by pair: pictures of equal prompt and seed. The large mark is the "
        "mean, its line the 95&nbsp;% interval, each dot one prompt. Left of zero is less, right of it "
        f"more.{told}</p>"
    )
    return section("Paired differences", f'{intro}<div class="panels">{panels}</div>', anchor="differences")


def _tile(measure: str, result: Result, looks: Looks, *, small: bool = False) -> str:
    """Return one measure: its large numbers, and a bar for each arm."""
    shown = {arm: found[measure] for arm, found in result["arms"].items() if found.get(measure)}
    dots = {arm: prompt_means(result, arm, measure) for arm in shown}
    axis = charts.bar_axis(
        measure, list(shown.values()), [value for own in dots.values() for value in own.values()]
    )
    lines = "".join(
        "<li><div "
        f'class="told">{key(arm, looks[arm])}<span><b>{text(value_text(measure, found["mean"]))}</b> '
        f"{interval_text(measure, found)} <small>n&nbsp;=&nbsp;{found['n']}</small></span></div>"
        f"{charts.bar(measure, arm, found, dots[arm], axis, looks[arm])}</li>"
        for arm, found in shown.items()
    )
    big = "" if small else _big(measure, result, looks)
    return (
        f'<article class="tile"><h3>{text(MEASURES[measure].title)}</h3>{big}'
        f'<ul class="bars">{lines}</ul>{charts.ticks(measure, axis)}'
        f'<p class="note">{text(MEASURES[measure].explanation)}</p></article>'
    )


def _big(measure: str, result: Result, looks: Looks) -> str:
    """Return the numbers of the two arms that the report is about."""
    arms = [arm for arm in big_arms(result) if result["arms"][arm].get(measure)]
    values = '<span class="arrow" aria-label="to"> → </span>'.join(
        f'<span class="{looks[arm].css}">{_large(measure, result["arms"][arm][measure]["mean"])}</span>'
        for arm in arms
    )
    return f'<p class="big">{values}</p><p class="labels">{text(" → ".join(arms))}</p>' if arms else ""


def _large(measure: str, value: float) -> str:
    """Return a value as the largest text of a tile; points are named in the text below."""
    is_points = MEASURES[measure].unit == "points"
    return number_text(measure, value) if is_points else text(value_text(measure, value))


def _panel(measure: str, result: Result, looks: Looks) -> str:
    """Return one measure's differences; nothing where no arm has one."""
    found = [entry for entry in result.get("differences") or () if entry.get(measure)]
    if not found:
        return ""
    dots = {
        entry["arm"]: prompt_differences(result, entry["arm"], entry["minus"], measure) for entry in found
    }
    axis = charts.difference_axis(measure, found, list(dots.values()))
    lines = ""
    for entry in found:
        arm = entry["arm"]
        told = f"{text(difference_text(measure, entry[measure]))}{_p_text(entry[measure])}"
        if measure == "excess" and entry.get("relative_reduction"):
            told += _reduction(entry)
        chart = charts.difference(measure, entry, dots[arm], axis, looks[arm])
        lines += f"<li><div>{key(arm, looks[arm])}<br>{told}</div>{chart}</li>"
    numbers = charts.ticks(measure, axis, unit="points" if MEASURES[measure].unit else "")
    return (
        f'<article class="panel"><h3>{text(MEASURES[measure].title)}</h3>'
        f"<ul>{lines}<li aria-hidden='true'><div></div>{numbers}</li></ul></article>"
    )


def _reduction(entry: Mapping[str, Any]) -> str:
    """Return which share of what the other arm adds is gone."""
    told = estimate_text("attribution", entry["relative_reduction"])
    return f"<br>{text(told)} of what {text(entry['minus'])} adds is gone"


def _p_text(estimate: Mapping[str, Any]) -> str:
    """Return the p value of the permutation test, where there is one."""
    p = estimate.get("p_two_sided")
    return "" if p is None else f" <small>{text(p_text(p))}</small>"
