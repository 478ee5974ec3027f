"""How well each hint works, from a whole mask to none, on toy-world albums that no training saw.

    python benchmarks/proposals.py                       # 24 albums of 5 photos, about 2 minutes on one core
    python benchmarks/proposals.py --num_albums 60 --out output/benchmarks/proposals.json

An album is five photos of one subject, three or four of them in one room. Hints are what a person would
give on the first photo: the exact mask, its box, a click in the middle of the subject, three clicks, a stroke
along it. Without a hint the reference is the best proposal, in whichever photo that is. For each: IoU of the
reference mask with the truth, and of what PerSAM-F then finds in the other photos.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import hints, persam_f
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.proposals import chosen, propose
from persam_dreambooth.masks.strokes import spread_pixels
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.sam.segmenter import Embedding, Segmenter
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, Scene, render

HELD_OUT_IDENTITY = 20200
"""Individuals from 10,000 on were in no training."""
PHOTO_SIZE = 256


def album(number: int) -> list[Scene]:
    """Five photos of one individual: every third album has two photos elsewhere, the others one."""
    rng = Random(f"album {number}")
    home, elsewhere = rng.sample(list(BACKGROUNDS), 2)
    room, num_at_home = rng.randrange(50), 4 if number % 3 else 3
    return [
        render(
            SUBJECTS[number % len(SUBJECTS)],
            home if photo < num_at_home else elsewhere,
            HELD_OUT_IDENTITY + number,
            100 * number + photo,
            room=room,
            size=PHOTO_SIZE,
        )
        for photo in range(5)
    ]


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """IoU of two masks."""
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def inner(mask: np.ndarray) -> np.ndarray:
    """The pixels at least 8 from the mask's edge, where a hand aims; all of a mask that has none."""
    deep = mask.copy()
    for _ in range(8):
        deep[1:-1, 1:-1] &= deep[:-2, 1:-1] & deep[2:, 1:-1] & deep[1:-1, :-2] & deep[1:-1, 2:]
    return deep if deep.any() else mask


def draw_stroke(scene: Scene, path: Path) -> None:
    """Write a copy of the photo with a green line through places on the subject that lie far apart."""
    picture = Image.fromarray(scene.image)
    line = [(float(x), float(y)) for x, y in spread_pixels(inner(scene.mask), 3)]
    ImageDraw.Draw(picture).line(line, fill=(0, 255, 0), width=6)
    picture.save(path)


def hinted_masks(
    segmenter: Segmenter, scene: Scene, embedding: Embedding, folder: Path
) -> dict[str, np.ndarray]:
    """The reference mask from each kind of hint."""
    y, x = np.nonzero(scene.mask)
    clicks = [spread_pixels(inner(scene.mask), number).flatten().tolist() for number in (1, 3)]
    draw_stroke(scene, folder / "scribble.png")
    box = [x.min(), y.min(), x.max(), y.max()]
    return {
        "mask": scene.mask,
        "box": hints.mask_from_box(segmenter, embedding, box, "box"),
        "1 point": hints.mask_from_points(segmenter, embedding, clicks[0], None, "points"),
        "3 points": hints.mask_from_points(segmenter, embedding, clicks[1], None, "points"),
        "scribble": hints.mask_from_scribble(
            segmenter, embedding, folder / "scribble.png", scene.image, "scribble"
        ),
    }


def found_ious(
    segmenter: Segmenter,
    scenes: list[Scene],
    embeddings: list[Embedding],
    reference: int,
    mask: np.ndarray,
) -> list[float]:
    """IoU in each photo but the reference; 0 where nothing is found."""
    target = persam_f.fit(segmenter, [Reference(embeddings[reference], mask, "reference")])
    values = []
    for number, (scene, embedding) in enumerate(zip(scenes, embeddings, strict=True)):
        if number == reference:
            continue
        try:
            found = persam_f.find(segmenter, embedding, target, str(number)).mask.cpu().numpy()
        except UserError:
            found = np.zeros_like(scene.mask)
        values.append(iou(found, scene.mask))
    return values


def unhinted(segmenter: Segmenter, scenes: list[Scene], embeddings: list[Embedding]) -> tuple[dict, list]:
    """What the proposals of an album are worth, and the proposals."""
    photos = [
        Photo(Path(f"{number}.png"), scene.image, array_digest(scene.image))
        for number, scene in enumerate(scenes)
    ]
    started = time.monotonic()
    try:
        proposals = propose(segmenter, photos, embeddings)
    except UserError:
        return {"abstains": True, "first": False, "three": False, "seconds": time.monotonic() - started}, []
    seconds = time.monotonic() - started
    right = [iou(p.mask, scenes[p.photo_index].mask) >= 0.5 for p in proposals]
    try:
        chosen(proposals, None)
        abstains = False
    except UserError:
        abstains = True
    return {
        "abstains": abstains,
        "first": right[0],
        "three": any(right[:3]),
        "margin": proposals[0].margin,
        "seconds": seconds,
    }, proposals


def measure(segmenter: Segmenter, num_albums: int) -> dict[str, dict]:
    """The numbers of all albums."""
    references: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    proposed, strangers = [], []
    for number in range(num_albums):
        scenes = album(number)
        embeddings = [segmenter.encode(scene.image) for scene in scenes]
        with tempfile.TemporaryDirectory() as folder:
            hinted = hinted_masks(segmenter, scenes[0], embeddings[0], Path(folder))
        masks = {name: (0, mask) for name, mask in hinted.items()}
        result, proposals = unhinted(segmenter, scenes, embeddings)
        proposed.append(result)
        strangers.append((scenes[-1], embeddings[-1]))
        if proposals:
            masks["none"] = (proposals[0].photo_index, proposals[0].mask)
        for name, (reference, mask) in masks.items():
            references.setdefault(name, []).append(iou(mask, scenes[reference].mask))
            others.setdefault(name, []).extend(found_ious(segmenter, scenes, embeddings, reference, mask))
    # Two photos of different subjects at different places: nothing is in both.
    pairs = [strangers[start : start + 2] for start in range(0, len(strangers) - 1, 2)]
    refused = [unhinted(segmenter, [s for s, _ in pair], [e for _, e in pair])[0] for pair in pairs]
    return {
        "reference_iou": {name: mean(values) for name, values in references.items()},
        "other_photos_iou": {name: mean(values) for name, values in others.items()},
        "no_hint": {
            "winner_is_subject": mean(result["first"] for result in proposed),
            "subject_in_first_three": mean(result["three"] for result in proposed),
            "abstains": mean(result["abstains"] for result in proposed),
            "least_margin": round(min(result.get("margin", 0.0) for result in proposed), 3),
            "abstains_on_two_strangers": mean(result["abstains"] for result in refused),
            "seconds_per_photo": mean(result["seconds"] / 5 for result in proposed),
        },
    }


def mean(values: Iterable[float]) -> float | None:
    """The mean to three digits; None of nothing."""
    numbers = list(values)
    return round(float(np.mean(numbers)), 3) if numbers else None


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sam", default="toy")
    parser.add_argument("--num_albums", type=int, default=24)
    parser.add_argument("--out", type=Path, help="write the numbers here as well, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = measure(Segmenter.load(args.sam), args.num_albums)
    print("hint       reference IoU   IoU in the other photos")
    for name, value in report["reference_iou"].items():
        print(f"{name:<10} {value:13.3f}   {report['other_photos_iou'][name]:23.3f}")
    for name, value in report["no_hint"].items():
        print(f"{name}: {value}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
