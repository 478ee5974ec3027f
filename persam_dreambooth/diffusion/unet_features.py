"""What a UNet knows of a picture's parts: what one of its up-blocks says while it looks at the noisy picture.

To take the noise away, a diffusion model has to know what is where. Read in the middle of its way up, at
medium noise, places that correspond have vectors that are near, across light, pose and style.

Source: Tang et al. 2023, Emergent Correspondence from Image Diffusion (DIFT), section 4 and appendix: Stable
Diffusion with t = 261, up-block 1, and the mean over several draws of noise.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.edm import edm_question, is_edm
from persam_dreambooth.diffusion.encode_cache import EncodeCache
from persam_dreambooth.diffusion.families import time_ids
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.networks import Networks, predict
from persam_dreambooth.diffusion.prompts import encode_no_prompt
from persam_dreambooth.diffusion.randomness import generator
from persam_dreambooth.diffusion.targets import question

NOISE_SHARE = 0.261
"""Where on the noise schedule, 0 (no noise) to 1: step 261 of 1000."""
UP_BLOCK = 1
"""Which block of the way up, from 0; a UNet with fewer is read at its last."""
NUM_DRAWS = 4
"""Draws of noise that are averaged. The paper takes 8; the last few change little."""
SEED = 0


@dataclass(frozen=True, eq=False)
class UNetReader:
    """A model that is read, not drawn with."""

    models: Models
    device: torch.device
    told: Conditions
    """What the UNet is told instead of a prompt."""
    up_block: int
    num_features: int
    """Channels of what the up-block returns."""
    stride: int
    """Pixels of the picture to a place of it, along each side."""


def unet_reader(models: Models, device: torch.device | str = "cpu", up_block: int = UP_BLOCK) -> UNetReader:
    """Return the reader of a model's UNet.

    Args:
        models: of any family; VAE and UNet move to the device and stay there.
        device: where to read.
        up_block: which block of the way up.
    """
    blocks = models.unet.up_blocks
    up_block = min(up_block, len(blocks) - 1)
    doublings = sum(block.upsamplers is not None for block in blocks)
    done = sum(block.upsamplers is not None for block in blocks[: up_block + 1])
    told = encode_no_prompt(models, device=device, cache=EncodeCache(None)).conditions
    models.vae.to(device)
    models.unet.to(device)
    return UNetReader(
        models=models,
        device=torch.device(device),
        told=told.to(device),
        up_block=up_block,
        num_features=models.unet.config.block_out_channels[::-1][up_block],
        stride=models.vae_scale_factor * 2 ** (doublings - done),
    )


@torch.no_grad()
def unet_features(
    reader: UNetReader,
    pixel_values: Float[Tensor, "1 3 H W"],
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = SEED,
) -> Float[Tensor, "c h w"]:
    """Return what the UNet's up-block says of each place of a picture, on the CPU.

    The latents are the mean of what the VAE says, and the noise follows from the seed and its own size: equal
    pictures get equal features.

    Args:
        reader: from `unet_reader`.
        pixel_values: -1 to 1; both sides whole latent cells.
        num_draws: of noise; all at once.
        seed: of the noise.
    """
    models = reader.models
    latents = moments(models.vae, pixel_values).chunk(2, dim=1)[0].expand(num_draws, -1, -1, -1)
    noise = torch.stack(
        [
            torch.randn(latents.shape[1:], generator=generator("unet features", seed, draw))
            for draw in range(num_draws)
        ]
    )
    levels = models.noise_scheduler.config.num_train_timesteps
    timesteps = torch.full((num_draws,), min(round(NOISE_SHARE * levels), levels - 1))
    ask = edm_question if is_edm(models.noise_scheduler) else question
    asked = ask(models.noise_scheduler, latents, noise, timesteps)
    networks = Networks(models.unet, (), models.family)
    handle = models.unet.up_blocks[reader.up_block].register_forward_hook(_stop)
    try:
        predict(
            networks,
            asked.noisy_latents.to(reader.device),
            asked.timesteps.to(reader.device),
            _conditions(reader, pixel_values).expand(num_draws),
        )
    except _ReachedError as reached:
        return reached.output.mean(dim=0).float().cpu()
    finally:
        handle.remove()
    raise RuntimeError("the UNet has not run the up-block that is read")


class _ReachedError(Exception):
    """The block that is read has run: what comes after it would be computed for nothing."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


def _stop(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
    """Leave the forward pass with a block's output."""
    raise _ReachedError(output)


def _conditions(reader: UNetReader, pixel_values: Float[Tensor, "1 3 H W"]) -> Conditions:
    """Return what the UNet is told of a picture that is neither resized nor cropped."""
    height, width = pixel_values.shape[-2:]
    sizes = time_ids(reader.models.family, (height, width), (0, 0), (height, width))
    told = reader.told
    if sizes is None:
        return told
    return Conditions(told.prompt_embeds, told.pooled_prompt_embeds, sizes.to(reader.device))
