"""The sections of report.html, each a piece of HTML; every text from outside is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from persam_dreambooth.leakage import charts, gallery
from persam_dreambooth.leakage.comparison import BASE, PLAIN
from persam_dreambooth.leakage.finding import (
    MEASURES,
    conditions,
    counted,
    difference_text,
    finding,
    interval_text,
    main_difference,
    number_text,
    primary_measure,
    value_text,
)
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import Photo

_COLOURS = {BASE: "arm-0", PLAIN: "arm-1", "masked": "arm-2"}
_OTHER_COLOURS = ("arm-3", "arm-4", "arm-5")
_MARKS = {"met": "✓", "broken": "✗", "open": "?"}
_STATES = {"met": "met", "broken": "not met", "open": "open"}
_VERDICTS = {
    "met": "supported by all three conditions",
    "broken": "not supported",
    "open": "undecided",
}


def text(value: object) -> str:
    """Return any text as HTML, numbers and their percent signs on one line."""
    return escape(str(value)).replace(" %", "&nbsp;%")


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """Return the class that colours each arm."""
    others = [arm for arm in arms if arm not in _COLOURS]
    extra = {arm: _OTHER_COLOURS[number % len(_OTHER_COLOURS)] for number, arm in enumerate(others)}
    return {arm: _COLOURS.get(arm) or extra[arm] for arm in arms}


def header(result: dict[str, Any]) -> str:
    """Return the finding, what it rests on, and the conditions of the claim."""
    prompts, seeds = len(result["prompts"]), len(result["seeds"])
    pictures = max(arm["num_pictures"] for arm in result["arms"].values())
    basis = (
        f"{counted(pictures, 'picture')} an arm: {counted(prompts, 'prompt')}, {counted(seeds, 'seed')}, the "
        "same noise for every arm. Brackets hold 95 % intervals."
    )
    found = conditions(result)
    items = "".join(
        f'<li class="{item.state}"><span aria-hidden="true">{_MARKS[item.state]}</span> {text(item.text)}'
        f'<span class="state"> ({_STATES[item.state]})</span></li>'
        for item in found
    )
    claim = ""
    if found:
        states = {item.state for item in found}
        verdict = _VERDICTS["broken" if "broken" in states else "open" if "open" in states else "met"]
        difference = main_difference(result)
        claim = (
            f'<div class="claim"><p>The claim “{text(difference["arm"])} training leaks less, at no loss”: '
            f"<strong>{verdict}</strong></p><ul>{items}</ul></div>"
        )
    return f"<h1>{text(finding(result))}</h1><p class='basis'>{text(basis)}</p>{claim}"


def tiles(result: dict[str, Any]) -> str:
    """Return a tile for each headline measure: what masks changed, and every arm with its interval."""
    return "".join(_tile(measure, result) for measure in _shown(result))


def differences(result: dict[str, Any]) -> str:
    """Return, for the arm that the report is about, how each measure differs from plain training."""
    found = main_difference(result)
    if found is None:
        return ""
    colour = arm_colours(list(result["arms"]))[found["arm"]]
    shown = [measure for measure in _shown(result) if measure in found]
    panels = "".join(_panel(measure, result, found, colour) for measure in shown)
    return (
        f"<section><h2>What changed: {text(found['arm'])} minus plain</h2>"
        "<p>The large dot is the mean over all pairs of pictures with equal prompt and seed, its line the "
        "95 % interval; each small dot is one prompt. Left of zero is less, right of it more.</p>"
        f'<div class="panels">{panels}</div></section>'
    )


def photos(shown: Sequence[Photo], masks: Mapping[str, SubjectMask]) -> str:
    """Return the training photos with their masks."""
    return gallery.photos(shown, masks)


def grid(result: dict[str, Any], pictures: Mapping[str, Sequence[Picture]]) -> str:
    """Return what was drawn, and how to read what stands below each picture."""
    if primary_measure(result) == "leak":
        hint = (
            "Below each picture stands the background that the classifier sees (✓ the prompted one, "
            "✗ one of the photos’ instead), then the subject’s likeness, 0 to 1."
        )
    else:
        hint = "Below each picture stands the share of its background that looks most like the photos’."
    more = (
        f" The first {gallery.MAX_SEEDS} seeds are shown." if len(result["seeds"]) > gallery.MAX_SEEDS else ""
    )
    shown = gallery.grid(result["rows"], pictures, arm_colours(list(pictures)))
    return f"<p>{text(hint + more)}</p>{shown}"


def losses(curves: Mapping[str, Sequence[tuple[int, float]]], result: dict[str, Any]) -> str:
    """Return the training losses, or nothing where there are none."""
    curves = {arm: points for arm, points in curves.items() if points}
    if not curves:
        return ""
    colours = arm_colours(list(dict.fromkeys([*result["arms"], *curves])))
    legend = "".join(f'<span class="key {colours[arm]}">{text(arm)}</span>' for arm in curves)
    return (
        "<section><h2>Training loss</h2><p>Mean squared error of the model’s prediction, by optimizer "
        "step: single steps pale, their running mean bold. The arms average over different pixels, so "
        f"their heights cannot be compared.</p><p>{legend}</p>"
        f'<div class="wide">{charts.loss_chart(curves, colours)}</div></section>'
    )


def table(result: dict[str, Any]) -> str:
    """Return the means of every prompt, arm and headline measure."""
    measures, arms = _shown(result), list(result["arms"])
    told = {measure: [arm for arm in arms if measure in result["arms"][arm]] for measure in measures}
    top = "".join(
        f'<th colspan="{len(told[measure])}" scope="colgroup">{text(MEASURES[measure].short_title)}</th>'
        for measure in measures
    )
    below = "".join(f'<th scope="col">{text(arm)}</th>' for measure in measures for arm in told[measure])
    lines = []
    for prompt in result["prompts"]:
        cells = "".join(
            f"<td>{_prompt_cell(result['rows'], arm, prompt, measure)}</td>"
            for measure in measures
            for arm in told[measure]
        )
        lines.append(f'<tr><th scope="row">{text(prompt)}</th>{cells}</tr>')
    return (
        '<div class="scroll"><table><caption>Leaked and kept are counts of pictures, likeness (0 to 1) and '
        'excess (points) means over the seeds.</caption><thead><tr><th rowspan="2" scope="col">Prompt</th>'
        f"{top}</tr><tr>{below}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def settings(values: Mapping[str, object], commands: Sequence[str]) -> str:
    """Return the settings and the commands that were run."""
    rows = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values.items()
    )
    lines = "\n".join(text(command) for command in commands)
    return f"<dl>{rows}</dl>" + (
        f'<div class="scroll"><pre><code>{lines}</code></pre></div>' if lines else ""
    )


def _shown(result: dict[str, Any]) -> list[str]:
    """Return the headline measures that this comparison has."""
    return [measure for measure in MEASURES if any(measure in arm for arm in result["arms"].values())]


def _tile(measure: str, result: dict[str, Any]) -> str:
    """Return one tile."""
    arms, colours = result["arms"], arm_colours(list(result["arms"]))
    named = main_difference(result)
    big = [PLAIN, named["arm"]] if named else list(arms)[-1:]
    numbers = '<span class="arrow" aria-label="to"> → </span>'.join(
        f'<span class="{colours[arm]}">{_big(measure, arms[arm][measure]["mean"])}</span>'
        for arm in big
        if measure in arms[arm]
    )
    labels = " → ".join(text(arm) for arm in big)
    told = "".join(
        f'<li><span class="key {colours[name]}">{text(name)}</span> {_told(measure, arm)}</li>'
        for name, arm in arms.items()
        if measure in arm
    )
    # What needs no truth stands apart, below the three that do.
    layout = "tile across" if measure == "excess" else "tile"
    return (
        f'<article class="{layout}"><div><h2>{text(MEASURES[measure].title)}</h2>'
        f'<p class="big">{numbers}</p><p class="labels">{labels}</p></div>'
        f"<div>{charts.interval_chart(measure, arms, colours)}<ul>{told}</ul></div>"
        f'<p class="note">{text(_note(measure, arms))}</p></article>'
    )


def _big(measure: str, value: float) -> str:
    """Return a value as the largest text of a tile; points are named in the text below."""
    return number_text(measure, value) if measure == "excess" else text(value_text(measure, value))


def _told(measure: str, arm: Mapping[str, Any]) -> str:
    """Return an arm's number, interval and count."""
    found = arm[measure]
    return (
        f"<b>{text(value_text(measure, found['mean']))}</b> {interval_text(measure, found)} "
        f"<small>n&nbsp;=&nbsp;{found['n']}</small>"
    )


