"""How good the embedded models are, on individuals and seeds that no training saw.

    python benchmarks/toy_models.py                      # the committed models, 400 pictures
    python benchmarks/toy_models.py --stable_diffusion output/toyworld/diffusion/model --num_pictures 96

Bars of the first version: the judge >= 98 % on held-out renderings; the prompted class in >= 90 % and the
prompted place in >= 95 % of the generated pictures; SAM's mean IoU >= 0.85 from one click (best of three) and
>= 0.90 from a box.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from persam_dreambooth.diffusion.models import build_pipeline, load_models
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.classifier import FOLDER, judge, load_classifier
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS
from persam_dreambooth.toyworld.training.data import random_scene


def judge_on_renderings(classifier: torch.nn.Module, number: int) -> dict[str, float]:
    """Share of held-out renderings in which the judge names the subject, the place, and every trait."""
    scenes = [random_scene(Random(f"judge {k}"), held_out=True) for k in range(number)]
    judgement = judge(classifier, np.stack([scene.image for scene in scenes]))
    subjects, places = judgement.names("subject"), judgement.names("background")
    return {
        "judge_subject": float(
            np.mean([s == (scene.subject or "nothing") for s, scene in zip(subjects, scenes, strict=True)])
        ),
        "judge_background": float(
            np.mean([p == scene.background for p, scene in zip(places, scenes, strict=True)])
        ),
    }


def generated(
    pipeline: StableDiffusionPipeline, number: int, *, steps: int, guidance_scale: float
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """`number` pictures over all pairs of subject and place, and what each was asked for."""
    pairs = [(subject, place) for subject in SUBJECTS for place in BACKGROUNDS]
    Random(0).shuffle(pairs)
    asked = [pairs[k % len(pairs)] for k in range(number)]
    pictures = []
    for start in range(0, number, 16):
        chunk = asked[start : start + 16]
        prompts = [f"a photo of a {subject} {backgrounds.PHRASES[place][0]}" for subject, place in chunk]
        noise = [torch.Generator().manual_seed(start + k) for k in range(len(chunk))]
        out = pipeline(
            prompts,
            generator=noise,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            output_type="np",
        )
        pictures.append((out.images * 255).round().astype(np.uint8))
    return asked, np.concatenate(pictures)


def recognised(
    classifier: torch.nn.Module, asked: list[tuple[str, str]], pictures: np.ndarray
) -> dict[str, float | dict]:
    """Shares of pictures in which the judge sees the prompted class and place, and what was missed most."""
    judgement = judge(classifier, pictures)
    pairs = list(zip(judgement.names("subject"), judgement.names("background"), asked, strict=True))
    missed = Counter(f"{subject} seen as {seen}" for seen, _, (subject, _) in pairs if seen != subject)
    return {
        "class": float(np.mean([seen == subject for seen, _, (subject, _) in pairs])),
        "background": float(np.mean([seen == place for _, seen, (_, place) in pairs])),
        "missed": dict(missed.most_common(8)),
    }


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two bool masks."""
    return float((first & second).sum() / max(1, (first | second).sum()))


def segmentation(segmenter: Segmenter, number: int) -> dict[str, float]:
    """Mean IoU on held-out whole subjects.

    From one random click, for the best of three masks and for the one that SAM believes in most, and from the
    exact box, for the single mask.
    """
    click, chosen, box = [], [], []
    rng = Random("segmentation")
    for _ in range(number):
        scene = random_scene(rng, held_out=True)
        if scene.mask.sum() < 100:
            continue
        ys, xs = np.nonzero(scene.mask)
        k = rng.randrange(len(ys))
        embedding = segmenter.encode(scene.image)
        one = segmenter.decode(
            embedding,
            point_coords=torch.tensor([[float(xs[k]), float(ys[k])]]),
            point_labels=torch.tensor([1]),
        )
        masks = (segmenter.mask_logits(one.low_res_logits, embedding) > 0).numpy()
        click.append(max(iou(mask, scene.mask) for mask in masks))
        chosen.append(iou(masks[int(one.iou_predictions.argmax())], scene.mask))
        edges = torch.tensor([xs.min(), ys.min(), xs.max(), ys.max()], dtype=torch.float32)
        two = segmenter.decode(embedding, box=edges, multimask_output=False)
        box.append(iou((segmenter.mask_logits(two.low_res_logits, embedding) > 0).numpy()[0], scene.mask))
    return {
        "click_best_of_3": float(np.mean(click)),
        "click_likeliest": float(np.mean(chosen)),
        "box": float(np.mean(box)),
        "num_subjects": len(box),
    }


def sheet(pictures: np.ndarray, columns: int = 12) -> Image.Image:
    """The pictures in rows, as one picture."""
    rows = [
        np.concatenate(list(pictures[k : k + columns]), 1)
        for k in range(0, len(pictures) - columns + 1, columns)
    ]
    return Image.fromarray(np.concatenate(rows, 0))


def main() -> None:
    """Measure what was asked for and print it as JSON; pictures go to --out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stable_diffusion", default="toy")
    parser.add_argument("--sam", default="toy")
    parser.add_argument("--classifier", type=Path, default=FOLDER)
    parser.add_argument("--num_pictures", type=int, default=400)
    parser.add_argument("--num_scenes", type=int, default=500)
    parser.add_argument("--num_inference_steps", type=int, default=25)
    parser.add_argument("--guidance_scale", type=float, default=5.0)
    parser.add_argument("--only", choices=["judge", "diffusion", "sam"], default=None)
    parser.add_argument("--out", type=Path, default=Path("output/benchmarks"))
    args = parser.parse_args()
    result: dict = {}
    started = time.monotonic()
    classifier = load_classifier(args.classifier) if args.only != "sam" else None
    if args.only in (None, "judge"):
        result |= judge_on_renderings(classifier, args.num_scenes)
    if args.only in (None, "sam"):
        result["sam"] = segmentation(Segmenter.load(args.sam), args.num_scenes)
    if args.only in (None, "diffusion"):
        pipeline = build_pipeline(load_models(str(args.stable_diffusion)), device="cpu")
        asked, pictures = generated(
            pipeline, args.num_pictures, steps=args.num_inference_steps, guidance_scale=args.guidance_scale
        )
        result["generated"] = {"num_pictures": len(asked)} | recognised(classifier, asked, pictures)
        args.out.mkdir(parents=True, exist_ok=True)
        sheet(pictures[:96]).save(args.out / "toy_models.png")
    result["seconds"] = round(time.monotonic() - started)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
