"""How the leakage scores answer to leaks of known size, from records of `persam-dreambooth validate`.

    python benchmarks/validation_curves.py                 # validates on drawn places with ct first
    python benchmarks/validation_curves.py --records DIR/validation.json [...] --out FILE.png
    python benchmarks/validation_curves.py --examples FILE.png      # only draws what is measured

A panel for each record: the mean attribution over the level of the leak, one line for each way of leaking,
and where nothing leaks. The tables of docs/leakage_validation.md are printed.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from truth_pictures import COLOURS, INK, RIGHT, SUPERSAMPLE, Panel, beside, labelled

from persam_dreambooth.leakage.features import ct_features
from persam_dreambooth.leakage.validation.outcomes import SCORES
from persam_dreambooth.leakage.validation.plan import AGAIN, AREAS, LEAKS, SUBJECTS, pictures_of
from persam_dreambooth.leakage.validation.presets import PRESETS
from persam_dreambooth.leakage.validation.protocol import validate
from persam_dreambooth.leakage.validation.toy_cases import toy_data

SIZE = (460, 360)
HARMLESS = ("benign", "look_alike")


def curves(record: dict[str, Any], mode: str) -> list[tuple[float, float]]:
    """Return (level, mean attribution) of a mode, from level 0."""
    rows = [row for row in record["rows"] if row["attribution"] is not None]
    points = [(0.0, _mean(rows, "base", 0.0))]
    for level in sorted({row["level"] for row in rows if row["mode"] == mode}):
        points.append((level, _mean(rows, mode, level)))
    return points


def panel(title: str, record: dict[str, Any]) -> Panel:
    """Return the chart of one record."""
    ticks = [0, 0.25, 0.5, 0.75, 1] if max(row["level"] for row in record["rows"]) > 0.5 else [0, 0.25, 0.5]
    highest = max(value for mode in LEAKS for _, value in curves(record, mode))
    heights = [k / 10 for k in range(6 if highest <= 0.5 else 11)]
    chart = Panel(title, x=(ticks, "level of the leak"), y=(heights, ""), size=SIZE)
    chance = record["banks"]["chance"]
    chart.line([(0, chance), (1, chance)], INK, 1)
    chart.write((SIZE[0] - RIGHT, chart.at(0, chance)[1] / SUPERSAMPLE - 2), "chance", anchor="rd", size=12)
    for number, mode in enumerate((*LEAKS, *HARMLESS)):
        points = curves(record, mode)
        if len(points) == 1:
            continue
        chart.line(points, COLOURS[number], 2)
        for point in points:
            chart.dot(point, COLOURS[number], 3, filled=mode in LEAKS)
        top = 60 + 18 * number
        chart.write((84, top), mode.replace("_", " "), colour=COLOURS[number])
    chart.write((84, 44), "mean attribution", colour=INK)
    return chart


def examples(level: float = 0.5) -> Image.Image:
    """Return a photo of the drawn world, a picture of another place, and every leak planted in it."""
    case = toy_data(1, 1).cases[0]
    made = {one.mode: one for one in pictures_of(case, 0, [level], 0)}
    told = [("a photo", case.photos[0].pixels), ("a held-out view", case.held_out[0].pixels)]
    for mode, one in made.items():
        name = mode.replace("_", " ")
        told.append((f"{name}, {level:g}" if one.level else name, one.pixels))
    mask = made["bad_mask"].mask
    shown = np.where(mask[..., None], made["bad_mask"].pixels // 3, made["bad_mask"].pixels)
    told[-1] = ("bad mask (darkened)", shown)
    return labelled(told, a_row=6)


def tables(records: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Return the numbers of the records as tables in Markdown."""
    lines = [
        "| features | score | paste ρ | blend ρ | palette ρ | scene ρ | found from (paste, blend, "
        "palette, scene) | false alarms | look-alikes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for title, record in records:
        for score in SCORES:
            found = record["scores"][score]
            modes = [found["modes"].get(mode) for mode in LEAKS]
            rho = " | ".join("–" if mode is None else f"{mode['rho']:.2f}" for mode in modes)
            smallest = ", ".join(_level(mode) for mode in modes)
            alarms = [_alarms(found["false_alarms"][kind]) for kind in ("benign", "look_alike")]
            lines.append(f"| {title} | {score} | {rho} | {smallest} | {alarms[0]} | {alarms[1]} |")
    return "\n".join([*lines, "", *_means(records), "", *_harmless(records)])


def _means(records: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return the table of the mean attribution and of the power at every level."""
    levels = sorted({float(level) for _, record in records for level in record["levels"]})
    heads = [f"mean at {level:g}" for level in (0, *levels)]
    heads.append(f"power at {', '.join(f'{level:g}' for level in levels)}")
    lines = [f"| features | mode | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for title, record in records:
        found = record["scores"]["attribution"]
        for mode, told in found["modes"].items():
            at = [told["levels"].get(str(level)) for level in levels]
            means = " | ".join("–" if one is None else f"{one['mean']:.3f}" for one in at)
            powers = ", ".join("–" if one is None else _two(one["power"]) for one in at)
            lines.append(f"| {title} | {mode} | {found['base']:.3f} | {means} | {powers} |")
    return lines


def _harmless(records: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return the table of the mean changes where nothing leaks."""
    modes = (AGAIN, *AREAS, *SUBJECTS)
    lines = [f"| features | {' | '.join(modes)} |", "|---" * (1 + len(modes)) + "|"]
    for title, record in records:
        found = record["scores"]["attribution"]["harmless"]
        lines.append(f"| {title} | {' | '.join(_change(found.get(mode)) for mode in modes)} |")
    return lines


def _change(told: dict[str, float] | None) -> str:
    """Return a mean change with its interval."""
    return "–" if told is None else f"{told['change']:+.3f} [{told['low']:+.3f}, {told['high']:+.3f}]"


def _two(value: float | None) -> str:
    """Return a number with two digits behind the point."""
    return "–" if value is None else f"{value:.2f}"


def _mean(rows: Sequence[dict[str, Any]], mode: str, level: float) -> float:
    """Return the mean attribution of a mode at a level."""
    values = [row["attribution"] for row in rows if row["mode"] == mode and row["level"] == level]
    return sum(values) / len(values)


def _level(mode: dict[str, Any] | None) -> str:
    """Return from which level a mode is found."""
    if mode is None:
        return "–"
    return "no" if mode["smallest_share"] is None else f"{mode['smallest_share']:g}"


def _alarms(told: dict[str, Any] | None) -> str:
    """Return how many tests alarmed."""
    return "–" if told is None else f"{told['count']}/{told['tests']}"


def main() -> None:
    """Print the tables and draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, nargs="+", metavar="FILE", help="of validate --out")
    parser.add_argument("--examples", type=Path, metavar="FILE", help="draw what is measured, and stop")
    parser.add_argument("--titles", nargs="+", help="one for each record")
    parser.add_argument("--out", type=Path, default=Path("output/benchmarks/validation.png"))
    args = parser.parse_args()
    if args.examples:
        examples().save(args.examples, optimize=True)
        return
    if args.records:
        records = [json.loads(path.read_text(encoding="utf-8")) for path in args.records]
    else:
        chosen = PRESETS["quick"]
        data = toy_data(chosen.num_subjects, chosen.num_hosts)
        records = [validate(data, ct_features(), levels=chosen.levels)]
    titles = args.titles or [f"{record['features']['name']}: {record['data'][:24]}" for record in records]
    told = list(zip(titles, records, strict=True))
    print(tables(told))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    beside([panel(*one).picture for one in told], a_row=2).save(args.out, optimize=True)
    print(args.out)


if __name__ == "__main__":
    main()
