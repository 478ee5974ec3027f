"""How the learning rate changes over a run: diffusers' schedules, as functions of the step."""

from collections.abc import Callable

import torch
from diffusers.optimization import get_scheduler

FALLING = ("linear", "cosine", "cosine_with_restarts", "polynomial")
"""Schedules that depend on how long the whole run is."""


def learning_rates(
    name: str,
    learning_rate: float,
    *,
    warmup_steps: int,
    num_steps: int,
    num_cycles: int = 1,
    power: float = 1.0,
) -> Callable[[int], float]:
    """Return diffusers' learning rate schedule as a function of the steps done, without a state to restore.

    The steps are the optimizer's, whatever the number of processes: there is nothing to multiply.

    Args:
        name: a schedule of diffusers: constant, constant_with_warmup, linear, cosine, ...
        learning_rate: after the warm-up.
        warmup_steps: over which it grows from 0.
        num_steps: of the whole run.
        num_cycles: of cosine_with_restarts.
        power: of polynomial.

    Source: diffusers.optimization.get_scheduler.
    """
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=learning_rate)
    schedule = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=warmup_steps,
        num_training_steps=num_steps,
        num_cycles=num_cycles,
        power=power,
    )
    factor = schedule.lr_lambdas[0]
    return lambda step: learning_rate * factor(step)
