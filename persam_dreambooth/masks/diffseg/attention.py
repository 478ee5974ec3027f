"""One look of a diffusion model at a photo: its attention, from one forward pass of the UNet."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.edm import edm_question
from persam_dreambooth.diffusion.encode_cache import EncodeCache
from persam_dreambooth.diffusion.geometry import Placement
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.diffusion.model_folders import FLAG
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.networks import Networks, predict
from persam_dreambooth.diffusion.prompts import encode_prompts, with_sizes
from persam_dreambooth.diffusion.self_attention_capture import (
    captured_maps,
    looks_at_places,
    looks_at_tokens,
)
from persam_dreambooth.errors import UserError

NOISE_SEED = 0
"""Of the noise that is added where that is asked for: the same photo gives the same segments."""


@dataclass(frozen=True, eq=False)
class Attention:
    """What one forward pass looked at; float32, on the device of the UNet."""

    of_places: dict[int, Float[Tensor, "_n _n"]]
    """By the side of the grid of places: how each looks at each; the finest first, rows sum to 1. Empty where
    tokens were asked for."""
    of_tokens: dict[int, Float[Tensor, "_n t"]]
    """By the same: how each place looks at each token of the prompt; empty where places were asked for."""
    latent_side: int
    """Cells along each side of the latents."""


def check_attention(models: Models, *, at_tokens: bool) -> None:
    """Raise UserError where a UNet has nothing that can be read.

    Args:
        models: whose UNet.
        at_tokens: how places look at a prompt is asked for, as well as how they look at each other.
    """
    lacking = None if looks_at_places(models.unet) else "has no self-attention over places"
    if at_tokens and not looks_at_tokens(models.unet):
        lacking = lacking or "does not look at prompts, so that no word has a place"
    if lacking is not None:
        raise UserError(
            f"{FLAG} {models.name_or_path}: its UNet {lacking}; DiffSeg reads the attention of Stable "
            "Diffusion 1.x, 2.x or XL. Use another model, or PerSAM-F."
        )


def told_of(models: Models, prompt: str, side: int, device: str | torch.device, flag: str) -> Conditions:
    """Return what the UNet is told of a square and a prompt, on the device.

    Args:
        models: whose text encoders.
        prompt: may be empty.
        side: of the square, in pixels.
        device: of the UNet.
        flag: where the prompt comes from, for error texts.

    Raises:
        UserError: the prompt is too long.
    """
    encoded = encode_prompts(models, [prompt], [flag], device=device, cache=EncodeCache(None))
    whole = Placement((side, side), (side, side), 0, 0, (side, side))
    return with_sizes(models, encoded.conditions, [whole]).to(device)


@torch.no_grad()
def clean_latents(
    models: Models, square: UInt8[np.ndarray, "s s 3"], device: str | torch.device
) -> Float[Tensor, "1 c h w"]:
    """Return the mean latents of a square, on the device.

    Args:
        models: its VAE is on the device.
        square: RGB, 0 to 255.
        device: of the UNet.
    """
    pixel_values = torch.tensor(square).permute(2, 0, 1)[None].float() / 127.5 - 1
    return moments(models.vae, pixel_values).chunk(2, dim=1)[0].to(device)


@torch.no_grad()
def look(
    models: Models,
    latents: Float[Tensor, "1 c h w"],
    conditions: Conditions,
    *,
    timestep: int,
    add_noise: bool = False,
    at_tokens: bool = False,
) -> Attention:
    """Return the attention of one forward pass, without guidance and without a step of a sampler.

    Args:
        models: its UNet is on the latents' device.
        latents: of a square.
        conditions: of one example.
        timestep: what the UNet is told of the noise.
        add_noise: whether there is any.
        at_tokens: read how places look at the prompt, instead of at each other, which takes longer.

    Raises:
        UserError: there is no such timestep.
    """
    last = models.noise_scheduler.config.num_train_timesteps - 1
    if timestep > last:
        raise UserError(f"--diffseg_timestep {timestep}: out of range; at most {last} is needed.")
    noisy_latents, told = _asked(models, latents, timestep, add_noise=add_noise)
    with captured_maps(models.unet, with_places=not at_tokens, with_tokens=at_tokens) as captured:
        predict(Networks(models.unet, (), models.family), noisy_latents, told, conditions)
    places, tokens = (
        {side: values[0] for side, values in summed.means().items()}
        for summed in (captured.of_places, captured.of_tokens)
    )
    return Attention(places, tokens, latents.shape[-1])


def _asked(
    models: Models, latents: Float[Tensor, "1 c h w"], timestep: int, *, add_noise: bool
) -> tuple[Float[Tensor, "1 c h w"], Int[Tensor, " 1"] | Float[Tensor, " 1"]]:
    """Return latents and timestep as the UNet takes them."""
    timesteps = torch.tensor([timestep], device=latents.device)
    noise = torch.zeros_like(latents)
    if add_noise:
        generator = randomness.generator(NOISE_SEED, "diffseg")
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    if models.edm:
        question = edm_question(models.noise_scheduler, latents, noise, timesteps)
        return question.noisy_latents, question.timesteps
    if not add_noise:
        # As the reference: not even shrunk as noisy latents are.
        return latents, timesteps
    return models.noise_scheduler.add_noise(latents, noise, timesteps), timesteps
