"""What adapting a SAM (WeSAM) does for photos that are foreign to it, where the truth is known.

    python benchmarks/wesam.py --quick            # one kind of shift, to see that it runs: under a minute
    python benchmarks/wesam.py                    # two kinds, one seed: minutes
    python benchmarks/wesam.py --full --out output/wesam.json --minutes 9    # in parts: again until done

The embedded SAM was trained on the toy world; here that world is inverted, blurred, noisy or a sketch. It is
adapted to a few photos with weak labels made from the truth, and scored on others: mean IoU in percent with
the same three kinds of prompts. Three tables: before and after by shift and prompt; what each loss adds (the
paper's table 7); prompts in adapting against prompts in use (its table 8). Numbers are means over seeds, with
the spread (standard deviation) over seeds where there are several.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image, ImageFilter, ImageOps

from persam_dreambooth.files import write_text
from persam_dreambooth.photos import read_photo
from persam_dreambooth.run import RunFolder
from persam_dreambooth.sam.adaptation.lora import lora_mode, set_lora_weights
from persam_dreambooth.sam.adaptation.prompts import Prompt, mask_box
from persam_dreambooth.sam.adaptation.training import Adaptation, adapt, begin
from persam_dreambooth.sam.adaptation.views import masks_of
from persam_dreambooth.sam.adaptation.weak_labels import Labelled
from persam_dreambooth.sam.loading import load_model
from persam_dreambooth.settings.adaptation import AdaptConfig
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, Scene, render

PROMPTS = ("box", "point", "coarse")
FIRST_IDENTITY = 30_000  # from 10000 on they were never trained on
POINTS = 5  # on the thing, and as many beside it: the paper's
COARSE_CELL = 16  # pixels; a coarse mask is made of cells of this side

LOSSES = {
    "self-training": (20.0, 1.0, 1.0, 0.0, 0.0),
    "+ anchor": (20.0, 1.0, 1.0, 1.0, 0.0),
    "+ contrast": (20.0, 1.0, 1.0, 1.0, 1.0),
}
"""Rows of the paper's table 7; the last is the whole method."""
WHOLE = "+ contrast"

# Without it the rows differ by when they stop, not by what they learn: each runs to its end.
TO_THE_END = "to the end"


@dataclass(frozen=True)
class Cell:
    """One run: what is adapted to what, and how."""

    shift: str
    seed: int
    prompt: str
    losses: str = WHOLE
    way: str = "few"
    """few, paper (with SAM's own input), or the whole run without choosing weights or going back."""

    @property
    def key(self) -> str:
        """Its name in the file of results."""
        return f"{self.shift} {self.seed} {self.prompt} {self.losses} {self.way}"


