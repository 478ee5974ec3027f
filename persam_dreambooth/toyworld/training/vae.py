"""Train the toy world's AutoencoderKL: 64 px pictures to 16 x 16 latents of 4 channels.

    python -m persam_dreambooth.toyworld.training.vae --data output/toyworld/data --out output/toyworld/vae
    python -m persam_dreambooth.toyworld.training.vae ... --decoder_only

The second makes the decoder sharper and leaves the latents as they are. The loss is L1 at three scales, L1 of
the differences between neighbouring pixels (edges), and a small KL term. The subject's pixels count
`SUBJECT_WEIGHT` times.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from persam_dreambooth.toyworld.training.data import PICTURE_SIZE, Shards, read_shards, small_pixel_values
from persam_dreambooth.toyworld.training.loop import Trainee, train

SUBJECT_WEIGHT = 2.0
KL_WEIGHT = 2e-6
SCALES = (1, 2, 4)
RELOAD_STEPS = 400
"""Steps between two looks for new shards while the world is still being rendered."""


def build_vae() -> AutoencoderKL:
    """The untrained model: 3 levels, factor 4, about 0.8 million parameters."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=PICTURE_SIZE,
    )


def reconstruction_losses(reconstruction: Tensor, pixel_values: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """L1 of the pixels at several scales and of their differences.

    Args:
        reconstruction: [b 3 H W].
        pixel_values: [b 3 H W] in [-1, 1].
        weight: [b 1 H W], how much a pixel counts.
    """
    error = (reconstruction - pixel_values) * weight
    pixels = sum(avg_pool2d(error, scale).abs().mean() for scale in SCALES) / len(SCALES)
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return {"pixels": pixels, "edges": edges}


def batch(shards: Shards, step: int, size: int) -> tuple[Tensor, Tensor]:
    """Pictures [b 3 H W] in [-1, 1] and the weights of their pixels [b 1 H W]; a function of the step.

    Half of the batches are mirrored.
    """
    rng = np.random.default_rng(step)
    chosen = rng.integers(len(shards.records), size=size)
    pixels = small_pixel_values(shards.images[chosen])
    weight = torch.ones(size, 1, *shards.owners.shape[1:])
    for row, index in enumerate(chosen):
        own = [
            number for number, layer in enumerate(shards.records[index]["layers"], 1) if layer["of_subject"]
        ]
        weight[row, 0][torch.from_numpy(np.isin(shards.owners[index], own))] = SUBJECT_WEIGHT
    weight = adaptive_avg_pool2d(weight, PICTURE_SIZE)
    if rng.random() < 0.5:
        pixels, weight = pixels.flip(-1), weight.flip(-1)
    return pixels, weight


def losses(
    vae: AutoencoderKL, pixel_values: Tensor, weight: Tensor, *, decoder_only: bool
) -> dict[str, Tensor]:
    """The training losses by name; "loss" is their weighted sum."""
    with torch.autocast(pixel_values.device.type, torch.bfloat16):
        with torch.set_grad_enabled(not decoder_only):
            posterior = vae.encode(pixel_values).latent_dist
        reconstruction = vae.decode(posterior.sample().to(pixel_values.dtype)).sample
    parts = reconstruction_losses(reconstruction.float(), pixel_values, weight)
    kl = posterior.kl().float().mean()
    total = parts["pixels"] + 0.5 * parts["edges"] + (0 if decoder_only else KL_WEIGHT * kl)
    return {"loss": total, **parts, "kl": kl}


@torch.no_grad()
def scaling_factor(vae: AutoencoderKL, shards: Shards) -> float:
    """1 over the latents' standard deviation: scaled, they have unit variance (as in latent diffusion)."""
    latents = torch.cat(
        [vae.encode(batch(shards, -step % 2**31, 32)[0]).latent_dist.mean for step in range(1, 17)]
    )
    return round(1 / float(latents.std()), 5)


def main() -> None:
    """Train, then export the averaged weights in fp32 as a diffusers folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("output/toyworld/data"))
    parser.add_argument("--out", type=Path, default=Path("output/toyworld/vae"))
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--decoder_only", action="store_true")
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainee = Trainee(build_vae().to(device), args.out, learning_rate=args.learning_rate)
    exported = AutoencoderKL.from_pretrained(args.out / "model") if args.decoder_only else None
    if exported is not None:
        trainee.start_from(exported.state_dict())
    shards = read_shards(args.data)

    def losses_of(step: int) -> dict[str, Tensor]:
        nonlocal shards
        if step % RELOAD_STEPS == 0:
            shards = read_shards(args.data)
        pixel_values, weight = (value.to(device) for value in batch(shards, step, args.batch_size))
        return losses(trainee.module, pixel_values, weight, decoder_only=args.decoder_only)

    train(trainee, losses_of, steps=args.steps, minutes=args.minutes)
    vae = trainee.averaged().cpu()
    scale = scaling_factor(vae, shards) if exported is None else exported.config.scaling_factor
    vae.register_to_config(scaling_factor=scale)
    vae.save_pretrained(args.out / "model")


if __name__ == "__main__":
    main()
