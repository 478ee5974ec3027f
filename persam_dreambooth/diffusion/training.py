"""The training loop: a generator of steps, each the gradient of one formula.

    state = start(models, examples, settings, objective, accelerator=accelerator, max_train_steps=400)
    for progress in train(state): ...
    unet = finish(state)

Logging, checkpoints and pictures are lines in the caller's loop.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from persam_dreambooth.diffusion.adapters import add_lora, frozen_copy
from persam_dreambooth.diffusion.dataset import Examples, batch_at
from persam_dreambooth.diffusion.losses import NoiseScheduler, Objective
from persam_dreambooth.diffusion.models import Models, learning_rates
from persam_dreambooth.diffusion.step import diffusion_loss
from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.settings import TrainConfig

FALLING_SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial")
"""Learning rates that depend on how long the whole run is."""

_HOW = (
    "max_train_steps",
    "num_train_epochs",
    "train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
)
"""Settings that say how a step is computed or how many there are, not what it computes."""


@dataclass(frozen=True)
class Progress:
    """One step, as it is logged."""

    step: int
    """Steps done, this one included."""
    loss: float
    """What was minimised."""
    instance_loss: float
    """Error on the subject."""
    prior_loss: float
    """Error on class pictures; 0 without."""
    outside_loss: float
    """Distance to the base model outside the masks; 0 where it is not held."""
    lr: float
    """Learning rate of this step."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    seconds: float
    """Wall time of this step."""


@dataclass(eq=False)
class TrainingState:
    """A training between two steps. Only `step` and what the modules hold inside change."""

    accelerator: Accelerator
    unet: nn.Module
    """Ready for several processes and mixed precision."""
    base_unet: nn.Module | None
    """Predicts as before training, for the prior outside the mask; None where that is not used."""
    optimizer: AcceleratedOptimizer
    noise_scheduler: NoiseScheduler
    examples: Examples
    objective: Objective
    settings: TrainConfig
    learning_rate: Callable[[int], float]
    """By steps done."""
    max_train_steps: int
    step: int = 0
    """Optimizer steps done."""

    @property
    def examples_per_step(self) -> int:
        """Examples of the subject in an optimizer step, over all processes."""
        passes = self.settings.gradient_accumulation_steps * self.accelerator.num_processes
        return self.settings.train_batch_size * passes

    @property
    def what_matters(self) -> dict[str, object]:
        """Everything that the weights after a given step follow from, as values that JSON holds."""
        values = dataclasses.asdict(self.settings)
        values = {name: value for name, value in values.items() if name not in _HOW}
        if self.settings.lr_scheduler in FALLING_SCHEDULES:
            values["max_train_steps"] = self.max_train_steps
        class_images = self.examples.class_images
        return {
            **values,
            **dataclasses.asdict(self.objective),
            "seed": self.examples.seed,
            "mixed_precision": self.accelerator.mixed_precision,
            "examples_per_step": self.examples_per_step,
            "instance_data": self.examples.instance.digest,
            "class_data": class_images.digest if class_images is not None else None,
        }


def build_accelerator(mixed_precision: str | None) -> Accelerator:
    """Return accelerate's view of device, precision and processes.

    Args:
        mixed_precision: "no", "fp16" or "bf16"; None is what accelerate's own settings say.

    Raises:
        UserError: the precision does not suit the device.
    """
    try:
        return Accelerator(mixed_precision=mixed_precision)
    except ValueError as error:
        raise UserError(f"--mixed_precision {mixed_precision}: {one_line(error)} Use bf16 or no.") from error


