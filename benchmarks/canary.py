"""The random canary on the toy world: which ways to train learn a background that was drawn by lot?

    python benchmarks/canary.py                 # every training is kept: run it again to go on
    python benchmarks/canary.py --quick         # two draws of three ways
    python benchmarks/canary.py --draws 10 --ways plain masked masked_prior blur noise random class

Of every draw: a place of 20 behind all photos of the sample cat, a training, and the rank of that place among
the 20, by background learning advantage and by the features of drawn pictures. Where nothing is learnt all
ranks are equally likely. Low ones, near 1: the place was learnt. High ones, near 20: it fared worse than any
other, which shows as well that it was seen.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.generate import draw, save_picture
from persam_dreambooth.diffusion.models import Models, build_pipeline
from persam_dreambooth.diffusion.randomness import generator
from persam_dreambooth.leakage.canary import NUM_PLACES, nearest_shares, p_of_ranks, rank_of
from persam_dreambooth.leakage.canary_run import Experiment, in_front_of, one_draw, prepare
from persam_dreambooth.leakage.features import load_features
from persam_dreambooth.photos import write_mask
from persam_dreambooth.run import RunFolder
from persam_dreambooth.toyworld.backgrounds import BACKGROUNDS
from persam_dreambooth.toyworld.samples import SAMPLES, photos_of
from persam_dreambooth.toyworld.scene import render

MASKED = ("--use_persam", "--outside_prior_weight", "0")
WAYS = {
    "plain": ("--outside_prior_weight", "0"),
    "masked": MASKED,
    "masked_prior": ("--use_persam",),
    "fill": (*MASKED, "--background", "fill"),
    "noise": (*MASKED, "--background", "noise"),
    "blur": (*MASKED, "--background", "blur"),
    "random": (*MASKED, "--background", "random"),
    "class": (*MASKED, "--background", "class", "--num_class_images", "8"),
}
"""Flags of train_dreambooth.py over those of configs/toy.yaml."""
DEFAULT_WAYS = ["plain", "masked", "masked_prior", "random"]
NUM_PICTURES = 8
ROOM = 900
"""Numbers of the places; none of them is in a sample photo."""


def build_album(folder: Path, subject: str, num_photos: int) -> Path:
    """Photos of a sample subject with their exact masks, beside them and in a folder of their own."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(photos_of(SAMPLES[subject])[:num_photos]):
        write_mask(folder / f"{number:02d}.mask.png", scene.mask)
        write_mask(folder / "masks" / f"{number:02d}.png", scene.mask)
        save_picture(Image.fromarray(scene.image), folder / f"{number:02d}.png")
    return folder


def build_places() -> list[np.ndarray]:
    """Empty places: each kind once, then some a second time as another one of its kind."""
    kinds = [BACKGROUNDS[number % len(BACKGROUNDS)] for number in range(NUM_PLACES)]
    return [
        render(None, kind, seed=number, room=ROOM + number, size=256).image
        for number, kind in enumerate(kinds)
    ]


def look_at_pictures(models: Models, experiment: Experiment, drawn: int) -> dict[str, object]:
    """Rank of the drawn place among all by the features of pictures that the trained model draws."""
    features, settings = load_features("ct"), experiment.config.validation
    pictures = draw(
        build_pipeline(models, scheduler=settings.validation_scheduler),
        [experiment.config.data.instance_prompt] * NUM_PICTURES,
        [generator("canary picture", number) for number in range(NUM_PICTURES)],
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
    )
    cells = [features.cells(np.asarray(picture), None).vectors for picture in pictures]
    banks = []
    for place in experiment.places:
        album = in_front_of(experiment.album, experiment.masks, place)
        found = [features.cells(p.pixels, experiment.masks[p.stem].mask) for p in album.photos]
        banks.append(np.concatenate([part.vectors[part.is_background] for part in found]))
    width = cells[0].shape[-1]
    shares = nearest_shares(np.concatenate([part.reshape(-1, width) for part in cells]), banks)
    return {"picture_rank": rank_of(shares.tolist(), drawn), "picture_share": float(shares[drawn])}


def run_way(way: str, album: Path, out: Path, args: argparse.Namespace) -> dict[str, object]:
    """All draws of one way to train."""
    steps = str(args.steps)
    config = parse(
        [
            *("--instance_data_dir", str(album), "--instance_prompt", f"a photo of sks {args.subject}"),
            *("--class_prompt", f"a photo of a {args.subject}", "--output_dir", str(out / way)),
            *("--max_train_steps", steps, "--background_advantage_steps", steps),
            *("--measure_masks", str(album / "masks"), "--config", "configs/toy.yaml", *WAYS[way]),
        ]
    )
    run = RunFolder(config.output_dir)
    experiment = prepare(config, run, build_places())
    began = time.process_time()
    draws = [one_draw(experiment, run, number, look_at_pictures) for number in range(args.draws)]
    ranks, by_pictures = [d["rank"] for d in draws], [d["picture_rank"] for d in draws]
    return {
        "way": way,
        "advantage": float(np.mean([d["advantage"][-1][1] for d in draws])),
        "highest_other": float(np.mean([d["advantage"][-1][3] for d in draws])),
        "ranks": ranks,
        "p": p_of_ranks(ranks, NUM_PLACES),
        "p_high": p_of_ranks([NUM_PLACES + 1 - rank for rank in ranks], NUM_PLACES),
        "picture_ranks": by_pictures,
        "picture_p": p_of_ranks(by_pictures, NUM_PLACES),
        "cpu_seconds": round(time.process_time() - began),
    }


def table(rows: list[dict[str, object]]) -> str:
    """The results as Markdown."""
    lines = [
        "| Way | Advantage of the drawn place | Highest of the others | Ranks | p | p of as high | "
        "Ranks by pictures | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ranks, by_pictures = (" ".join(map(str, row[name])) for name in ("ranks", "picture_ranks"))
        lines.append(
            f"| `{row['way']}` | {row['advantage']:+.3f} | {row['highest_other']:+.3f} | {ranks} | "
            f"{row['p']:.2g} | {row['p_high']:.2g} | {by_pictures} | {row['picture_p']:.2g} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Do the draws that are not there yet; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=DEFAULT_WAYS)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--photos", type=int, default=3, help="of the subject, at most 5")
    parser.add_argument("--subject", choices=list(SAMPLES), default="cat")
    parser.add_argument("--quick", action="store_true", help="two draws of plain, masked and random")
    parser.add_argument("--out", type=Path, default=Path("output/benchmarks/canary"))
    args = parser.parse_args()
    if args.quick:
        args.ways, args.draws = ["plain", "masked", "random"], 2
    album = build_album(args.out / f"album-{args.subject}", args.subject, args.photos)
    rows = []
    for way in args.ways:
        rows.append(run_way(way, album, args.out / args.subject, args))
        print(f"\n{table(rows)}", flush=True)
    (args.out / f"canary-{args.subject}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
