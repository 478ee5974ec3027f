"""DiffSeg on the toy world: telling things apart, finding and proposing the subject; time and memory.

    python benchmarks/diffseg.py                          # 6 albums of 5 photos, some minutes on one core
    python benchmarks/diffseg.py --num_albums 24 --out output/benchmarks/diffseg.json
    python benchmarks/diffseg.py --only cost --size sd15  # seconds and peak memory of a model of that size
    python benchmarks/diffseg.py --only fit               # the numbers of masks/diffseg/stage.py

The renderer knows which pixels belong to the subject, to each thing of the place, and to the backdrop.
Segments have no names: each photo has the best assignment of segments to true things (Hungarian).
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from proposals import album, found_ious, iou, mean
from random_models import SIZES, build_models

from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.diffseg.matching import match
from persam_dreambooth.masks.diffseg.nouns import columns_of, names_of_segments
from persam_dreambooth.masks.diffseg.segmentation import DiffSeg
from persam_dreambooth.masks.diffseg.stage import find_subject
from persam_dreambooth.masks.diffseg.things import DiffSegThings
from persam_dreambooth.masks.proposals import chosen, propose
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import DiffSegConfig
from persam_dreambooth.toyworld.scene import Scene

SETTINGS = {
    "default": {},
    "tau 0.3": {"diffseg_tau": (0.3,) * 3},
    "tau 0.2": {"diffseg_tau": (0.2,) * 3},
    "tau 0.15": {"diffseg_tau": (0.15,) * 3},
    "tau 0.1": {"diffseg_tau": (0.1,) * 3},
    "k-means": {"diffseg_refine": "kmeans"},
    "peak": {"diffseg_nms": "peak"},
    "exclusive": {"diffseg_exclusive": True},
    "4 x 4 anchors": {"diffseg_anchors": 4},
    "finest alone": {"diffseg_weights": (1, 0, 0)},
    "coarsest alone": {"diffseg_weights": (0, 0, 1)},
    "timestep 100": {"diffseg_timestep": 100},
    "timestep 500": {"diffseg_timestep": 500},
}
"""The paper's knobs."""

CONFIDENCES = (0.0, 0.2, 0.4)


def truth_of(scene: Scene) -> np.ndarray:
    """The true thing of each pixel: 0 the backdrop, 1 the subject, then the things of the place."""
    labels = np.zeros(scene.mask.shape, np.int64)
    for number, mask in enumerate(scene.objects.values(), start=2):
        labels[mask] = number
    labels[scene.mask] = 1
    return labels


def photo_of(scene: Scene, number: int) -> Photo:
    """A scene as a photo that was read."""
    return Photo(Path(f"{number}.png"), scene.image, array_digest(scene.image))


def measure_things(models: Models, scenes: list[Scene]) -> dict[str, dict]:
    """How well segments agree with true things, by setting."""
    found = {}
    for name, changes in SETTINGS.items():
        diffseg = DiffSeg(models, DiffSegConfig(**changes))
        started = time.monotonic()
        segments = [diffseg.segment(scene.image) for scene in scenes]
        seconds = (time.monotonic() - started) / len(scenes)
        results = [match(one.labels(), truth_of(scene)) for one, scene in zip(segments, scenes, strict=True)]
        found[name] = {
            "mean_iou": mean(result.mean_iou for result in results),
            "accuracy": mean(result.accuracy for result in results),
            "segments": mean(len(one.proposals) for one in segments),
            "seconds": round(seconds, 2),
        }
    one_segment = [match(np.zeros(scene.mask.shape, np.int64), truth_of(scene)) for scene in scenes]
    found["everything is one"] = {
        "mean_iou": mean(result.mean_iou for result in one_segment),
        "accuracy": mean(result.accuracy for result in one_segment),
        "segments": 1.0,
        "seconds": 0.0,
    }
    return found


