"""Scenes rendered once and kept in shards on disk, so that every training reads the same world.

    python -m persam_dreambooth.toyworld.training.data --out output/toyworld/data --shards 10

A shard holds `images` uint8 [n 128 128 3], `owners` uint8 [n 128 128] (which layer is seen at a pixel; 0 is
the backdrop) and a list of records (caption, subject, background, identity, layer names). Trainings read
whatever shards exist, so they may start early.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, Scene, render

SHARD_SIZE = 1000
PICTURE_SIZE = 64
"""Side of the pictures that the diffusion model draws; scenes are rendered twice as large, for SAM."""

EMPTY_FRACTION = 0.06
"""Share of scenes without a subject."""

HELD_OUT_IDENTITIES = 10_000
"""Training draws identities below this number; those from here on are held out for measuring."""


@dataclass(frozen=True)
class Shards:
    """Rendered scenes: `images` [n s s 3] and `owners` [n s s], uint8, and one record each."""

    images: np.ndarray
    owners: np.ndarray
    records: list[dict]


def random_scene(rng: Random, *, held_out: bool = False) -> Scene:
    """A scene with a random subject (or none), place and identity."""
    subject = None if rng.random() < EMPTY_FRACTION else rng.choice(SUBJECTS)
    identity = rng.randrange(HELD_OUT_IDENTITIES) + (HELD_OUT_IDENTITIES if held_out else 0)
    return render(subject, rng.choice(BACKGROUNDS), identity, rng.getrandbits(40))


def owners_and_layers(scene: Scene) -> tuple[np.ndarray, list[dict]]:
    """Which thing is seen at each pixel, and what the numbers mean.

    Returns:
        Numbers uint8 [H W], 0 for the backdrop; and for each number from 1 its name and whether it is of the
        subject.
    """
    owners = np.zeros(scene.mask.shape, np.uint8)
    layers = []
    for of_subject, masks in ((False, scene.objects), (True, scene.parts)):
        for name, mask in masks.items():
            layers.append({"name": name, "of_subject": of_subject})
            owners[mask] = len(layers)
    return owners, layers


def write_shard(path: Path, number: int, *, held_out: bool = False) -> None:
    """Render shard `number` to `path` (.npz beside .json)."""
    rng = Random(f"shard {number} {held_out}")
    images, owners, records = [], [], []
    for _ in tqdm(range(SHARD_SIZE), desc=path.name, mininterval=10):
        scene = random_scene(rng, held_out=held_out)
        owner, layers = owners_and_layers(scene)
        images.append(scene.image)
        owners.append(owner)
        records.append(
            {
                "caption": scene.caption,
                "subject": scene.subject,
                "background": scene.background,
                "identity": scene.identity,
                "layers": layers,
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(records))
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, images=np.stack(images), owners=np.stack(owners))
    partial.replace(path)


def read_shards(folder: Path, *, limit: int | None = None) -> Shards:
    """All finished shards of a folder (at most `limit`).

    Raises:
        FileNotFoundError: If there is none yet.
    """
    paths = [path for path in sorted(folder.glob("shard-*.npz")) if "partial" not in path.name][:limit]
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no shards; render some with python -m persam_dreambooth.toyworld.training.data"
        )
    files = [np.load(path) for path in paths]
    records = [record for path in paths for record in json.loads(path.with_suffix(".json").read_text())]
    return Shards(
        np.concatenate([f["images"] for f in files]), np.concatenate([f["owners"] for f in files]), records
    )


def small_pixel_values(images: np.ndarray) -> Tensor:
    """Pictures uint8 [n 128 128 3] averaged down to PICTURE_SIZE, [n 3 64 64] in [-1, 1]."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return avg_pool2d(pixels, pixels.shape[-1] // PICTURE_SIZE)


def main() -> None:
    """Render the shards that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("output/toyworld/data"))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--held_out", action="store_true", help="identities that no training shard has")
    args = parser.parse_args()
    for number in range(args.first, args.first + args.shards):
        path = args.out / f"shard-{number:03d}.npz"
        if not path.exists():
            write_shard(path, number, held_out=args.held_out)


if __name__ == "__main__":
    main()
