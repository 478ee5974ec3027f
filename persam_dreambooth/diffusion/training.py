"""The training loop: a generator of steps, each the gradient of one formula.

    state = start(models, examples, settings, objective, accelerator=accelerator, max_train_steps=400)
    for progress in train(state): ...
    networks = finish(state)

Logging, checkpoints and pictures are lines in the caller's loop.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from persam_dreambooth.diffusion import memory, randomness, zero
from persam_dreambooth.diffusion.acceleration import (
    accelerate_networks,
    build_accelerator,
    cast_weights,
    weight_dtype,
)
from persam_dreambooth.diffusion.dataset import Batch, Examples, batch_at
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.optimizers import (
    build_optimizer,
    parameter_groups,
    set_learning_rate,
    trained,
)
from persam_dreambooth.diffusion.schedules import learning_rates
from persam_dreambooth.diffusion.step import Losses, diffusion_loss
from persam_dreambooth.diffusion.trained_networks import base_of, choose_trained, leave_out_unreached
from persam_dreambooth.diffusion.training_state import Progress, TrainingState, examples_per_step
from persam_dreambooth.errors import UserError
from persam_dreambooth.settings import TrainConfig

__all__ = [
    "Progress",
    "TrainingState",
    "build_accelerator",
    "drawing",
    "finish",
    "memory_of",
    "start",
    "train",
]

_TERMS = tuple(item.name for item in dataclasses.fields(Losses))


def start(
    models: Models,
    examples: Examples,
    settings: TrainConfig,
    objective: Objective,
    *,
    accelerator: Accelerator,
    max_train_steps: int,
    caption_dropout: float = 0.0,
) -> TrainingState:
    """Return a training before its first step. What it does not need leaves the device.

    Args:
        models: UNet and text encoders are trained in place: load others for every arm of a comparison.
        examples: what to train on.
        settings: batch, optimizer, adapters; rates and weight decays that depend on the model are filled in.
        objective: the weights of the loss.
        accelerator: from `build_accelerator`.
        max_train_steps: optimizer steps of the whole run.
        caption_dropout: share of the subject's examples whose prompt is dropped.

    Raises:
        UserError: a layer, a package or a device that a setting needs is not there.
    """
    text_encoders = models.text_encoders if settings.train_text_encoder else ()
    networks = Networks(models.unet, text_encoders, models.family)
    base = base_of(networks, examples, settings, objective, accelerator)
    choose_trained(networks, settings, examples.seed)
    for module in networks.modules:
        cast_weights(module.train(), weight_dtype(accelerator))
        module.to(accelerator.device)
    with accelerator.autocast(), zero.autocast(accelerator):
        leave_out_unreached(networks, examples)
    accelerate_networks(networks, settings)
    resting = tuple(part for part in (*models.text_encoders, models.vae) if part not in networks.modules)
    _to_cpu(resting)
    per_step = examples_per_step(settings, accelerator)
    groups = parameter_groups(networks, settings, examples_per_step=per_step)
    rates = tuple(group["lr"] for group in groups)
    networks, optimizer = zero.prepare(accelerator, networks, build_optimizer(groups, settings), settings)
    return TrainingState(
        accelerator=accelerator,
        networks=networks,
        base=base,
        resting=resting,
        optimizer=optimizer,
        learning_rates=rates,
        schedule=learning_rates(
            settings.lr_scheduler,
            1.0,
            warmup_steps=settings.lr_warmup_steps,
            num_steps=max_train_steps,
            num_cycles=settings.lr_num_cycles,
            power=settings.lr_power,
        ),
        noise_scheduler=models.noise_scheduler,
        examples=examples,
        objective=objective,
        settings=settings,
        max_train_steps=max_train_steps,
        caption_dropout=caption_dropout,
    )


def train(state: TrainingState) -> Iterator[Progress]:
    """Take the remaining steps, one each time the caller asks for the next.

    Raises:
        UserError: the loss or the gradient is no number any more, and the weights are those of the step
            before; or memory does not suffice.
    """
    while state.step < state.max_train_steps:
        began = time.perf_counter()
        factor = state.schedule(state.step)
        try:
            losses, grad_norm = _optimizer_step(state, factor)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            raise memory.out_of_memory(state.step + 1, error, _contents(state)) from error
        state.step += 1
        yield Progress(
            step=state.step,
            loss=losses["total"],
            **{f"{name}_loss": value for name, value in losses.items() if name != "total"},
            lr=state.learning_rates[0] * factor,
            grad_norm=grad_norm,
            seconds=time.perf_counter() - began,
        )


def finish(state: TrainingState) -> Networks:
    """Return the trained networks, the very ones of the models at the start, ready to draw and to save."""
    for module in state.networks.modules:
        bare = state.accelerator.unwrap_model(module, keep_fp32_wrapper=False)
        cast_weights(bare.requires_grad_(False).eval(), torch.float32)
    return state.trained


@contextmanager
def drawing(state: TrainingState) -> Iterator[None]:
    """Let the networks in training draw inside; afterwards training goes on as if they had not."""
    for module in state.networks.modules:
        module.eval()
    try:
        yield
    finally:
        for module in state.networks.modules:
            module.train()
        _to_cpu(state.resting)


def memory_of(state: TrainingState) -> memory.MemoryEstimate:
    """Return what the training will take on the device of each process."""
    return memory.estimate(_contents(state))


def _optimizer_step(state: TrainingState, factor: float) -> tuple[dict[str, float], float]:
    """Take one step; return the loss and its terms, and the gradient's norm."""
    accelerator, optimizer = state.accelerator, state.optimizer
    means, names = _gradient(state)
    if zero.uses_zero(accelerator):
        losses = _losses(state, means.tolist(), names)
        _set_rates(state, factor)
        grad_norm = zero.step(accelerator).item()
        _check_number(state, "gradient", grad_norm, names)
        return losses, grad_norm
    weights = [weight for module in state.networks.modules for weight in trained(module)]
    norm = accelerator.clip_grad_norm_(weights, state.settings.max_grad_norm)
    # Read together: each reading waits for the device.
    *values, grad_norm = torch.cat([means, norm.detach().reshape(1)]).tolist()
    losses = _losses(state, values, names)
    if accelerator.scaler is None:
        # With fp16 a gradient out of range is expected now and then: the scaler leaves that step out.
        _check_number(state, "gradient", grad_norm, names)
    _set_rates(state, factor)
    optimizer.step()
    optimizer.zero_grad()
    return losses, grad_norm


