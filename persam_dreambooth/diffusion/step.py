"""What one forward pass of training minimises, as a formula."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from persam_dreambooth.diffusion.adapters import without_lora
from persam_dreambooth.diffusion.attention_capture import (
    CapturedAttention,
    captured_attention,
    token_attention,
)
from persam_dreambooth.diffusion.attention_loss import attention_mse, token_positions
from persam_dreambooth.diffusion.dataset import Batch
from persam_dreambooth.diffusion.edm import edm_question, is_edm
from persam_dreambooth.diffusion.losses import Objective, masked_mse, outside_prior
from persam_dreambooth.diffusion.networks import Networks, current_conditions, predict
from persam_dreambooth.diffusion.snr import min_snr_weights
from persam_dreambooth.diffusion.targets import NoiseScheduler, Question, question


@dataclass(frozen=True)
class Losses:
    """The loss of a forward pass and its terms, before their weights; a term that is not used is 0."""

    total: Float[Tensor, ""]
    """What is minimised."""
    instance: Float[Tensor, ""]
    """Error on the subject."""
    prior: Float[Tensor, ""]
    """Error on class pictures."""
    outside: Float[Tensor, ""]
    """Distance to the base model outside the masks."""
    attention: Float[Tensor, ""]
    """Distance of the identifier's attention to the masks."""


def diffusion_loss(
    networks: Networks,
    noise_scheduler: NoiseScheduler,
    batch: Batch,
    objective: Objective,
    base: Networks | None = None,
) -> Losses:
    """Return the loss of a batch.

    L = l(pred, y; w, v) + lambda l(pred_class, y_class; 1) + mu l(pred, pred_base; 1 - w, v) + kappa A

    Class pictures are never masked nor weighted by signal to noise, and take no part in the last two terms.

    Args:
        networks: in training.
        noise_scheduler: the forward process; one that measures noise by its standard deviation trains in EDM
            style.
        batch: latents, noise, timesteps, masks.
        objective: lambda, mu, kappa and how v follows from the noise.
        base: the model before training, for the third term: with adapters, the UNet of `networks` itself,
            whose adapters are off for a moment. It has no text encoders: it is told the prompts as they were
            read before training.

    Source: losses.py, targets.py, snr.py, edm.py, attention_loss.py; Ruiz et al. 2022, DreamBooth, eq. 2.
    """
    n = batch.num_instance
    ask = edm_question if is_edm(noise_scheduler) else question
    asked = ask(noise_scheduler, batch.latents, batch.noise, batch.timesteps)
    weights = _instance_weights(noise_scheduler, asked, batch, objective.snr_gamma)
    # Before the forward pass with gradients: adapters are off for a moment.
    base_answer = _base_answer(base, asked, batch)
    with _attention_of(networks, batch, objective) as captured:
        conditions = current_conditions(networks, batch.conditions, batch.input_ids)
        answer = asked.answer(predict(networks, asked.noisy_latents, asked.timesteps, conditions))

    instance_mask, normalization = batch.loss_mask[:n], objective.mask_normalization
    instance = masked_mse(answer[:n], asked.target[:n], instance_mask, normalization, weights)
    prior = outside = attention = torch.zeros_like(instance)
    if len(answer) > n:
        class_weights = None if asked.weights is None else asked.weights[n:]
        ones = torch.ones_like(batch.loss_mask[n:])
        prior = masked_mse(answer[n:], asked.target[n:], ones, weights=class_weights)
    if base_answer is not None:
        outside = outside_prior(answer[:n], base_answer, instance_mask, normalization, weights)
    if captured is not None:
        positions = token_positions(batch.input_ids[0][:n], objective.identifier_ids)
        attention = attention_mse(token_attention(captured, positions), batch.subject_share[:n], positions)
    total = (
        instance
        + objective.prior_loss_weight * prior
        + objective.outside_prior_weight * outside
        + objective.attention_mask_weight * attention
    )
    return Losses(total, instance, prior, outside, attention)


def _instance_weights(
    noise_scheduler: NoiseScheduler, asked: Question, batch: Batch, snr_gamma: float | None
) -> Float[Tensor, " n"] | None:
    """Return the weight of each photo's error by its own noise, or None where all count alike.

    Raises:
        ValueError: signal to noise is to weigh errors of clean latents, which EDM's own weights do.
    """
    if snr_gamma is None:
        return None if asked.weights is None else asked.weights[: batch.num_instance]
    if is_edm(noise_scheduler):
        raise ValueError("snr_gamma is not defined in EDM style")
    return min_snr_weights(noise_scheduler, batch.timesteps[: batch.num_instance], snr_gamma)


def _attention_of(
    networks: Networks, batch: Batch, objective: Objective
) -> AbstractContextManager[CapturedAttention | None]:
    """Return what reads the attention of the forward pass made inside it, if that is wanted."""
    if objective.attention_mask_weight == 0:
        return nullcontext()
    height, width = batch.latents.shape[-2:]
    return captured_attention(networks.unet, (height, width))


@torch.no_grad()
def _base_answer(base: Networks | None, asked: Question, batch: Batch) -> Tensor | None:
    """Return what the model answered of the photos before training, or None without one."""
    if base is None:
        return None
    n = batch.num_instance
    with without_lora(base):
        model_pred = predict(
            base, asked.noisy_latents[:n], asked.timesteps[:n], batch.conditions.rows(slice(n))
        )
    return asked.answer(model_pred)
