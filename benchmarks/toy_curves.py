"""The training curves of the embedded models, from the logs of their trainings, as one picture.

    python benchmarks/toy_curves.py                      # of the trainings in output/toyworld
    python benchmarks/toy_curves.py --logs DIR [DIR ...] --out docs/images/toy_curves.png

The loss of each training, and beside it what its log tells as a share (IoUs, right answers). Thin lines are
the log's own means over 50 steps, thick ones running means.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LOGS = [Path("output/toyworld") / name for name in ("vae", "classifier", "sam", "diffusion")]
LOG_FILE = "log.jsonl"

PANEL = (680, 330)
"""Width and height of one chart in pixels, labels included."""
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 40, 48
LEGEND_WIDTH = 215
SUPERSAMPLE = 2
FONT_SIZE, TITLE_SIZE = 14, 17
PAPER, INK, GRID = (255, 255, 255), (50, 50, 50), (225, 225, 225)
COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (90, 90, 90),
)
"""Okabe and Ito's, which colour-blind people tell apart."""
PALE = 0.65
"""How far the colour of a thin line is moved towards white."""
WINDOWS = 40
"""A running mean is taken over this fraction (1 / WINDOWS) of the log."""

SHARES = {
    "iou_click_best_of_3": "click, best of 3",
    "iou_click_single": "click, single",
    "iou_box_best_of_3": "box, best of 3",
    "iou_box_single": "box, single",
    "iou_both_best_of_3": "click and box, best of 3",
    "iou_both_single": "click and box, single",
    "iou_second_round": "after a correction",
    "right_subject": "subject named",
    "right_background": "background named",
}
"""Entries of a log that are means of numbers from 0 to 1, and their names in the legend."""


@dataclass(frozen=True)
class Curve:
    """Values over steps: as logged, and as a running mean."""

    name: str
    steps: np.ndarray
    values: np.ndarray
    smooth: np.ndarray


@dataclass(frozen=True)
class Axis:
    """The range of an axis, its ticks with their labels, and whether it is logarithmic."""

    low: float
    high: float
    ticks: dict[float, str]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1; the nearer end if it lies outside."""
        scale = math.log if self.is_log else float
        low, high = scale(self.low), scale(self.high)
        return (scale(min(max(value, self.low), self.high)) - low) / (high - low)


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log, by rising step.

    A training that was cut off and resumed repeats the steps since its last checkpoint; the repetition
    counts. A line that is still being written does not.
    """
    lines: list[dict[str, float]] = []
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not text.endswith("\n"):
            break
        line = json.loads(text)
        while lines and lines[-1]["step"] >= line["step"]:
            lines.pop()
        lines.append(line)
    return lines


def curve(lines: Sequence[dict[str, float]], key: str, name: str) -> Curve:
    """One entry of a log over the steps.

    Args:
        lines: The log.
        key: The entry. Where a line has `n_x` beside `iou_x`, they are the sum over the steps of that kind
            and their number, both divided by the same count of steps: the quotient is the mean.
        name: For the legend.
    """
    counter = key.replace("iou_", "n_", 1)
    told = [line for line in lines if key in line]
    sums = np.array([line[key] for line in told])
    counts = np.array([line.get(counter, 1.0) if counter != key else 1.0 for line in told])
    steps = np.array([line["step"] for line in told])
    width = len(told) // WINDOWS
    return Curve(name, steps, sums / counts, running_sum(sums, width) / running_sum(counts, width))


def running_sum(values: np.ndarray, width: int) -> np.ndarray:
    """Sums over up to `width` values on either side of each and itself, fewer near the ends."""
    return np.array([values[max(0, k - width) : k + width + 1].sum() for k in range(len(values))])


def loss_axis(curves: Iterable[Curve]) -> Axis:
    """A logarithmic axis around the values of the curves, with ticks at 1, 2 and 5."""
    values = np.concatenate([each.values for each in curves])
    low, high = float(values.min()) * 0.95, float(values.max()) * 1.05
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low > 2.5 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return Axis(low, high, {tick: f"{tick:g}" for tick in ticks if low <= tick <= high}, is_log=True)


def step_axis(last: float) -> Axis:
    """An axis from 0 to the last step, with at most seven round ticks."""
    rough = last / 6
    unit = 10 ** math.floor(math.log10(rough))
    gap = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    ticks = np.arange(0, last + 1, gap)
    return Axis(0, last, {float(tick): f"{tick:,.0f}" for tick in ticks})


def share_axis(curves: Iterable[Curve]) -> Axis:
    """An axis from the highest tenth below the running means to 1."""
    low = math.floor(10 * min(float(each.smooth.min()) for each in curves)) / 10
    return Axis(low, 1.0, {k / 10: f"{k / 10:.1f}" for k in range(round(10 * low), 11)})


