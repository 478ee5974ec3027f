"""The evidence: rows of prompts, columns of arms, one seed at a time, leaked patches outlined.

Without a script the grid is whole: seeds and outlines are switched by the style sheet. With the page's script
a click on a leaked patch shows the patch of the photo that it came from, and rows can be sorted.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from persam_dreambooth.leakage.measures import counted
from persam_dreambooth.leakage.report.looks import BASE, Look, key
from persam_dreambooth.leakage.report.material import (
    MAX_PICTURES,
    Material,
    Shot,
    leak_rate,
    shots,
    telling,
)
from persam_dreambooth.leakage.report.overlays import filled, outline, subject_cells
from persam_dreambooth.leakage.report.selection import FAMILIES, MAIN_FAMILY, main_rows
from persam_dreambooth.leakage.report.thumbnails import BUDGET, PHOTO_SIDE, data_url, picture_urls, shrunk
from persam_dreambooth.leakage.report.verdict import drew_all
from persam_dreambooth.leakage.report.words import embedded, section, text

Looks = Mapping[str, Look]
Urls = Mapping[int, tuple[str, tuple[int, int]]]


def evidence(
    result: Mapping[str, Any], material: Material, looks: Looks, room: int = BUDGET
) -> tuple[str, dict[str, Any]]:
    """Return the section, and what the page's script needs for the click-through.

    Args:
        result: the report.
        material: its pictures; nothing is shown of rows whose picture is not there.
        looks: of the arms.
        room: bytes that both may take.
    """
    families: dict[str, list[Shot]] = {}
    for family in FAMILIES:
        left = MAX_PICTURES - sum(map(len, families.values()))
        families[family] = shots(main_rows(result, family), material, left)
    everything = [shot for own in families.values() for shot in own]
    if not families[MAIN_FAMILY]:
        return "", {}
    data = _data(result, material, everything)
    without = _body(result, looks, families, dict.fromkeys(map(id, everything), ("", (0, 0))))
    left = max(0, room - len(embedded(data)) - len(without.encode()))
    found = picture_urls([shot.pixels for shot in everything], budget=left)
    urls = {id(shot): url for shot, url in zip(everything, found, strict=True)}
    body = _body(result, looks, families, urls)
    return section("What the models drew", body, anchor="evidence", css="evidence"), data


def _body(result: Mapping[str, Any], looks: Looks, families: Mapping[str, Sequence[Shot]], urls: Urls) -> str:
    """Return what the section holds: the headline's rows, and those of the other families behind folds."""
    body = _intro(result) + _told_of(result, sum(map(len, families.values())))
    body += _controls(families[MAIN_FAMILY], looks) + _grid(families[MAIN_FAMILY], result, looks, urls)
    for family, own in families.items():
        if own and family != MAIN_FAMILY:
            body += (
                f"<details><summary>Other prompts: {FAMILIES[family]}</summary>"
                f"{_grid(own, result, looks, urls)}</details>"
            )
    return body


def _told_of(result: Mapping[str, Any], num_shown: int) -> str:
    """Return how many of the pictures are shown, where that is not all."""
    measured = sum(row.get("step") is None for row in result["rows"])
    if num_shown >= measured:
        return ""
    told = (
        f"Shown are {num_shown:,} of {measured:,} pictures: the first seeds of every prompt, and where there "
        "are too many prompts, of those that leak most. All numbers are about all pictures."
    )
    return f"<p>{text(told)}</p>"


def shot_id(shot: Shot, result: Mapping[str, Any]) -> str:
    """Return a picture's address within the page: arm, number of the prompt, seed."""
    return f"{quote(shot.arm, safe='')}/{_number(shot, result)}/{shot.seed}"


def best_hit(shot: Shot) -> list[Any]:
    """Return the leaked patch that tells most."""
    return max(shot.hits, key=telling)


def _number(shot: Shot, result: Mapping[str, Any]) -> int:
    """Return the prompt's place among all prompts of the report."""
    prompts = list(dict.fromkeys(row["prompt"] for row in result["rows"]))
    return prompts.index(shot.prompt)


def _data(result: Mapping[str, Any], material: Material, everything: Sequence[Shot]) -> dict[str, Any]:
    """Return the hits of every picture and the photos that they point to."""
    grids = [photo.get("grid") or (1, 1) for photo in result.get("inputs", {}).get("photos", ())]
    return {
        "photos": [
            {"name": photo.name, "grid": list(grid), "src": data_url(shrunk(photo.pixels, PHOTO_SIDE))}
            for photo, grid in zip(material.photos, grids, strict=False)
        ],
        "banks": (result.get("config") or {}).get("decoys", {}).get("k"),
        "shots": {
            shot_id(shot, result): {
                "arm": shot.arm,
                "prompt": shot.prompt,
                "seed": shot.seed,
                "grid": list(shot.grid),
                "hits": [[_short(value) for value in hit] for hit in shot.hits],
            }
            for shot in everything
            if shot.hits
        },
    }


def _short(value: float) -> float:
    """Return a number with at most three digits behind the point, booleans as 0 and 1."""
    return round(value, 3) if isinstance(value, float) else int(value)


def _intro(result: Mapping[str, Any]) -> str:
    """Return how to read the grid."""
    noise = ", drawn from the same noise by every arm" if drew_all(result) else ""
    told = f"Every row is one prompt{noise}; what leaks most stands first."
    if any("predicted_background" in row for row in result["rows"]):
        told += (
            " Below each picture stands the background that the classifier sees (✓ the prompted one, ✗ one "
            "of the photos’ instead), and"
        )
    else:
        told += " Below each picture stands"
    told += " the share of its background that looks most like the photos’."
    click = (
        '<p class="with-script">Click an outlined patch to see the patch of a photo that it came from.</p>'
    )
    return f"<p>{text(told)}</p>{click}"


