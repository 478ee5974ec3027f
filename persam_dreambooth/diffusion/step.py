"""What one forward pass of training minimises, as a formula."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from persam_dreambooth.diffusion.adapters import has_lora, without_lora
from persam_dreambooth.diffusion.dataset import Batch
from persam_dreambooth.diffusion.losses import (
    NoiseScheduler,
    Objective,
    masked_mse,
    outside_prior,
    prediction_target,
)


@dataclass(frozen=True)
class Losses:
    """The loss of a forward pass and its terms, before their weights; a term that is not used is 0."""

    total: Float[Tensor, ""]
    instance: Float[Tensor, ""]
    prior: Float[Tensor, ""]
    outside: Float[Tensor, ""]


def diffusion_loss(
    unet: nn.Module,
    noise_scheduler: NoiseScheduler,
    batch: Batch,
    objective: Objective,
    base_unet: nn.Module | None = None,
) -> Losses:
    """Return the loss of a batch.

    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps
    L = l(pred, y; w) + lambda l(pred_class, y_class; 1) + mu l(pred, pred_base; 1 - w)

    Args:
        unet: the model in training.
        noise_scheduler: the forward process.
        batch: latents, noise, timesteps, masks.
        objective: lambda and mu.
        base_unet: the model before training (`unet` itself, where that carries adapters), for the last term.

    Source: losses.py; Ho et al. 2020, eq. 4 and 14; Ruiz et al. 2022, DreamBooth, eq. 2.
    """
    n = batch.num_instance
    noisy_latents = noise_scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    target = prediction_target(noise_scheduler, batch.latents, batch.noise, batch.timesteps)
    # Before the forward pass with gradients: adapters are off for a moment.
    base_pred = _base_prediction(base_unet, noisy_latents[:n], batch.timesteps[:n], batch.prompt_embeds[:n])
    model_pred = unet(noisy_latents, batch.timesteps, batch.prompt_embeds).sample

    instance = masked_mse(model_pred[:n], target[:n], batch.loss_mask[:n], objective.mask_normalization)
    zero = torch.zeros_like(instance)
    prior = masked_mse(model_pred[n:], target[n:], batch.loss_mask[n:]) if len(target) > n else zero
    outside = zero if base_pred is None else outside_prior(model_pred[:n], base_pred, batch.loss_mask[:n])
    total = instance + objective.prior_loss_weight * prior + objective.outside_prior_weight * outside
    return Losses(total, instance, prior, outside)


@torch.no_grad()
def _base_prediction(
    base_unet: nn.Module | None, noisy_latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor
) -> Tensor | None:
    """Return what the model predicted before training, or None without one."""
    if base_unet is None:
        return None
    with without_lora(base_unet) if has_lora(base_unet) else nullcontext():
        return base_unet(noisy_latents, timesteps, prompt_embeds).sample
