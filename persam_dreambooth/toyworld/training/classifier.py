"""Train the judge of toy pictures on renderings, blurred and recoloured a little as generated pictures are.

    python -m persam_dreambooth.toyworld.training.classifier --data output/toyworld/data \
        --vae output/toyworld/vae/model --out output/toyworld/classifier

The loss is the cross-entropy of every head, summed.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, pad

from persam_dreambooth.toyworld.classifier import HEADS, Classifier
from persam_dreambooth.toyworld.subjects.traits import traits_of
from persam_dreambooth.toyworld.training.data import Shards, read_shards, small_pixel_values
from persam_dreambooth.toyworld.training.loop import Trainee, train

NO_TRAIT = -100
"""The label of a trait where there is no subject; cross-entropy leaves it out."""
MAX_SHIFT = 4
"""Pixels by which a batch is moved at most, each way."""


def labels_of(record: dict) -> list[int]:
    """The class number of each head for one scene."""
    subject = record["subject"]
    traits = traits_of(subject, record["identity"]) if subject else {}
    names = {"subject": subject or "nothing", "background": record["background"], **traits}
    return [classes.index(names[head]) if head in names else NO_TRAIT for head, classes in HEADS.items()]


@torch.no_grad()
def roughen(pixel_values: Tensor, vae: AutoencoderKL | None, rng: torch.Generator) -> Tensor:
    """Pictures as a generator would have drawn them.

    A quarter of the batches go through the VAE with noisy latents, some are blurred; all are lit differently
    and noisy.
    """
    if vae is not None and torch.rand((), generator=rng) < 0.25:
        latents = vae.encode(pixel_values).latent_dist.mean
        spread = float(torch.rand((), generator=rng)) * 0.3 / vae.config.scaling_factor
        latents = latents + spread * torch.randn(latents.shape, generator=rng)
        pixel_values = vae.decode(latents).sample
    if torch.rand((), generator=rng) < 0.3:
        pixel_values = avg_pool2d(pad(pixel_values, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    light = 1 + 0.1 * torch.randn((len(pixel_values), 3, 1, 1), generator=rng)
    return (pixel_values * light + 0.03 * torch.randn(pixel_values.shape, generator=rng)).clamp(-1, 1)


def losses(classifier: Classifier, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Cross-entropy of every head, summed, and the share of right answers of the two main ones."""
    logits = classifier(pixel_values)
    terms = {name: cross_entropy(logits[name].float(), labels[:, k]) for k, name in enumerate(HEADS)}
    right = {
        f"right_{name}": (logits[name].argmax(1) == labels[:, k]).float().mean()
        for k, name in enumerate(("subject", "background"))
    }
    return {"loss": sum(terms.values()), **terms, **right}


def batch(shards: Shards, labels: Tensor, step: int, size: int) -> tuple[Tensor, Tensor]:
    """Pictures [b 3 H W] in [-1, 1] and their labels [b heads]; a function of the step.

    Half of the batches are mirrored, and all are moved a little.
    """
    rng = np.random.default_rng(step)
    chosen = rng.integers(len(labels), size=size)
    pixel_values = small_pixel_values(shards.images[chosen])
    top, left = rng.integers(2 * MAX_SHIFT + 1, size=2)
    height, width = pixel_values.shape[-2:]
    framed = pad(pixel_values, (MAX_SHIFT,) * 4, mode="replicate")
    pixel_values = framed[..., top : top + height, left : left + width]
    return pixel_values.flip(-1) if rng.random() < 0.5 else pixel_values, labels[chosen]


def main() -> None:
    """Train, then write the averaged weights in fp16."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("output/toyworld/data"))
    parser.add_argument(
        "--vae", type=Path, default=None, help="roughen a quarter of the pictures through this VAE"
    )
    parser.add_argument("--out", type=Path, default=Path("output/toyworld/classifier"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=1.5e-3)
    args = parser.parse_args()

    torch.manual_seed(3)
    trainee = Trainee(Classifier(), args.out, learning_rate=args.learning_rate)
    vae = AutoencoderKL.from_pretrained(args.vae).eval() if args.vae else None
    shards = read_shards(args.data)
    labels = torch.tensor([labels_of(record) for record in shards.records])

    def losses_of(step: int) -> dict[str, Tensor]:
        pixel_values, wanted = batch(shards, labels, step, args.batch_size)
        with torch.autocast("cpu", torch.bfloat16):
            pixel_values = roughen(pixel_values, vae, torch.Generator().manual_seed(step)).float()
            return losses(trainee.module, pixel_values, wanted)

    train(trainee, losses_of, steps=args.steps, minutes=args.minutes)
    folder = args.out / "model"
    folder.mkdir(exist_ok=True)
    weights = {
        name: value.half().contiguous()
        for name, value in trainee.averaged().state_dict().items()
        if value.is_floating_point()
    }
    save_file(weights, folder / "model.safetensors")


if __name__ == "__main__":
    main()