def chart(title: str, curves: Sequence[Curve], y_axis: Axis) -> Image.Image:
    """The curves over the steps, with grid, labels, and how high each running mean ends."""
    picture = Image.new("RGB", tuple(SUPERSAMPLE * side for side in PANEL), PAPER)
    pen = ImageDraw.Draw(picture)
    x_axis = step_axis(max(float(each.steps[-1]) for each in curves))
    width = PANEL[0] - LEFT - RIGHT - (LEGEND_WIDTH if len(curves) > 1 else 0)
    height = PANEL[1] - TOP - BOTTOM

    def at(step: float, value: float) -> tuple[float, float]:
        x, y = LEFT + width * x_axis.share(step), TOP + height * (1 - y_axis.share(value))
        return SUPERSAMPLE * x, SUPERSAMPLE * y

    _write(pen, (LEFT, 10), title, INK, size=TITLE_SIZE)
    _grid(pen, x_axis, y_axis, at)
    for each, colour in zip(curves, COLOURS, strict=False):
        pale = tuple(round(c + (255 - c) * PALE) for c in colour)
        for values, shade, thickness in ((each.values, pale, 1), (each.smooth, colour, 2)):
            points = [at(step, value) for step, value in zip(each.steps, values, strict=True)]
            pen.line(points, fill=shade, width=SUPERSAMPLE * thickness, joint="curve")
    if len(curves) > 1:
        _legend(pen, curves)
    return picture.reduce(SUPERSAMPLE)


def _grid(
    pen: ImageDraw.ImageDraw, x_axis: Axis, y_axis: Axis, at: Callable[[float, float], tuple[float, float]]
) -> None:
    """Draw both axes with their ticks."""
    for tick, label in y_axis.ticks.items():
        pen.line([at(x_axis.low, tick), at(x_axis.high, tick)], fill=GRID, width=SUPERSAMPLE)
        _write(pen, (LEFT - 8, at(0, tick)[1] / SUPERSAMPLE), label, INK, anchor="rm")
    for tick, label in x_axis.ticks.items():
        pen.line([at(tick, y_axis.low), at(tick, y_axis.high)], fill=GRID, width=SUPERSAMPLE)
        _write(pen, (at(tick, 0)[0] / SUPERSAMPLE, PANEL[1] - BOTTOM + 6), label, INK, anchor="ma")
    corners = [at(x_axis.low, y_axis.high), at(x_axis.low, y_axis.low), at(x_axis.high, y_axis.low)]
    pen.line(corners, fill=INK, width=SUPERSAMPLE)
    _write(pen, (corners[2][0] / SUPERSAMPLE, PANEL[1] - BOTTOM + 26), "steps", INK, anchor="ra")


def _legend(pen: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    """Write the curves' names beside the chart, each with the last value of its running mean."""
    left = PANEL[0] - LEGEND_WIDTH - RIGHT + 14
    for row, (each, colour) in enumerate(zip(curves, COLOURS, strict=False)):
        top = TOP + 8 + row * (FONT_SIZE + 8)
        line = [SUPERSAMPLE * v for v in (left, top, left + 16, top)]
        pen.line(line, fill=colour, width=3 * SUPERSAMPLE)
        _write(pen, (left + 22, top), each.name, INK, anchor="lm")
        _write(pen, (PANEL[0] - 8, top), f"{each.smooth[-1]:.3g}", INK, anchor="rm")


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
    *,
    size: int = FONT_SIZE,
    anchor: str = "la",
) -> None:
    """Write a text at a place in pixels of the finished picture."""
    font = ImageFont.load_default(size * SUPERSAMPLE)
    pen.text([SUPERSAMPLE * v for v in place], text, fill=colour, font=font, anchor=anchor)


def charts_of(folder: Path) -> list[Image.Image]:
    """The charts of one training: its loss and, where its log has some, its shares."""
    lines = read_log(folder / LOG_FILE)
    if not lines:
        return []
    loss = [curve(lines, "loss", "loss")]
    minutes = lines[-1].get("seconds", 0.0) / 60
    title = (
        f"{folder.name}: loss, {loss[0].smooth[-1]:.3g} after {lines[-1]['step']:,} steps ({minutes:.0f} min)"
    )
    charts = [chart(title, loss, loss_axis(loss))]
    shares = [curve(lines, key, name) for key, name in SHARES.items() if any(key in line for line in lines)]
    if shares:
        what = "IoU" if any(key.startswith("iou_") for key in lines[-1]) else "share of right answers"
        charts.append(chart(f"{folder.name}: {what}, training scenes", shares, share_axis(shares)))
    return charts


def sheet(trainings: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Charts two to a row, as one picture: the trainings with one chart first, then a row for each other."""
    single = [charts[0] for charts in trainings if len(charts) == 1]
    rows = [single[k : k + 2] for k in range(0, len(single), 2)]
    rows += [charts for charts in trainings if len(charts) == 2]
    width, height = PANEL
    picture = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), PAPER)
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            picture.paste(panel, (x * width, y * height))
    return picture


def main() -> None:
    """Draw the logs that are there into one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logs", type=Path, nargs="+", metavar="DIR", help=f"folders with a {LOG_FILE}")
    parser.add_argument("--out", type=Path, default=Path("output/benchmarks/toy_curves.png"))
    args = parser.parse_args()
    missing = [folder for folder in args.logs or () if not (folder / LOG_FILE).is_file()]
    if missing:
        parser.error(f"--logs {missing[0]}: no {LOG_FILE} in it; the folder of a training is needed")
    trainings = [charts_of(folder) for folder in args.logs or LOGS if (folder / LOG_FILE).is_file()]
    if not any(trainings):
        print(f"no {LOG_FILE} in {LOGS[0].parent}: nothing was trained here, so there are no curves to draw")
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(trainings).save(args.out, optimize=True)
    print(args.out)


if __name__ == "__main__":
    main()
