"""How well each measure of leakage agrees with what generated toy pictures really show.

    python benchmarks/measure_truth.py                                      # output/demo, ct
    python benchmarks/measure_truth.py --reports DIR [DIR ...] --features ct efficientnet --out DIR
    python benchmarks/measure_truth.py --rows leakbench.json.gz             # rows that were measured before

A report is the folder of a finished demonstration (`persam-dreambooth demo`). Its pictures are measured anew
with every kind of features, and judged by the toy world's classifier, which measures have no part in: the
truth is whether the background that it sees is one of the photos' instead of the prompted one, and how
likely it thinks that. AUC: how often, of a random pair of pictures, the leaked one has the higher value.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from leakbench_scores import read_rows
from truth_pictures import auc_chart, disagreements, scatter_sheet

from persam_dreambooth.diffusion.generate import PROMPTS_FILE
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.leakage.album import read_album
from persam_dreambooth.leakage.comparison import compare
from persam_dreambooth.leakage.decoys import resized_mask, round_trip
from persam_dreambooth.leakage.features import Features, load_features
from persam_dreambooth.leakage.finder import SubjectFinder, subject_finder
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.rows import BASE
from persam_dreambooth.leakage.truth import Truth
from persam_dreambooth.leakage.validation.outcomes import area_under_curve, rank_correlation
from persam_dreambooth.photos import array_digest, read_photo, sample_images
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.toyworld.backgrounds import PHRASES
from persam_dreambooth.toyworld.classifier import judge, load_classifier
from persam_dreambooth.toyworld.samples import SAMPLES

MEASURES = ("attribution", "excess", "copy_rate", "style_shift", "max_cosine")
"""Those that need no truth."""
RESULT_FILE = "measure_truth.json"
DEMO = Path("output/demo")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished demonstration."""

    name: str
    photos: list[tuple[np.ndarray, np.ndarray]]
    """Pixels and mask of each, at the size and with the marks of generated pictures."""
    decoys: list[np.ndarray]
    arms: dict[str, list[Picture]]
    find_subject: SubjectFinder
    truth: Truth


def read_run(folder: Path, sample: str, *, vae: bool) -> Run:
    """Return a demonstration's photos and pictures.

    Args:
        folder: of the demonstration.
        sample: whose; a key of `SAMPLES`.
        vae: send the photos through the VAE, as `compare` does.
    """
    album, known, models = read_album(sample_images(sample), folder / "masks"), SAMPLES[sample], None
    pairs = album.pairs
    if vae:
        models = load_models("toy")
        seen = [round_trip(models, pixels, 128) for pixels, _ in pairs]
        pairs = [(one, resized_mask(mask, one.shape[:2])) for one, (_, mask) in zip(seen, pairs, strict=True)]
    folders = {
        path.parent if path.parent.name != "pictures" else path.parent.parent: path.parent
        for path in sorted(folder.glob("**/" + PROMPTS_FILE))
        if "validation" not in path.parts
    }
    arms = {place.name: _pictures(pictures) for place, pictures in folders.items()}
    decoys = [picture.pixels for picture in arms.pop("decoys")]
    first = album.photos[0]
    find = subject_finder(Segmenter.load("toy"), first, album.masks[first.stem].mask)
    truth = Truth(load_classifier(), known.subject, known.identity, known.backgrounds)
    return Run(folder.name, pairs, decoys, arms, _remembered(find), truth)


def rows_of(run: Run, features: Features) -> list[dict[str, Any]]:
    """Return the rows of a run, measured with these features, and how likely each shows the photos' place."""
    result = compare(
        run.arms,
        photos=run.photos,
        decoys=run.decoys,
        find_subject=run.find_subject,
        features=features,
        truth=run.truth,
    )
    by_key = {(arm, *picture.key): picture for arm, own in run.arms.items() for picture in own}
    rows = result["rows"]
    pictures = np.stack([by_key[row["arm"], row["prompt"], row["seed"]].pixels for row in rows])
    judged = judge(run.truth.classifier, pictures)
    likely = sum(judged.of("background", place) for place in run.truth.training_backgrounds)
    return [
        {"run": run.name, "probability": float(one), **row} for one, row in zip(likely, rows, strict=True)
    ]