def _gradient(state: TrainingState) -> tuple[Float[Tensor, " terms"], list[str]]:
    """Leave a step's gradient in the weights; return the mean of each term, and this process's photos."""
    accelerator = state.accelerator
    passes = state.settings.gradient_accumulation_steps
    sums, names = torch.zeros(len(_TERMS), device=accelerator.device), []
    for number in range(passes):
        batch, is_last = _batch(state, number).to(accelerator.device), number == passes - 1
        names += batch.names
        with ExitStack() as stack:
            # What draws inside the networks (dropout) draws the same in a run that was stopped in between.
            stack.enter_context(
                randomness.seeded(state.examples.seed, "dropout", state.step, _first_example(state, number))
            )
            # Gradients are summed over processes once, in the last pass.
            for module in () if is_last else state.networks.modules:
                stack.enter_context(accelerator.no_sync(module))
            with zero.autocast(accelerator):
                terms = diffusion_loss(
                    state.networks, state.noise_scheduler, batch, state.objective, state.base
                )
            # The mean over passes of equal size is the mean over all examples.
            zero.backward(accelerator, terms.total / passes, is_last=is_last)
        sums += torch.stack([getattr(terms, name) for name in _TERMS]).detach()
    return accelerator.reduce(sums / passes, reduction="mean"), names


def _losses(state: TrainingState, values: list[float], names: list[str]) -> dict[str, float]:
    """Return the loss and its terms by name, once it is a number."""
    losses = dict(zip(_TERMS, values, strict=True))
    _check_number(state, "loss", losses["total"], names)
    return losses


def _set_rates(state: TrainingState, factor: float) -> None:
    """Set the learning rates of the step to come."""
    for group, rate in zip(state.optimizer.param_groups, state.learning_rates, strict=True):
        set_learning_rate(group, rate * factor)


def _batch(state: TrainingState, number: int) -> Batch:
    """Return this process's examples of one of the passes of the step to come."""
    first = _first_example(state, number)
    return batch_at(
        state.examples,
        state.step,
        range(first, first + state.settings.train_batch_size),
        examples_per_step=state.examples_per_step,
        num_train_timesteps=state.noise_scheduler.config.num_train_timesteps,
        noise_offset=state.settings.noise_shift,
        caption_dropout=state.caption_dropout,
    )


def _first_example(state: TrainingState, number: int) -> int:
    """Return the number within the step of the first example of this process's pass."""
    passes_before = number * state.accelerator.num_processes + state.accelerator.process_index
    return passes_before * state.settings.train_batch_size


def _check_number(state: TrainingState, what: str, value: float, names: list[str]) -> None:
    """Raise UserError where training has gone out of the numbers."""
    if not math.isfinite(value):
        raise UserError(
            f"step {state.step + 1}: the {what} is {value} (photos {', '.join(dict.fromkeys(names))}); "
            "a number is needed. The last checkpoint is kept; try a lower --learning_rate than "
            f"{state.settings.learning_rate}, or --mixed_precision no."
        )


def _contents(state: TrainingState) -> memory.Contents:
    """Return what a step takes memory for."""
    return memory.Contents(state.trained, state.base, state.resting, _batch(state, 0), state.settings)


def _to_cpu(modules: tuple[nn.Module, ...]) -> None:
    """Take modules off the device."""
    for module in modules:
        module.to("cpu")