def measure_subject(models: Models, scenes: list[Scene]) -> dict[str, dict]:
    """IoU of the subject's mask with the word and without, by setting, and what confidence says of it."""
    found = {}
    for name in ("default", "tau 0.15", "k-means"):
        diffseg = DiffSeg(models, DiffSegConfig(**SETTINGS[name]))
        for noun in (True, False):
            rows = []
            for number, scene in enumerate(scenes):
                one = find_subject(diffseg, photo_of(scene, number), scene.subject if noun else None)
                rows.append((iou(one.mask, scene.mask), one.confidence.value if one.confidence else 0.0))
            found[f"{name}, {'noun' if noun else 'no noun'}"] = _summary(rows)
    return found


def measure_roles(models: Models, segmenter: Segmenter, num_albums: int) -> dict[str, dict]:
    """PerSAM-F from one true mask, and from the best proposal of each source; IoU in the other photos."""
    rows: dict[str, list[dict]] = {}
    for number in range(num_albums):
        scenes = album(number)
        photos = [photo_of(scene, index) for index, scene in enumerate(scenes)]
        embeddings = [segmenter.encode(scene.image) for scene in scenes]
        others = found_ious(segmenter, scenes, embeddings, 0, scenes[0].mask)
        rows.setdefault("one true mask", []).append({"reference": 1.0, "others": mean(others)})
        for name, source in _sources(models, scenes[0].subject).items():
            started = time.monotonic()
            row: dict[str, Any] = {"abstains": False, "reference": 0.0, "others": 0.0}
            try:
                proposals = propose(segmenter, photos, embeddings, source=source)
                best = proposals[0]
                row["reference"] = iou(best.mask, scenes[best.photo_index].mask)
                row["others"] = mean(found_ious(segmenter, scenes, embeddings, best.photo_index, best.mask))
                chosen(proposals, None)
            except UserError:
                row["abstains"] = True
            rows.setdefault(name, []).append({**row, "seconds": (time.monotonic() - started) / len(photos)})
    return {name: _means(of_source) for name, of_source in rows.items()}


def measure_names(models: Models, scenes: list[Scene]) -> dict[str, float]:
    """How often the segment that covers most of the subject is named by its word, not by its place's."""
    hits = {voting: [] for voting in ("mean", "majority")}
    diffseg = DiffSeg(models, DiffSegConfig())
    for scene in scenes:
        caption = f"a photo of a {scene.subject} in a {scene.background}"
        words = [scene.subject, scene.background]
        try:
            columns = {word: columns_of(models, caption, word, "caption") for word in words}
        except UserError:
            continue
        segments = diffseg.segment(scene.image, caption)
        labels = segments.labels()
        largest = int(np.bincount(labels[scene.mask]).argmax())
        for voting, found in hits.items():
            names = names_of_segments(segments, columns, labels, voting)
            found.append(names[largest] == scene.subject)
    return {voting: mean(found) for voting, found in hits.items()}


def measure_cost(size: str) -> dict[str, Any]:
    """Seconds and peak memory of one photo with a model of that size, the word included."""
    models = build_models(size)
    diffseg = DiffSeg(models, DiffSegConfig())
    pixels = np.random.default_rng(0).integers(0, 256, (diffseg.side, diffseg.side, 3), dtype=np.uint8)
    before = _peak_gib()
    seconds = {}
    for name, prompt in (("without a word", None), ("with a word", "a photo of a cat")):
        started, computing = time.monotonic(), time.process_time()
        diffseg.segment(pixels, prompt)
        # The second number is free of what else the machine does.
        seconds[name] = round(time.monotonic() - started, 1), round(time.process_time() - computing, 1)
    return {
        "size": size,
        "side": diffseg.side,
        "threads": torch.get_num_threads(),
        "seconds_and_cpu_seconds": seconds,
        "peak_gib": _peak_gib(),
        "peak_before_gib": before,
    }