def agreement(rows: Sequence[dict[str, Any]], measure: str) -> dict[str, float | int | None]:
    """Return how well a measure agrees with the truth over pictures of tuned models.

    Args:
        rows: of pictures; those whose leak cannot be told, or that lack the measure, are left out.
        measure: one of MEASURES.

    Returns:
        `auc` (None without both kinds), `auc_within_prompt` (pairs of one prompt only), `auc_kept` (against
        pictures of the prompted place only), `rho` with the classifier's probability (None where rows lack
        it), and the counts.
    """
    told = [r for r in rows if r["arm"] != BASE and r.get("leak") is not None and r.get(measure) is not None]
    leaked = np.array([bool(row["leak"]) for row in told])
    values = np.array([row[measure] for row in told], dtype=np.float64)
    likely = [row.get("probability") for row in told]
    prompts = np.array([row["prompt"] for row in told])
    kept = np.array([bool(row["agreement"]) for row in told])
    both, sure = leaked.any() and not leaked.all(), leaked.any() and kept.any()
    return {
        "auc": area_under_curve(values[leaked], values[~leaked]) if both else None,
        "auc_within_prompt": _within(values, leaked, prompts),
        "auc_kept": area_under_curve(values[leaked], values[kept]) if sure else None,
        "rho": None if None in likely or not told else rank_correlation(values, np.array(likely)),
        "pictures": len(told),
        "leaked": int(leaked.sum()),
    }


def arm_means(rows: Sequence[dict[str, Any]], measure: str) -> tuple[list[float], list[float]]:
    """Return the share of leaked pictures and the measure's mean, of every tuned arm of every run."""
    shares, means = [], []
    for run, arm in sorted({(_run(row), row["arm"]) for row in rows if row["arm"] != BASE}):
        own = [row for row in rows if (_run(row), row["arm"]) == (run, arm) and row.get("leak") is not None]
        own = [row for row in own if row.get(measure) is not None]
        if own:
            shares.append(float(np.mean([row["leak"] for row in own])))
            means.append(float(np.mean([row[measure] for row in own])))
    return shares, means


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the agreements as a table in Markdown."""
    lines = [
        "| features | measure | AUC | AUC, same prompt | AUC, against kept | rho, pictures | rho, arms |",
        "|---|---|---|---|---|---|---|",
    ]
    for features, measures in found.items():
        for measure, told in measures.items():
            numbers = [told[key] for key in ("auc", "auc_within_prompt", "auc_kept", "rho", "rho_arms")]
            cells = " | ".join("–" if value is None else f"{value:.2f}" for value in numbers)
            lines.append(f"| {features} | {measure} | {cells} |")
    return "\n".join(lines)


def measured(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the agreement of every measure that the rows hold."""
    found = {}
    for measure in MEASURES:
        told = agreement(rows, measure)
        if told["pictures"]:
            shares, means = arm_means(rows, measure)
            rho = rank_correlation(np.array(shares), np.array(means)) if len(means) > 2 else None
            found[measure] = told | {"rho_arms": rho, "arms": len(means)}
    return found


def _pictures(folder: Path) -> list[Picture]:
    """Return the pictures that `generate` wrote to a folder, with the places that their prompts name."""
    images = json.loads((folder / PROMPTS_FILE).read_text(encoding="utf-8"))["images"]
    return [
        Picture(
            image["prompt"],
            _place(image["prompt"]),
            image["seed"],
            read_photo(folder / image["file"]).pixels,
            path=folder / image["file"],
        )
        for image in images
    ]


def _place(prompt: str) -> str | None:
    """Return the toy world's name of the place that a prompt ends with."""
    return next((place for place, words in PHRASES.items() if prompt.endswith(words)), None)


