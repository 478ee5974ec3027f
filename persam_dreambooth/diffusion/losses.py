"""What training minimises: the squared error over the subject, and what holds the rest of the picture.

    L = l(pred, y; w, v) + lambda l(pred_class, y_class; 1) + mu l(pred, pred_base; 1 - w, v) + kappa A
    l(a, b; w, v) = mean over examples of  v sum_p w(p) |a(p) - b(p)|^2 / (C sum_p w(p))

with w the loss mask, y the target (targets.py), v an example's weight by its noise (snr.py, edm.py), A the
attention loss (attention_loss.py), lambda, mu and kappa the weights of the terms. Pure functions of tensors.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Normalization = Literal["area", "none"]

# The share of a picture below which nothing of it is outside a mask: what the mean of a cell full of ones can
# fall short of 1 in float32, and a tenth of one pixel of 1024 x 1024.
_NOTHING = 1e-7


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Which loss: its terms and their weights."""

    prior_loss_weight: float = 1.0
    """Weight of the class pictures' loss (lambda)."""
    outside_prior_weight: float = 0.0
    """Weight of the base model's prediction as target outside the mask (mu)."""
    mask_normalization: Normalization = "area"
    """Whether each example's error is divided by its mask's area or by the whole picture's."""
    snr_gamma: float | None = None
    """Signal-to-noise ratio from which on an example counts no more; None weighs all alike."""
    attention_mask_weight: float = 0.0
    """Weight of the identifier's attention beside the mask (kappa)."""
    identifier_ids: tuple[tuple[int, ...], ...] = ()
    """Token numbers of each word of the identifier, for the attention loss."""


def masked_mse(
    model_pred: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    loss_mask: Float[Tensor, "b 1 h w"],
    normalization: Normalization = "area",
    weights: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean over examples of the squared error inside the mask.

    With "area" a small subject counts as much as a large one. With a mask of ones both normalisations are, to
    the bit, diffusers' mean squared error, with `weights` its SNR-weighted one. Where the mask is 0 the
    prediction has no influence, not even one that is no number, and its gradient is exactly 0.

    Args:
        model_pred: what the UNet predicted, in latent units.
        target: what it should have predicted.
        loss_mask: weight of each latent cell, 0 to 1; its sum must be positive for every example.
        normalization: "area" divides each example's sum by the channels times its mask's sum; "none" by the
            number of its elements.
        weights: of each example's error; None weighs all alike.

    Source: masked loss of kohya-ss/sd-scripts (custom_train_functions.apply_masked_loss), divided by the
    mask's area.
    """
    area = loss_mask.mean(dim=(1, 2, 3), keepdim=True) if normalization == "area" else 1.0
    return _weighted_mse(model_pred, target, loss_mask / area, weights)


def outside_prior(
    model_pred: Float[Tensor, "b c h w"],
    base_pred: Float[Tensor, "b c h w"],
    loss_mask: Float[Tensor, "b 1 h w"],
    normalization: Normalization = "area",
    weights: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Return how far the prediction outside the mask has drifted from the base model's.

    As `masked_mse` with 1 - loss_mask: each example by its own mask. An example that is all mask adds 0.

    Source: masked prior preservation of OneTrainer (masked_losses_with_prior), with the guard it lacks.
    """
    outside = 1 - loss_mask
    if normalization == "none":
        return _weighted_mse(model_pred, base_pred, outside, weights)
    area = outside.mean(dim=(1, 2, 3), keepdim=True)
    share = torch.where(area > _NOTHING, outside / area.clamp_min(_NOTHING), 0.0)
    return _weighted_mse(model_pred, base_pred, share, weights)


def _weighted_mse(a: Tensor, b: Tensor, cells: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over all elements of the squared difference, weighted by cell and by example."""
    # Not by multiplication alone: 0 x NaN is NaN, forward and backward.
    difference = torch.where(cells > 0, a.float() - b.float(), 0.0)
    error = cells * difference**2
    return error.mean() if weights is None else (error.mean(dim=(1, 2, 3)) * weights).mean()
