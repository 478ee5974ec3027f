"""PerSAM and PerSAM-F on a toy-world data set in PerSeg's layout, as the authors compute and as we do.

    python benchmarks/perseg_toy.py                      # 20 objects x 5 photos of 256 px, the embedded SAM
    python benchmarks/perseg_toy.py --sam facebook/sam-vit-base --num_objects 40 --out table.json

Draws the data set (individuals that no toy model was trained on; photos as JPEG of quality 95, masks as
RGB (128, 0, 0) like PerSeg's), runs `evaluate-masks` on it four times, and prints one table. What each run
wrote, the worst masks as a picture included, stays in --data's folder beside the set.
"""

import argparse
import contextlib
import io
import json
import time
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from persam_dreambooth.commands.evaluate_masks import evaluate_masks
from persam_dreambooth.masks.perseg import PHOTO_FOLDER, TRUTH_FOLDER
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, render

FIRST_IDENTITY = 30000
"""Individuals from 10,000 on are for measurements."""
PERSEG_COLOUR = (128, 0, 0)
RUNS = [(method, compat) for method in ("persam", "persam_f") for compat in (False, True)]
COLUMNS = ("miou", "accuracy", "boundary_iou", "photo_iou", "photo_boundary_iou")


def draw_set(folder: Path, num_objects: int, num_photos: int, size: int) -> None:
    """Draw the data set: every object is an individual of its own, in a new place in every photo."""
    for number in range(num_objects):
        subject = SUBJECTS[number % len(SUBJECTS)]
        name = f"{subject}_{number // len(SUBJECTS)}"
        places = Random(f"perseg {number}").sample(BACKGROUNDS, num_photos)
        for parent in (PHOTO_FOLDER, TRUTH_FOLDER):
            (folder / parent / name).mkdir(parents=True, exist_ok=True)
        for photo, place in enumerate(places):
            scene = render(subject, place, FIRST_IDENTITY + number, photo, size=size)
            image = Image.fromarray(scene.image)
            image.save(folder / PHOTO_FOLDER / name / f"{photo:02d}.jpg", quality=95)
            truth = np.where(scene.mask[..., None], np.array(PERSEG_COLOUR, np.uint8), np.uint8(0))
            Image.fromarray(truth).save(folder / TRUTH_FOLDER / name / f"{photo:02d}.png")


def measured(data: Path, method: str, persam_compat: bool, sam: str) -> dict[str, float]:
    """Return the means of one run, its number of photos without a mask, and its seconds."""
    out = data.parent / f"{method}{'_compat' if persam_compat else ''}"
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()) as text:
        evaluation = evaluate_masks(data=data, sam=sam, method=method, persam_compat=persam_compat, out=out)
    seconds = time.perf_counter() - start
    row = {column: getattr(evaluation, column) for column in COLUMNS}
    return row | {"not_found": text.getvalue().count("\nnot found,"), "seconds": seconds}


def main() -> None:
    """Draw the set, evaluate it four times, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("output/benchmarks/perseg_toy/data"))
    parser.add_argument("--sam", default="toy")
    parser.add_argument("--num_objects", type=int, default=20)
    parser.add_argument("--num_photos", type=int, default=5, help="of each object, the reference included")
    parser.add_argument("--size", type=int, default=256, help="side of the photos in pixels")
    parser.add_argument("--out", type=Path, help="JSON file for the table")
    args = parser.parse_args()
    draw_set(args.data, args.num_objects, args.num_photos, args.size)
    rows = {}
    print("method    compat   mIoU    Acc   bIoU   photo IoU   photo bIoU   not found       s", flush=True)
    for method, compat in RUNS:
        row = measured(args.data, method, compat, args.sam)
        rows[f"{method}{'_compat' if compat else ''}"] = row
        miou, accuracy, boundary_iou, photo_iou, photo_boundary_iou = (100 * row[name] for name in COLUMNS)
        print(
            f"{method:<9} {'yes' if compat else 'no':<6} {miou:6.2f} {accuracy:6.2f} {boundary_iou:6.2f} "
            f"{photo_iou:11.2f} {photo_boundary_iou:12.2f} {row['not_found']:11d} {row['seconds']:7.1f}",
            flush=True,
        )
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(vars(args) | {"rows": rows}, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
