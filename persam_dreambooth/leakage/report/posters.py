"""Two pictures for people who paste into a chat or a paper: the evidence as a grid, and the bars."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from persam_dreambooth.leakage.measures import MEASURES, estimate_text, number_text
from persam_dreambooth.leakage.report.charts import bar_axis
from persam_dreambooth.leakage.report.looks import BASE, Look, corners, looks_of
from persam_dreambooth.leakage.report.material import Material, Shot, leak_rate, shots
from persam_dreambooth.leakage.report.scales import Axis
from persam_dreambooth.leakage.report.selection import headlines, main_rows, prompt_means
from persam_dreambooth.leakage.report.verdict import first_sentence

MAX_ROWS = 6
"""Prompts in the grid, the ones that leak most."""
MAX_ARMS = 6
TILE = 220
"""Longer side of a picture in the grid, in pixels."""
MARGIN = 24
GAP = 10
PANEL = (460, 40)
"""Width of a measure's panel in the bars, and height of an arm in it, in pixels."""
SCALE = 2
"""Bars are drawn this much larger and shrunk, so that lines are smooth."""

_PAPER, _INK, _SOFT, _LINE = (255, 255, 255), (30, 28, 25), (104, 100, 92), (226, 222, 214)
_HIT, _CASING = (255, 214, 10), (40, 40, 40)
_TITLE, _TEXT, _SMALL = 22, 16, 13
# What Pillow's own font lacks.
_PLAINER = str.maketrans({"−": "-", "–": "-", "—": "-", "✓": "", "✗": "x", "→": "to", "×": "x", "\xa0": " "})

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def grid_poster(result: Mapping[str, Any], material: Material) -> Image.Image | None:
    """Return the prompts that leak most, a column an arm, all from the first seed; None without pictures.

    Leaked patches are outlined one by one, in yellow.
    """
    own = shots(main_rows(result), material)
    if not own:
        return None
    first = min(shot.seed for shot in own)
    own = [shot for shot in own if shot.seed == first]
    arms = list(dict.fromkeys(shot.arm for shot in own))[:MAX_ARMS]
    prompts = _worst(own)[:MAX_ROWS]
    small = ImageFont.load_default(_SMALL)
    width = 2 * MARGIN + len(arms) * (TILE + GAP) - GAP
    title = _wrapped(first_sentence(result["verdict"])[0], ImageFont.load_default(_TITLE), width - 2 * MARGIN)
    top = MARGIN + len(title) * (_TITLE + 8) + 14
    line = TILE + _TEXT + 26
    poster = Image.new("RGB", (width, top + 30 + len(prompts) * line + MARGIN + _SMALL), _PAPER)
    draw = ImageDraw.Draw(poster)
    _write_lines(draw, (MARGIN, MARGIN), title, _TITLE)
    for column, arm in enumerate(arms):
        left = MARGIN + column * (TILE + GAP)
        draw.text(
            (left, top),
            _fitted(arm, ImageFont.load_default(_TEXT), TILE),
            _INK,
            ImageFont.load_default(_TEXT),
        )
    for number, prompt in enumerate(prompts):
        above = top + 30 + number * line
        draw.text(
            (MARGIN, above),
            _fitted(prompt, ImageFont.load_default(_TEXT), width - 2 * MARGIN),
            _SOFT,
            ImageFont.load_default(_TEXT),
        )
        for shot in own:
            if shot.prompt == prompt and shot.arm in arms:
                left = MARGIN + arms.index(shot.arm) * (TILE + GAP)
                poster.paste(_with_hits(shot), (left, above + _TEXT + 8))
    note = f"Yellow: background patches nearer to the training photos than to any decoy. Seed {first}."
    draw.text(
        (MARGIN, poster.height - MARGIN - _SMALL // 2), _fitted(note, small, width - 2 * MARGIN), _SOFT, small
    )
    return poster


def bars_poster(result: Mapping[str, Any]) -> Image.Image | None:
    """Return every headline measure's bars with intervals and a dot a prompt; None where there is none."""
    measures = headlines(result)
    if not measures:
        return None
    looks = looks_of(list(result["arms"]))
    columns = 2 if len(measures) > 1 else 1
    size = ImageFont.load_default(_TITLE * SCALE)
    width = MARGIN + columns * (PANEL[0] + MARGIN)
    title = _wrapped(first_sentence(result["verdict"])[0], size, (width - 2 * MARGIN) * SCALE)
    top = MARGIN + len(title) * (_TITLE + 8) + 14
    heights = [_panel_height(measure, result) for measure in measures]
    rows = [max(heights[start : start + columns]) for start in range(0, len(measures), columns)]
    poster = Image.new("RGB", (width * SCALE, (top + sum(rows) + MARGIN) * SCALE), _PAPER)
    draw = ImageDraw.Draw(poster)
    _write_lines(draw, (MARGIN * SCALE, MARGIN * SCALE), title, _TITLE * SCALE)
    for number, measure in enumerate(measures):
        left = MARGIN + number % columns * (PANEL[0] + MARGIN)
        _panel(draw, (left, top + sum(rows[: number // columns])), measure, result, looks)
    return poster.resize((poster.width // SCALE, poster.height // SCALE), Image.Resampling.LANCZOS)


def _worst(own: Sequence[Shot]) -> list[str]:
    """Return the prompts, those first whose pictures leak most in any trained arm."""
    trained = [shot for shot in own if shot.arm != BASE]
    rates = {
        (shot.prompt, shot.arm): leak_rate(
            [one for one in trained if (one.prompt, one.arm) == (shot.prompt, shot.arm)]
        )
        for shot in trained
    }
    worst: dict[str, float] = dict.fromkeys((shot.prompt for shot in own), 0.0)
    for (prompt, _), rate in rates.items():
        worst[prompt] = max(worst[prompt], rate)
    return sorted(worst, key=lambda prompt: -worst[prompt])


def _with_hits(shot: Shot) -> Image.Image:
    """Return a picture with its leaked patches outlined."""
    image = Image.fromarray(shot.pixels)
    scale = TILE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    cells = {(hit[0], hit[1]) for hit in shot.hits}
    for colour, width in ((_CASING, 4), (_HIT, 2)):
        for row, column in cells:
            for line in _open_sides(row, column, cells, shot.grid, size):
                draw.line(line, colour, width)
    return image


def _open_sides(
    row: int, column: int, cells: set[tuple[int, int]], grid: tuple[int, int], size: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """Return the sides of a cell that border on none of the others, in pixels."""
    wide, high = size[0] / grid[1], size[1] / grid[0]
    left, top, right, bottom = column * wide, row * high, (column + 1) * wide, (row + 1) * high
    sides = {
        (row - 1, column): (left, top, right, top),
        (row + 1, column): (left, bottom, right, bottom),
        (row, column - 1): (left, top, left, bottom),
        (row, column + 1): (right, top, right, bottom),
    }
    return [line for neighbour, line in sides.items() if neighbour not in cells]


def _panel_height(measure: str, result: Mapping[str, Any]) -> int:
    """Return the height of a measure's panel in pixels."""
    return 62 + PANEL[1] * sum(bool(found.get(measure)) for found in result["arms"].values()) + 14


def _panel(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    measure: str,
    result: Mapping[str, Any],
    looks: Mapping[str, Look],
) -> None:
    """Draw one measure: its name, a bar for each arm, and the axis."""
    left, top = corner
    shown = {arm: found[measure] for arm, found in result["arms"].items() if found.get(measure)}
    dots = {arm: prompt_means(result, arm, measure) for arm in shown}
    found = bar_axis(
        measure, list(shown.values()), [value for own in dots.values() for value in own.values()]
    )
    axis = Axis(found.ticks, left, left + PANEL[0])
    _text(draw, (left, top), MEASURES[measure].title, _TEXT + 1)
    bottom = top + 30 + len(shown) * PANEL[1]
    for value in axis.ticks:
        x = axis.place(value)
        _line(draw, (x, top + 28, x, bottom), _SOFT if abs(value) < 1e-12 else _LINE, 1)
        end = value == axis.ticks[-1]
        words = f"{number_text(measure, value)} {MEASURES[measure].unit if end else ''}".strip()
        anchor = "ra" if end else "la" if value == axis.low else "ma"
        _text(draw, (x, bottom + 5), words, _SMALL, _SOFT, anchor)
    for number, (arm, estimate) in enumerate(shown.items()):
        y = top + 30 + (number + 0.5) * PANEL[1]
        words = f"{arm}  {estimate_text(measure, estimate)}"
        _text(draw, (left, y - 19), _fitted(words, ImageFont.load_default(_SMALL), PANEL[0]), _SMALL)
        _bar(draw, estimate, dots[arm], axis, (y + 8, looks[arm]))


def _bar(
    draw: ImageDraw.ImageDraw,
    estimate: Mapping[str, float],
    dots: Mapping[str, float],
    axis: Axis,
    row: tuple[float, Look],
) -> None:
    """Draw one arm's bar, its prompts, its interval and its mark."""
    y, look = row
    zero, low, mean, high = (
        axis.place(value) for value in (0.0, estimate["low"], estimate["mean"], estimate["high"])
    )
    pale = tuple(round(0.25 * part + 0.75 * 255) for part in look.ink)
    box = (min(zero, mean), y - 6, max(zero, mean), y + 6)
    draw.rectangle([SCALE * side for side in box], fill=pale)
    for value in dots.values():
        _shape(draw, "circle", (axis.place(value), y), 2.6, look.ink, fill=_PAPER)
    _line(draw, (low, y, high, y), look.ink, 2)
    for x in (low, high):
        _line(draw, (x, y - 4, x, y + 4), look.ink, 2)
    _shape(draw, look.shape, (mean, y), 5, look.ink, fill=_PAPER if look.shape == "ring" else look.ink)


def _shape(
    draw: ImageDraw.ImageDraw,
    shape: str,
    place: tuple[float, float],
    radius: float,
    ink: tuple[int, ...],
    *,
    fill: tuple[int, ...],
) -> None:
    """Draw an arm's shape."""
    x, y, reach = SCALE * place[0], SCALE * place[1], SCALE * radius
    if shape in ("circle", "ring"):
        draw.ellipse(
            (x - reach, y - reach, x + reach, y + reach), fill, ink, SCALE if shape == "circle" else 2 * SCALE
        )
    else:
        draw.polygon(corners(shape, x, y, reach), fill, ink)


def _line(draw: ImageDraw.ImageDraw, ends: tuple[float, ...], ink: tuple[int, ...], width: int) -> None:
    """Draw a line given in pixels of the finished picture."""
    draw.line([SCALE * end for end in ends], ink, SCALE * width)


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    words: str,
    size: int,
    ink: tuple[int, ...] = _INK,
    anchor: str = "la",
) -> None:
    """Write text at a place given in pixels of the finished picture."""
    font = ImageFont.load_default(SCALE * size)
    at = SCALE * place[0], SCALE * place[1]
    # A rim of paper, so that lines do not cross the letters.
    draw.text(at, plainer(words), ink, font, anchor=anchor, stroke_width=2 * SCALE, stroke_fill=_PAPER)


def _write_lines(draw: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], size: int) -> None:
    """Write lines below each other."""
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + number * round(size * 1.36)), line, _INK, font)


def plainer(words: str) -> str:
    """Return text in letters that Pillow's own font has: accents dropped, other scripts as question marks."""
    told = unicodedata.normalize("NFKD", words.translate(_PLAINER).replace("’", "'"))
    kept = "".join(letter for letter in told if not unicodedata.combining(letter))
    return kept.encode("ascii", "replace").decode()


def _fitted(words: str, font: Font, room: float) -> str:
    """Return a text cut to a width in pixels."""
    words = plainer(words)
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(f"{words}...") > room:
        words = words[:-1]
    return f"{words.rstrip()}..."


def _wrapped(words: str, font: Font, room: float) -> list[str]:
    """Return a text as lines of at most a width in pixels."""
    lines = [""]
    # A number stays with its percent sign.
    for word in plainer(words).replace(" %", "\0%").split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_fitted(line.replace("\0", " "), font, room) for line in lines]
