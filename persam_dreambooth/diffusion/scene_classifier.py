"""Which of several scenes a picture's background shows, told by a diffusion model and nothing else.

A model that was taught to draw from prompts denoises a picture best when it is told what the picture shows.
Each scene's prompt is asked about the same noisy latents, and the errors on the background cells are
compared:

    e_s = mean over draws (t, eps) and background cells of |answer(x_t, t, s) - target|^2       scene = argmin
    e_s

Source: Li et al. 2023, Your Diffusion Model is Secretly a Zero-Shot Classifier, eq. 3 and 4 (equal draws for
all classes); here on the background alone.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.edm import edm_question, is_edm
from persam_dreambooth.diffusion.encode_cache import EncodeCache
from persam_dreambooth.diffusion.geometry import Placement
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.networks import Networks, predict
from persam_dreambooth.diffusion.prompts import encode_prompts, with_sizes
from persam_dreambooth.diffusion.targets import question

NUM_DRAWS = 8
"""Noisy versions of each picture; their noise levels are spread evenly over LEVELS."""
LEVELS = (0.3, 0.9)
"""From and to which share of the schedule: with less noise the picture itself says all, with more nothing
does."""
_BATCH_SIZE = 40


@torch.no_grad()
def scene_errors(
    models: Models,
    pictures: Sequence[UInt8[np.ndarray, "H W 3"]],
    masks: Sequence[Bool[np.ndarray, "H W"] | None],
    prompts: Sequence[str],
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_done: Callable[[int], object] = lambda count: None,
) -> Float[np.ndarray, "n s"]:
    """Return how badly each scene's prompt explains each picture's background; the least error is the scene.

    Args:
        models: the model before fine-tuning; UNet and VAE go to `device` for this, and back to the CPU.
        pictures: n pictures, RGB; each is scaled to the model's own size.
        masks: True on each picture's subject; None where there is none.
        prompts: of s scenes.
        num_draws: noisy versions of each picture, the same for all scenes.
        seed: of their noise.
        device: where to compute.
        on_done: called with 1 after each picture.

    Returns:
        Mean squared errors; NaN in a row whose picture has no background.

    Raises:
        UserError: a prompt is too long.
    """
    side = models.default_resolution
    networks = Networks(models.unet.to(device).eval(), (), models.family)
    models.vae.to(device)
    told = encode_prompts(models, list(prompts), list(prompts), device=device, cache=EncodeCache(None))
    whole = Placement((side, side), (side, side), 0, 0, (side, side))
    conditions = with_sizes(models, told.conditions, [whole] * len(prompts)).to(device)
    errors = []
    for pixels, mask in zip(pictures, masks, strict=True):
        latents = moments(models.vae, _pixel_values(pixels, side))[:, : models.vae.config.latent_channels]
        background = _background(mask, (latents.shape[2], latents.shape[3]))
        if background.any():
            squares = _mean_squares(models, networks, conditions, latents.to(device), (num_draws, seed))
            errors.append(squares[:, background].mean(dim=1).numpy())
        else:
            errors.append(np.full(len(prompts), np.nan))
        on_done(1)
    models.unet.to("cpu")
    models.vae.to("cpu")
    return np.stack(errors)


def timesteps_of(num_draws: int, num_train_timesteps: int) -> Int[Tensor, " d"]:
    """Return the noise level of each draw: spread evenly over LEVELS."""
    low, high = LEVELS
    shares = low + (high - low) * (torch.arange(num_draws) + 0.5) / num_draws
    return (shares * num_train_timesteps).long()


def _mean_squares(
    models: Models,
    networks: Networks,
    conditions: Conditions,
    latents: Float[Tensor, "1 c h w"],
    draws: tuple[int, int],
) -> Float[Tensor, "s h w"]:
    """Return each scene's squared error on every latent cell, the mean over the draws, on the CPU."""
    num_draws, seed = draws
    num_scenes, scheduler = len(conditions), models.noise_scheduler
    timesteps = timesteps_of(num_draws, scheduler.config.num_train_timesteps)
    noise = torch.randn(
        num_draws, *latents.shape[1:], generator=randomness.generator(seed, "scene classifier")
    )
    ask = edm_question if is_edm(scheduler) else question
    total = torch.zeros(num_scenes, *latents.shape[2:], dtype=torch.double)
    for pairs in torch.arange(num_draws * num_scenes).split(_BATCH_SIZE):
        draw, scene = pairs // num_scenes, pairs % num_scenes
        asked = ask(
            scheduler,
            latents.expand(len(pairs), -1, -1, -1),
            noise[draw].to(latents.device),
            timesteps[draw].to(latents.device),
        )
        told = conditions.rows(scene.tolist())
        answer = asked.answer(predict(networks, asked.noisy_latents, asked.timesteps, told))
        squares = (answer.double() - asked.target.double()).square().mean(dim=1)
        total.index_add_(0, scene, squares.cpu())
    return total / num_draws


def _pixel_values(pixels: UInt8[np.ndarray, "H W 3"], side: int) -> Float[Tensor, "1 3 side side"]:
    """Return a picture as the VAE takes it, at the model's own size."""
    image = Image.fromarray(pixels)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def _background(mask: Bool[np.ndarray, "H W"] | None, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """Return the latent cells that hold nothing of the subject, nor touch one that does."""
    if mask is None:
        return torch.ones(size, dtype=torch.bool)
    share = interpolate(torch.from_numpy(mask)[None, None].float(), size, mode="area")
    return max_pool2d(share, 3, stride=1, padding=1)[0, 0] == 0
