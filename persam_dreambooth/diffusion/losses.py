"""What training minimises: the squared error over the subject, and what holds the rest of the picture.

    L = l(pred, y; w) + lambda l(pred_class, y_class; 1) + mu l(pred, pred_base; 1 - w)
    l(a, b; w) = mean over examples of  sum_p w(p) |a(p) - b(p)|^2 / (C sum_p w(p))

with w the loss mask, y the noise or the velocity, lambda the prior loss weight, mu the outside prior weight.
Pure functions of tensors.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Normalization = Literal["area", "none"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Which loss: the weights of its terms."""

    prior_loss_weight: float = 1.0
    """Weight of the class pictures' loss (lambda)."""
    outside_prior_weight: float = 0.0
    """Weight of the base model's prediction as target outside the mask (mu)."""
    mask_normalization: Normalization = "area"
    """Whether each example's error is divided by its mask's area or by the whole picture's."""


@runtime_checkable
class NoiseScheduler(Protocol):
    """What is used of a diffusers noise scheduler."""

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the noisy latents."""

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the velocity."""


def prediction_target(
    noise_scheduler: NoiseScheduler,
    latents: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    timesteps: Int[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """Return what the UNet should predict: the noise, or the velocity, as the model was trained to.

    Source: Ho et al. 2020, Denoising Diffusion Probabilistic Models, eq. 14; Salimans and Ho 2022,
    Progressive Distillation, appendix D.
    """
    if noise_scheduler.config.prediction_type == "v_prediction":
        return noise_scheduler.get_velocity(latents, noise, timesteps)
    return noise


def masked_mse(
    model_pred: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    loss_mask: Float[Tensor, "b 1 h w"],
    normalization: Normalization = "area",
) -> Float[Tensor, ""]:
    """Return the mean over examples of the squared error inside the mask.

    With "area" a small subject counts as much as a large one. With a mask of ones both normalisations are, to
    the bit, diffusers' mean squared error. Where the mask is 0 the prediction has no influence, not even one
    that is no number, and its gradient is exactly 0.

    Args:
        model_pred: what the UNet predicted, in latent units.
        target: what it should have predicted.
        loss_mask: weight of each latent cell, 0 to 1; its sum must be positive for every example.
        normalization: "area" divides each example's sum by the channels times its mask's sum; "none" by the
            number of its elements.

    Source: masked loss of kohya-ss/sd-scripts (custom_train_functions.apply_masked_loss), divided by the
    mask's area.
    """
    area = loss_mask.mean(dim=(1, 2, 3), keepdim=True) if normalization == "area" else 1.0
    return _weighted_mse(model_pred, target, loss_mask / area)


def outside_prior(
    model_pred: Float[Tensor, "b c h w"],
    base_pred: Float[Tensor, "b c h w"],
    loss_mask: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """Return how far the prediction outside the mask has drifted from the base model's.

    Normalised by the area outside each example's own mask; an example that is all mask adds 0.

    Source: masked prior preservation of OneTrainer (masked_losses_with_prior), with the guard it lacks.
    """
    outside = 1 - loss_mask
    area = outside.mean(dim=(1, 2, 3), keepdim=True)
    return _weighted_mse(model_pred, base_pred, outside / torch.where(area > 0, area, 1.0))


def _weighted_mse(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over all elements of the weighted squared difference."""
    # Not by multiplication alone: 0 x NaN is NaN, forward and backward.
    difference = torch.where(weights > 0, a.float() - b.float(), 0.0)
    return (weights * difference**2).mean()
