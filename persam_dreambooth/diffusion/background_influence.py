"""How much of a training's update comes from the background: the gradient, with it and with another one.

    g = mean over noise levels of |grad L(photos) - grad L(same subjects elsewhere)| / |grad L(photos)|

on the same noise, prompts, crops and masks. What a step is shown of both is compared first: where that is
the same to the bit, as with a background that is replaced before the VAE, so are the gradients, and g is 0
without being computed.

Source: sensitivity of the update to its input; the graded form of an interference test.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.dataset import Batch, Examples, batch_at
from persam_dreambooth.diffusion.evidence import relative_distance
from persam_dreambooth.diffusion.optimizers import trained
from persam_dreambooth.diffusion.step import diffusion_loss
from persam_dreambooth.diffusion.training_state import TrainingState

NUM_LEVELS = 8
"""Noise levels, at even distances over the whole schedule."""

_SCALE = 1024.0
"""Of the loss in float16, whose small gradients would be 0 otherwise."""


@dataclass(frozen=True)
class Influence:
    """Of the background on the update, as a share of the gradient's length."""

    by_timestep: dict[int, float]
    """At each noise level."""

    @property
    def mean(self) -> float:
        """Over the noise levels; 0 is no influence at all, to the bit."""
        return sum(self.by_timestep.values()) / len(self.by_timestep)


def background_influence(state: TrainingState, swapped: Examples) -> Influence:
    """Return how much the gradient of a training's loss changes where backgrounds do.

    The training is as it was afterwards: no weight moves, and nothing is drawn from a stream.

    Args:
        state: between two steps; the networks are as wrapped for one process.
        swapped: its examples, prepared in the same way from the same subjects in front of other places.
    """
    schedule = state.noise_scheduler.config.num_train_timesteps
    found = {}
    for number in range(NUM_LEVELS):
        timestep = (2 * number + 1) * schedule // (2 * NUM_LEVELS)
        one, other = (_batch(state, examples, number, timestep) for examples in (state.examples, swapped))
        found[timestep] = 0.0 if same(one, other) else _distance(state, one, other)
    return Influence(found)


def same(one: Batch, other: Batch) -> bool:
    """Return whether two batches show a training the same, to the bit."""
    pairs = (
        (one.latents, other.latents),
        (one.noise, other.noise),
        (one.timesteps, other.timesteps),
        (one.loss_mask, other.loss_mask),
        (one.subject_share, other.subject_share),
        (one.conditions.prompt_embeds, other.conditions.prompt_embeds),
    )
    return all(torch.equal(a, b) for a, b in pairs)


def gradient(state: TrainingState, batch: Batch) -> tuple[float, list[Float[Tensor, "..."]]]:
    """Return the loss of a batch and its gradient by every trained weight, on the device.

    Dropout inside the networks draws the same for every batch. Nothing of the training changes.
    """
    networks = state.trained
    weights = [weight for module in networks.modules for weight in trained(module)]
    with randomness.seeded(state.examples.seed, "background influence", device=state.accelerator.device):
        loss = diffusion_loss(
            networks,
            state.noise_scheduler,
            batch.to(state.accelerator.device),
            state.objective,
            state.base,
        ).total
        # The training's own scaler begins with a factor that is meant to overflow at first.
        factor = 1.0 if state.accelerator.scaler is None else _SCALE
        (factor * loss).backward()
    found = [torch.zeros_like(weight) if weight.grad is None else weight.grad / factor for weight in weights]
    for weight in weights:
        weight.grad = None
    return float(loss.detach()), found


def _distance(state: TrainingState, one: Batch, other: Batch) -> float:
    """Return how far apart the gradients of two batches are, as a share of the first's length."""
    return relative_distance(gradient(state, one)[1], gradient(state, other)[1])


def _batch(state: TrainingState, examples: Examples, number: int, timestep: int) -> Batch:
    """Return what one of the first steps would be shown, all at one noise level."""
    batch = batch_at(
        examples,
        number,
        range(state.settings.train_batch_size),
        examples_per_step=state.examples_per_step,
        num_train_timesteps=state.noise_scheduler.config.num_train_timesteps,
        noise_offset=state.settings.noise_shift,
        caption_dropout=state.caption_dropout,
    )
    return replace(batch, timesteps=torch.full_like(batch.timesteps, timestep))