def _note(measure: str, arms: Mapping[str, Any]) -> str:
    """Return what a tile's measure means; with the likeness, how often the kind was recognised."""
    if measure != "likeness":
        return MEASURES[measure].explanation
    kinds = ", ".join(f"{name} {round(100 * arm['subject']['mean'])} %" for name, arm in arms.items())
    return f"{MEASURES[measure].explanation} Kind recognised: {kinds}."


def _panel(measure: str, result: dict[str, Any], found: dict[str, Any], colour: str) -> str:
    """Return one measure's difference."""
    chart = charts.difference_chart(measure, found[measure], _by_prompt(result, found, measure), colour)
    return (
        f'<article class="panel"><div><h3>{text(MEASURES[measure].title)}</h3>'
        f"<p>{text(difference_text(measure, found[measure]))}</p></div>{chart}</article>"
    )


def _by_prompt(result: dict[str, Any], found: dict[str, Any], measure: str) -> dict[str, float]:
    """Return the difference of each prompt's means, for prompts where both arms have the measure."""
    told = {}
    for prompt in result["prompts"]:
        values = [_values(result["rows"], arm, prompt, measure) for arm in (found["arm"], found["minus"])]
        if all(values):
            first, second = (sum(own) / len(own) for own in values)
            told[prompt] = first - second
    return told


def _values(rows: Sequence[Mapping[str, Any]], arm: str, prompt: str, measure: str) -> list[float]:
    """Return an arm's values of a measure for a prompt."""
    own = (row.get(measure) for row in rows if row["arm"] == arm and row["prompt"] == prompt)
    return [float(value) for value in own if value is not None]


def _prompt_cell(rows: Sequence[Mapping[str, Any]], arm: str, prompt: str, measure: str) -> str:
    """Return a prompt's mean, or count, in the table."""
    values = _values(rows, arm, prompt, measure)
    if not values:
        return "–"
    if measure in ("leak", "agreement"):
        return f"{round(sum(values))} of {len(values)}"
    return number_text(measure, sum(values) / len(values))
