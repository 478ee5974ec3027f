"""Objects followed through toy-world clips, as the authors compute and as we do.

    python benchmarks/video_toy.py                       # 8 clips of 10 frames, the embedded SAM
    python benchmarks/video_toy.py --sam facebook/sam-vit-base --size 512 --out table.json

In each clip two individuals that no toy model was trained on move past each other in front of one place; the
first one is gone for two frames, then the second one for one. What is printed: the mean IoU with the truth
where an object is there (J), the share of absences that were noticed, and the share of pixels of one object
that were given the number of the other.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np

from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.clip import Frame
from persam_dreambooth.masks.video import track
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, render

FIRST_IDENTITY = 40000
"""Individuals from 10,000 on are for measurements."""
ABSENCES = {(4, 1), (5, 1), (7, 2)}
"""(frame, object) pairs."""
RUNS = [(method, compat) for method in ("persam", "persam_f") for compat in (False, True)]


def sprite(rng: Random, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A subject cut out of a photo of it: pixels [h w 3] and mask [h w]."""
    scene = render(
        rng.choice(SUBJECTS), "snow", FIRST_IDENTITY + rng.randrange(1000), rng.randrange(1000), size=size
    )
    rows, columns = (np.flatnonzero(scene.mask.any(axis=axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return scene.image[window], scene.mask[window]


def clip(number: int, num_frames: int, size: int) -> Iterator[tuple[Frame, np.ndarray]]:
    """Frames and their true label maps; the first object moves right at the top, the second left below."""
    rng = Random(f"clip {number}")
    place = render(None, rng.choice(BACKGROUNDS), 0, rng.randrange(1000), size=size).image
    noise = np.random.default_rng(number)
    sprites = [sprite(rng, size * 7 // 8) for _ in range(2)]
    for frame in range(num_frames):
        pixels, labels = place.copy(), np.zeros((size, size), np.uint8)
        for which, (cut, mask) in enumerate(sprites, start=1):
            if (frame, which) in ABSENCES:
                continue
            height, width = mask.shape
            travelled = round((size - width) * frame / max(1, num_frames - 1))
            left = travelled if which == 1 else size - width - travelled
            top = 0 if which == 1 else size - height
            window = slice(top, top + height), slice(left, left + width)
            pixels[window][mask], labels[window][mask] = cut[mask], which
        pixels = np.clip(pixels + noise.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)
        yield Frame(f"{frame:05d}", pixels), labels


def measured(
    segmenter: Segmenter, method: str, compat: bool, num_clips: int, clip_shape: tuple[int, int]
) -> dict:
    """Return the means over all clips, and seconds a frame."""
    answers, seconds, num_frames = [], 0.0, 0
    for number in range(num_clips):
        frames, truths = zip(*clip(number, *clip_shape), strict=True)
        start = time.perf_counter()
        embedding = segmenter.encode(frames[0].pixels)
        references = {k: Reference(embedding, truths[0] == k, f"clip {number}") for k in (1, 2)}
        tracked = list(track(segmenter, references, frames[1:], method=method, compat=compat))
        seconds += time.perf_counter() - start
        num_frames += len(frames)
        for each, truth in zip(tracked, truths[1:], strict=True):
            answers += [answer(each.labels, truth, k) for k in (1, 2)]
    names = {name for each in answers for name in each}
    means = {name: float(np.mean([each[name] for each in answers if name in each])) for name in names}
    return means | {"seconds": seconds / num_frames}


def answer(labels: np.ndarray, truth: np.ndarray, number: int) -> dict[str, float]:
    """Return how right a label map is about one of two objects: where it is, or that it is not there."""
    found, true = labels == number, truth == number
    if not true.any():
        return {"noticed": not found.any()}
    return {
        "j": (found & true).sum() / (found | true).sum(),
        "swapped": (labels[true] == 3 - number).mean(),
    }


def main() -> None:
    """Draw the clips, follow the objects four times, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sam", default="toy")
    parser.add_argument("--num_clips", type=int, default=8)
    parser.add_argument("--num_frames", type=int, default=10)
    parser.add_argument("--size", type=int, default=144, help="side of the frames in pixels")
    parser.add_argument("--out", type=Path, help="JSON file for the table")
    args = parser.parse_args()
    segmenter = Segmenter.load(args.sam)
    rows = {}
    print("method    compat       J   absence noticed   swapped   s a frame", flush=True)
    for method, compat in RUNS:
        row = measured(segmenter, method, compat, args.num_clips, (args.num_frames, args.size))
        rows[f"{method}{'_compat' if compat else ''}"] = row
        print(
            f"{method:<9} {'yes' if compat else 'no':<6} {100 * row['j']:7.1f} {100 * row['noticed']:16.0f}% "
            f"{100 * row['swapped']:8.1f}% {row['seconds']:11.2f}",
            flush=True,
        )
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(vars(args) | {"rows": rows}, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