def start(
    models: Models,
    examples: Examples,
    settings: TrainConfig,
    objective: Objective,
    *,
    accelerator: Accelerator,
    max_train_steps: int,
) -> TrainingState:
    """Return a training before its first step.

    Args:
        models: the UNet is trained in place: load another for every arm of a comparison.
        examples: what to train on.
        settings: batch, optimizer, adapters.
        objective: the weights of the loss.
        accelerator: from `build_accelerator`.
        max_train_steps: optimizer steps of the whole run.
    """
    unet = models.unet
    holds_outside = objective.outside_prior_weight > 0 and bool((examples.instance.loss_mask < 1).any())
    base_unet = frozen_copy(unet).to(accelerator.device) if holds_outside and not settings.use_lora else None
    if settings.use_lora:
        add_lora(unet, rank=settings.rank, alpha=settings.lora_alpha, seed=examples.seed)
        base_unet = unet if holds_outside else None
    else:
        unet.requires_grad_(True)
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(
        [parameter for parameter in unet.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay,
        eps=settings.adam_epsilon,
        # One pass over the memory: half the time of the loop over tensors on a CPU, a tenth of a toy step.
        fused=True,
    )
    prepared_unet, optimizer = accelerator.prepare(unet.train(), optimizer)
    return TrainingState(
        accelerator=accelerator,
        unet=prepared_unet,
        base_unet=base_unet,
        optimizer=optimizer,
        noise_scheduler=models.noise_scheduler,
        examples=examples,
        objective=objective,
        settings=settings,
        learning_rate=learning_rates(
            settings.lr_scheduler,
            settings.learning_rate,
            warmup_steps=settings.lr_warmup_steps,
            num_steps=max_train_steps,
            num_cycles=settings.lr_num_cycles,
            power=settings.lr_power,
        ),
        max_train_steps=max_train_steps,
    )


def train(state: TrainingState) -> Iterator[Progress]:
    """Take the remaining steps, one each time the caller asks for the next.

    Raises:
        UserError: the loss or the gradient is no number any more; the weights are those of the step before.
    """
    while state.step < state.max_train_steps:
        began = time.perf_counter()
        learning_rate = state.learning_rate(state.step)
        losses, grad_norm = _optimizer_step(state, learning_rate)
        state.step += 1
        yield Progress(
            step=state.step,
            loss=losses[0],
            instance_loss=losses[1],
            prior_loss=losses[2],
            outside_loss=losses[3],
            lr=learning_rate,
            grad_norm=grad_norm,
            seconds=time.perf_counter() - began,
        )


def finish(state: TrainingState) -> nn.Module:
    """Return the trained UNet, the very one of the models at the start, ready to draw and to save."""
    unet = state.accelerator.unwrap_model(state.unet, keep_fp32_wrapper=False)
    return unet.requires_grad_(False).eval()


def _optimizer_step(state: TrainingState, learning_rate: float) -> tuple[list[float], float]:
    """Take one step; return the loss, its three terms and the gradient's norm."""
    accelerator, optimizer = state.accelerator, state.optimizer
    batch_size, passes = state.settings.train_batch_size, state.settings.gradient_accumulation_steps
    sums, names = torch.zeros(4, device=accelerator.device), []
    for number in range(passes):
        first = (number * accelerator.num_processes + accelerator.process_index) * batch_size
        batch = batch_at(
            state.examples,
            state.step,
            range(first, first + batch_size),
            examples_per_step=state.examples_per_step,
            num_train_timesteps=state.noise_scheduler.config.num_train_timesteps,
        ).to(accelerator.device)
        names += batch.names
        # Gradients are summed over processes once, in the last pass.
        with nullcontext() if number == passes - 1 else accelerator.no_sync(state.unet):
            with accelerator.autocast():
                losses = diffusion_loss(
                    state.unet, state.noise_scheduler, batch, state.objective, state.base_unet
                )
            # The mean over passes of equal size is the mean over all examples. Not left to accelerate, whose
            # number of passes is one for all accelerators of a process.
            accelerator.backward(losses.total / passes)
        sums += torch.stack([losses.total, losses.instance, losses.prior, losses.outside]).detach()
    means = accelerator.reduce(sums / passes, reduction="mean").tolist()
    _check_number(state, "loss", means[0], names)
    grad_norm = float(accelerator.clip_grad_norm_(_trained(state.unet), state.settings.max_grad_norm))
    if accelerator.scaler is None:
        # With fp16 a gradient out of range is expected now and then: the scaler leaves that step out.
        _check_number(state, "gradient", grad_norm, names)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()
    return means, grad_norm


def _trained(unet: nn.Module) -> list[nn.Parameter]:
    """Return the parameters in training."""
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def _check_number(state: TrainingState, what: str, value: float, names: list[str]) -> None:
    """Raise UserError where training has gone out of the numbers."""
    if not math.isfinite(value):
        raise UserError(
            f"step {state.step + 1}: the {what} is {value} (photos {', '.join(dict.fromkeys(names))}); "
            "a number is needed. The last checkpoint is kept; try a lower --learning_rate than "
            f"{state.settings.learning_rate}, or --mixed_precision no."
        )
