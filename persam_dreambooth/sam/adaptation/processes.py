"""What several processes do together: add gradients, average losses, stop after the same step."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from persam_dreambooth.signals import Request

LOSSES = ("self", "anchor", "contrast")
"""What a step tells of each photo."""


def add_gradients(accelerator: Accelerator, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Add the gradients of all processes; one without a photo in this step has none."""
    if accelerator.num_processes == 1:
        return
    for parameter in parameters:
        own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = accelerator.reduce(own, reduction="sum")


def mean_losses(accelerator: Accelerator, losses: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of a step's losses over its photos, in all processes."""
    rows = [[one[name] for name in LOSSES] for one in losses]
    sums = torch.tensor([[1.0, *row] for row in rows] or [[0.0] * 4], device=accelerator.device).sum(dim=0)
    if accelerator.num_processes > 1:
        sums = accelerator.reduce(sums, reduction="sum")
    return dict(zip(LOSSES, (sums[1:] / sums[0]).tolist(), strict=True))


def asked_to_stop(accelerator: Accelerator, request: Request) -> bool:
    """Return whether any process was asked to stop: a signal comes to each at another time."""
    if accelerator.num_processes > 1:
        own = torch.tensor([request.signum or 0], device=accelerator.device)
        request.signum = int(accelerator.gather(own).max()) or None
    return request.signum is not None


def of_main(accelerator: Accelerator, value: float) -> float:
    """Return the main process's value in all: what they decide by it, they must decide alike."""
    if accelerator.num_processes == 1:
        return value
    values = [value]
    broadcast_object_list(values)
    return values[0]