def fit_confidence(models: Models, num_albums: int) -> dict[str, float]:
    """The logistic model of expected IoU on the logarithms of score and lead, with and without the word."""
    diffseg = DiffSeg(models, DiffSegConfig())
    signs, truths = [], []
    scenes = [scene for number in range(1000, 1000 + num_albums) for scene in album(number)[::2]]
    for scene, noun in product(scenes, (True, False)):
        one = find_subject(diffseg, photo_of(scene, 0), scene.subject if noun else None)
        if one.confidence is not None:
            signs.append([max(0.02, one.confidence.parts[name]) for name in ("score", "lead")])
            truths.append(iou(one.mask, scene.mask))
    inputs, targets = torch.tensor(signs).log(), torch.tensor(truths)
    numbers = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        weights = torch.nn.functional.softplus(numbers[1:])
        value = torch.nn.functional.binary_cross_entropy_with_logits(numbers[0] + inputs @ weights, targets)
        value.backward()
        return value

    optimizer.step(loss)
    score, lead = torch.nn.functional.softplus(numbers[1:].detach()).tolist()
    return {"bias": round(float(numbers[0].detach()), 2), "score": round(score, 2), "lead": round(lead, 2)}


def _sources(models: Models, noun: str) -> dict[str, DiffSegThings | None]:
    """What sees things, by name."""
    diffseg = DiffSeg(models, DiffSegConfig())
    return {
        "no hint, sam": None,
        "no hint, diffseg": DiffSegThings(diffseg, noun, with_sam=False),
        "no hint, both": DiffSegThings(diffseg, noun, with_sam=True),
    }


def _summary(rows: list[tuple[float, float]]) -> dict[str, Any]:
    """IoU over all photos, and of those that are kept at a least confidence."""
    found: dict[str, Any] = {"iou": mean(value for value, _ in rows)}
    found["iou_half"] = mean(value >= 0.5 for value, _ in rows)
    for least in CONFIDENCES[1:]:
        kept = [value for value, trust in rows if trust >= least]
        found[f"kept_{least:g}"] = round(len(kept) / len(rows), 3)
        found[f"iou_{least:g}"] = mean(kept)
    ious, trusts = np.array(rows).T
    found["correlation"] = round(float(np.corrcoef(ious, trusts)[0, 1]), 2) if trusts.std() else None
    return found


def _means(rows: Iterable[dict]) -> dict[str, float]:
    """The mean of each column."""
    rows = list(rows)
    found = {name: mean(row[name] for row in rows) for name in rows[0]}
    found["right"] = mean(row["reference"] >= 0.5 for row in rows)
    return found


def _peak_gib() -> float:
    """Most memory that this process has held so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _show(title: str, table: dict[str, dict]) -> None:
    """Print a table."""
    print(f"\n{title}", flush=True)
    for name, row in table.items():
        told = row if isinstance(row, dict) else {"": row}
        print(f"  {name:<26}" + "  ".join(f"{key} {value}" for key, value in told.items()), flush=True)


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = ("things", "subject", "roles", "names", "cost", "fit")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds[:5])
    parser.add_argument("--num_albums", type=int, default=6)
    parser.add_argument("--size", choices=("toy", *SIZES), default="toy", help="of the model for cost")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the numbers here as well, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    models = build_models("toy")
    scenes = [scene for number in range(args.num_albums) for scene in album(number)[::2]]
    measures: dict[str, Callable[[], dict]] = {
        "things": lambda: measure_things(models, scenes),
        "subject": lambda: measure_subject(models, scenes),
        "roles": lambda: measure_roles(models, Segmenter.load("toy"), args.num_albums),
        "names": lambda: measure_names(models, scenes),
        "cost": lambda: measure_cost(args.size),
        "fit": lambda: fit_confidence(models, args.num_albums),
    }
    report = {}
    for name in args.only:
        report[name] = measures[name]()
        _show(name, report[name])
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