def inverted(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
    """Return the negative."""
    return ImageOps.invert(image)


def blurred(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
    """Return a picture far out of focus."""
    return image.filter(ImageFilter.GaussianBlur(3.5))


def noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a picture under heavy noise."""
    pixels = np.asarray(image, dtype=np.float64)
    return Image.fromarray((pixels + rng.normal(0, 70, pixels.shape)).clip(0, 255).astype(np.uint8))


def sketched(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
    """Return dark outlines on white."""
    edges = image.convert("L").filter(ImageFilter.FIND_EDGES)
    # A frame of false edges lies around the picture.
    inner = ImageOps.expand(ImageOps.crop(edges, 2), 2, fill=0)
    return ImageOps.invert(inner.point(lambda value: min(255, 3 * value))).convert("RGB")


SHIFTS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "inverted": inverted,
    "blurred": blurred,
    "noisy": noisy,
    "sketch": sketched,
}


def scenes(number: int, seed: int, *, held_out: bool) -> Iterator[Scene]:
    """Yield scenes of all kinds of subjects and places; those to adapt to and those to score share none."""
    first = FIRST_IDENTITY + 1000 * (2 * seed + held_out)
    for i in range(number):
        subject, place = SUBJECTS[i % len(SUBJECTS)], BACKGROUNDS[(3 * i + seed) % len(BACKGROUNDS)]
        yield render(subject, place, first + i, first + i)


def weak_label(mask: np.ndarray, kind: str, rng: np.random.Generator) -> Prompt:
    """Return a weak label of a thing, made from its true mask."""
    if kind == "box":
        return Prompt(box=mask_box(mask))
    if kind == "point":
        chosen = [where[rng.integers(0, len(where), POINTS)] for where in map(np.argwhere, (mask, ~mask))]
        labels = np.repeat([1, 0], POINTS)
        return Prompt(points=np.concatenate(chosen)[:, ::-1].astype(np.float64), labels=labels)
    height, width = mask.shape
    cells = mask.reshape(height // COARSE_CELL, COARSE_CELL, width // COARSE_CELL, COARSE_CELL).mean((1, 3))
    return Prompt(mask=np.kron(cells >= min(0.5, cells.max()), np.ones((COARSE_CELL,) * 2, bool)))


@dataclass(frozen=True, eq=False)
class Album:
    """Photos of one shift, with all weak labels and the truth."""

    photos: list[Labelled]
    prompts: dict[str, list[Prompt]]
    truths: list[np.ndarray]


def draw_album(folder: Path, shift: str, number: int, seed: int, *, held_out: bool) -> Album:
    """Write photos of one shift; return them with their labels."""
    photos, truths = [], []
    prompts: dict[str, list[Prompt]] = {kind: [] for kind in PROMPTS}
    folder.mkdir(parents=True, exist_ok=True)
    for i, scene in enumerate(scenes(number, seed, held_out=held_out)):
        rng = np.random.default_rng([seed, i, held_out])
        path = folder / f"{i:03}.png"
        SHIFTS[shift](Image.fromarray(scene.image), rng).save(path)
        photo = read_photo(path)
        photos.append(Labelled(path, photo.size, photo.digest, []))
        truths.append(scene.mask)
        for kind in PROMPTS:
            prompts[kind].append(weak_label(scene.mask, kind, rng))
    return Album(photos, prompts, truths)


def score(run: Adaptation, album: Album) -> dict[str, float]:
    """Return mean IoU in percent on an album, for each kind of prompt."""
    found = {}
    for kind in PROMPTS:
        ious = []
        for photo, prompt, truth in zip(album.photos, album.prompts[kind], album.truths, strict=True):
            (mask,) = masks_of(run.branches, photo, run.plan, [prompt])
            ious.append((mask & truth).sum() / (mask | truth).sum())
        found[kind] = 100 * float(np.mean(ious))
    return found


def measure(cell: Cell, args: argparse.Namespace) -> dict:
    """Adapt the embedded SAM as a cell says, and score it before and after on held-out photos."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = draw_album(folder / "train", cell.shift, args.num_photos, cell.seed, held_out=False)
        test = draw_album(folder / "test", cell.shift, args.num_test, cell.seed, held_out=True)
        photos = [
            Labelled(photo.path, photo.size, photo.digest, [prompt])
            for photo, prompt in zip(train.photos, train.prompts[cell.prompt], strict=True)
        ]
        config = AdaptConfig(
            preset="paper" if cell.way == "paper" else "few",
            # The same number of steps for both presets; the paper's warm-up of 250 is not over by then.
            iterations=args.iterations,
            learning_rate=args.learning_rate,
            evaluation_steps=args.iterations if cell.way == TO_THE_END else 25,
            checkpointing_steps=args.iterations,
            loss_weights=LOSSES[cell.losses],
            input="sam",
            seed=cell.seed,
        )
        run = begin(load_model("toy"), photos, config, Accelerator(cpu=True))
        with lora_mode(run.adapters, "off"):
            before = score(run, test)
        adapted = adapt(run, RunFolder(folder / "run"), lambda _: None)
        if cell.way == TO_THE_END and adapted.reverted:
            set_lora_weights(run.adapters, adapted.progress.best_weights)
        return {
            "before": before,
            "after": score(run, test),
            "steps": adapted.progress.step,
            "kept": adapted.progress.best_step,
            "consistency": [float(np.mean(adapted.source)), float(np.mean(adapted.adapted))],
            "reverted": adapted.reverted,
            "seconds": round(time.process_time() - started, 1),
        }


def cells(args: argparse.Namespace) -> list[Cell]:
    """Return all runs, those that every table needs first."""
    pairs = [(shift, seed) for seed in range(args.num_seeds) for shift in args.shifts]
    found = [Cell(shift, seed, prompt) for prompt in PROMPTS for shift, seed in pairs]
    found += [Cell(shift, seed, "box", losses, TO_THE_END) for losses in LOSSES for shift, seed in pairs]
    return found + [Cell(shift, seed, "box", way="paper") for shift, seed in pairs]


def spread(values: list[float]) -> str:
    """Return a mean, with the standard deviation where there are several values."""
    mean = f"{np.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.1f}"


def over_shifts(results: dict, args: argparse.Namespace, when: str, test: str, **cell: str) -> str:
    """Return IoU as a mean over shifts, with its spread over seeds."""
    return spread(
        [
            float(np.mean([results[Cell(shift, seed, **cell).key][when][test] for shift in args.shifts]))
            for seed in range(args.num_seeds)
        ]
    )


def tables(results: dict, args: argparse.Namespace) -> str:
    """Return the three tables as Markdown."""
    lines = ["| Photos | Prompt | Source | Adapted | Went back |", "|---|---|---|---|---|"]
    for shift in args.shifts:
        for prompt in PROMPTS:
            told = [results[Cell(shift, seed, prompt).key] for seed in range(args.num_seeds)]
            before, after = (spread([one[when][prompt] for one in told]) for when in ("before", "after"))
            back = f"{sum(one['reverted'] for one in told)} of {len(told)}"
            lines.append(f"| {shift} | {prompt} | {before} | {after} | {back} |")
    lines += ["", "| Losses (box, every step, no choice) | IoU |", "|---|---|"]
    lines.append(f"| source only | {over_shifts(results, args, 'before', 'box', prompt='box')} |")
    for losses in LOSSES:
        value = over_shifts(results, args, "after", "box", prompt="box", losses=losses, way=TO_THE_END)
        lines.append(f"| {losses} | {value} |")
    lines.append(f"| --preset few | {over_shifts(results, args, 'after', 'box', prompt='box')} |")
    paper = over_shifts(results, args, "after", "box", prompt="box", way="paper")
    lines.append(f"| --preset paper --input sam | {paper} |")
    lines += [
        "",
        f"| Adapted with | {' | '.join(f'used with {kind}' for kind in PROMPTS)} |",
        "|---|---|---|---|",
    ]
    source = [over_shifts(results, args, "before", test, prompt="box") for test in PROMPTS]
    lines.append(f"| (source) | {' | '.join(source)} |")
    for prompt in PROMPTS:
        row = [over_shifts(results, args, "after", test, prompt=prompt) for test in PROMPTS]
        lines.append(f"| {prompt} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, for as long as is allowed, and print the tables once all is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one shift, few steps")
    parser.add_argument("--full", action="store_true", help="all shifts, three seeds")
    parser.add_argument("--out", type=Path, help="JSON of finished runs; those in it are not done again")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many")
    parser.add_argument("--num_photos", type=int, default=8, help="to adapt to")
    parser.add_argument("--num_test", type=int, default=24, help="to score on")
    parser.add_argument("--iterations", type=int, default=120)
    # Ten times the default: the embedded SAM's encoder is a sixth as wide as ViT-B, and a step moves it less.
    parser.add_argument("--learning_rate", type=float, default=3e-3)
    args = parser.parse_args()
    args.shifts = list(SHIFTS) if args.full else ["inverted"] if args.quick else ["inverted", "sketch"]
    args.num_seeds = 3 if args.full else 1
    if args.quick:
        args.num_photos, args.num_test, args.iterations = 3, 6, 6
    settings = {
        name: getattr(args, name) for name in ("num_photos", "num_test", "iterations", "learning_rate")
    }
    stored = json.loads(args.out.read_text()) if args.out and args.out.is_file() else {}
    results = stored["results"] if stored.get("settings") == settings else {}
    started = time.monotonic()
    wanted = cells(args)
    for number, cell in enumerate(wanted, 1):
        if cell.key in results:
            continue
        if time.monotonic() - started > 60 * args.minutes:
            print(f"{len(results)} of {len(wanted)} runs are done; the same command again goes on")
            return
        results[cell.key] = measure(cell, args)
        print(f"{number} of {len(wanted)}: {cell.key}: {json.dumps(results[cell.key])}", flush=True)
        if args.out:
            write_text(args.out, json.dumps({"settings": settings, "results": results}, indent=1))
    print(tables(results, args))


if __name__ == "__main__":
    main()