def _within(values: np.ndarray, leaked: np.ndarray, prompts: np.ndarray) -> float | None:
    """Return the AUC over pairs of pictures of one prompt, all such pairs counting alike."""
    right, pairs = 0.0, 0
    for prompt in np.unique(prompts):
        own = prompts == prompt
        count = int((own & leaked).sum() * (own & ~leaked).sum())
        if count:
            right += count * area_under_curve(values[own & leaked], values[own & ~leaked])
            pairs += count
    return right / pairs if pairs else None


def _run(row: dict[str, Any]) -> str:
    """Return which training a row belongs to: of a demonstration, or of LeakBench."""
    return row.get("run") or f"{row.get('album')} {row.get('training_seed')} {row.get('step')}"


def _remembered(find: SubjectFinder) -> SubjectFinder:
    """Return a finder that looks at equal pictures once: the features differ, the subject does not move."""
    known: dict[str, np.ndarray | None] = {}

    def once(pixels: np.ndarray) -> np.ndarray | None:
        key = array_digest(pixels)
        if key not in known:
            known[key] = find(pixels)
        return known[key]

    return once


def _features(name: str) -> Features:
    """Return features by name, those of the toy models included."""
    return load_features(
        name,
        models=load_models("toy") if name == "dift" else None,
        segmenter=Segmenter.load("toy") if name == "sam" else None,
    )


def main() -> None:
    """Measure, compare with the truth, print the table and write numbers and pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=Path, nargs="+", metavar="DIR", help="folders of demonstrations")
    parser.add_argument("--rows", type=Path, nargs="+", metavar="FILE", help="rows of LeakBench")
    parser.add_argument("--features", nargs="+", default=["ct"])
    parser.add_argument("--sample", choices=list(SAMPLES), default="cat")
    parser.add_argument("--no_vae", action="store_true", help="take the photos as they are")
    parser.add_argument("--out", type=Path, default=Path("output/benchmarks/measure_truth"))
    args = parser.parse_args()
    folders = args.reports or ([DEMO] if not args.rows and (DEMO / "masks").is_dir() else [])
    if not folders and not args.rows:
        print(
            f"no demonstration in {DEMO}, so there is nothing to measure; run `persam-dreambooth demo` first"
        )
        return
    args.out.mkdir(parents=True, exist_ok=True)
    runs = [read_run(folder, args.sample, vae=not args.no_vae) for folder in folders]
    rows = {
        name: [row for run in runs for row in rows_of(run, features)]
        for name, features in ((name, _features(name)) for name in args.features if runs)
    }
    for path in args.rows or ():
        rows[path.name.split(".")[0]] = _stored_rows(path)
    found = {name: measured(own) for name, own in rows.items()}
    print(table(found))
    slim = {
        name: [{k: v for k, v in row.items() if k != "hits"} for row in own] for name, own in rows.items()
    }
    (args.out / RESULT_FILE).write_text(json.dumps({"found": found, "rows": slim}, indent=1) + "\n")
    auc_chart(found, MEASURES).save(args.out / "measure_truth.png", optimize=True)
    scatter_sheet(rows).save(args.out / "measure_truth_pictures.png", optimize=True)
    if runs:
        paths = {
            (run.name, arm, *p.key): p.path for run in runs for arm, own in run.arms.items() for p in own
        }
        disagreements(rows, paths).save(args.out / "measure_truth_disagreements.png", optimize=True)
    print(f"pictures and {RESULT_FILE} are in {args.out}")


def _stored_rows(path: Path) -> list[dict[str, Any]]:
    """Return LeakBench's rows of prompts that ask for a place, with their excess."""
    rows = [row for row in read_rows(path)[0] if row["family"] == "recontext"]
    base = {
        (row["album"], row["prompt"], row["seed"]): row["attribution"] for row in rows if row["arm"] == BASE
    }
    return [with_excess(row, base.get((row["album"], row["prompt"], row["seed"]))) for row in rows]


def with_excess(row: dict[str, Any], base: float | None) -> dict[str, Any]:
    """Return a row with its attribution less the base picture's; none where one of them is missing."""
    told = row["arm"] != BASE and row["attribution"] is not None and base is not None
    return row | {"excess": row["attribution"] - base if told else None}


if __name__ == "__main__":
    main()