def _controls(own: Sequence[Shot], looks: Looks) -> str:
    """Return the switches: seed, outlines, and the order of the rows."""
    seeds = sorted({shot.seed for shot in own})
    radios = "".join(
        f'<label><input type="radio" name="seed" id="seed-{number}"{" checked" if number == 0 else ""}> '
        f"{seed}</label>"
        for number, seed in enumerate(seeds)
    )
    chosen = "".join(
        f'<option value="{number}">most in {text(arm)} first</option>'
        for number, arm in enumerate(_arms(own))
        if arm != BASE
    )
    return (
        '<div class="controls">'
        + (f"<fieldset><legend>Seed</legend>{radios}</fieldset>" if len(seeds) > 1 else "")
        + "<fieldset><legend>Outline</legend>"
        '<label><input type="checkbox" id="show-hits" checked> leaked patches</label>'
        '<label><input type="checkbox" id="show-subject"> what was left out as subject</label></fieldset>'
        '<label class="with-script">Order <select id="order"><option value="worst">most leaked first</option>'
        f'{chosen}<option value="asked">as asked</option></select></label></div>'
    )


def _grid(own: Sequence[Shot], result: Mapping[str, Any], looks: Looks, urls: Urls) -> str:
    """Return the rows of one family of prompts, the worst first."""
    arms, seeds = _arms(own), sorted({shot.seed for shot in own})
    heads = "".join(f"<div>{key(arm, looks[arm])}</div>" for arm in arms)
    rows = []
    for order, prompt in enumerate(dict.fromkeys(shot.prompt for shot in own)):
        shown = [shot for shot in own if shot.prompt == prompt]
        rates = [leak_rate([shot for shot in shown if shot.arm == arm]) for arm in arms]
        worst = max((rate for arm, rate in zip(arms, rates, strict=True) if arm != BASE), default=0.0)
        cells = "".join(
            '<div class="cell">'
            + "".join(
                _figure(shot, result, urls[id(shot)], seeds.index(shot.seed))
                for shot in shown
                if shot.arm == arm
            )
            + "</div>"
            for arm in arms
        )
        told = " ".join(f"{rate:.4f}" for rate in rates)
        note = _note(prompt, result)
        rows.append(
            (
                -worst,
                f'<article class="row" data-order="{order}" data-worst="{worst:.4f}" data-rates="{told}">'
                f'<h3 class="prompt">{text(prompt)}{note}</h3><div class="cells">{cells}</div></article>',
            )
        )
    lines = "".join(html for _, html in sorted(rows, key=lambda row: row[0]))
    return (
        f'<div class="pan{" many" if len(arms) > 8 else ""}"><div class="sheet" style="--arms:{len(arms)}">'
        f'<div class="cells heads" aria-hidden="true">{heads}</div>{lines}</div></div>'
    )


def _figure(shot: Shot, result: Mapping[str, Any], url: tuple[str, tuple[int, int]], seed: int) -> str:
    """Return one picture with its outlines and what was seen in it."""
    state, words = _seen(shot.row)
    address, (width, height) = url
    rows, columns = shot.grid
    cells = [(hit[0], hit[1]) for hit in shot.hits]
    left_out = filled(subject_cells(shot.row.get("subject_cells"), shot.grid))
    hits = outline(cells)
    told = [*words, counted(len(cells), "leaked patch").replace("patchs", "patches")] if cells else words
    alt = text(f"{shot.arm}: {shot.prompt}, seed {shot.seed}. {', '.join(told)}")
    drawn = (
        f'<svg class="overlay" viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" '
        f'aria-hidden="true"><path class="left-out" d="{left_out}"/><path class="casing" d="{hits}"/><path '
        f'class="hits" d="{hits}"/></svg>'
    )
    image = f'<img src="{address}" alt="{alt}" width="{width}" height="{height}">{drawn}'
    name = shot_id(shot, result)
    if cells:
        row, column = best_hit(shot)[:2]
        frame = (
            f'<a class="frame" data-shot="{text(name)}" href="#hit={text(name)}/{row}/{column}">{image}</a>'
        )
    else:
        frame = f'<div class="frame">{image}</div>'
    caption = " ".join(f"<span>{text(word)}</span>" for word in words)
    return f'<figure class="shot at-{seed} {state}">{frame}<figcaption>{caption}</figcaption></figure>'


def _seen(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the class of a picture and the words for what was seen in it."""
    rate = row.get("attribution")
    words = ["no background" if rate is None else f"{100 * rate:.0f} % like the photos"]
    if row.get("subject_found") is False:
        words.append("subject not found")
    if "predicted_background" not in row:
        return "", words
    state, mark = ("leak", "✗ ") if row["leak"] else ("kept", "✓ ") if row["agreement"] else ("", "")
    return state, [mark + row["predicted_background"], *words]


def _arms(own: Sequence[Shot]) -> list[str]:
    """Return the arms of some pictures, in the report's order."""
    return list(dict.fromkeys(shot.arm for shot in own))


def _note(prompt: str, result: Mapping[str, Any]) -> str:
    """Return what is special about a prompt, behind it: why it does not count, or is in conflict."""
    for entry in (result.get("config") or {}).get("prompts", ()):
        if entry.get("text") == prompt and (entry.get("dropped") or entry.get("reason")):
            kind = "not counted" if entry.get("dropped") else "in conflict"
            return f" <small>{kind}: {text(entry.get('reason') or 'dropped')}</small>"
    return ""
