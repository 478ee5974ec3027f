"""What a short training went through, as digests and as tensors: to show that two were equal, or how far not.

Two trainings with equal digests of latents, losses, gradients and weights, step by step, were the same
training. Where they differ, relative distances say by how much.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persam_dreambooth.diffusion.dataset import Batch, batch_at
from persam_dreambooth.diffusion.training import TrainingState, train
from persam_dreambooth.photos import array_digest
from persam_dreambooth.run import digest_of

COMPARED = ("loss_masks", "latents", "losses", "gradients", "optimizer_state", "weights")
"""Digests of `Evidence` that two equal trainings share."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of one training. A digest is a sha256 (hex)."""

    loss_masks: str
    """Digest of the weights of all latent cells."""
    latents: tuple[str, ...]
    """Digest of each step's latents, as they went into the loss."""
    losses: tuple[str, ...]
    """Each step's loss, to the bit (as a hexadecimal number)."""
    gradients: tuple[str, ...]
    """Digest of each step's gradient."""
    optimizer_state: str
    """Digest of the optimizer's moments at the end."""
    weights: str
    """Digest of the trained weights at the end."""
    first_latents: Float[Tensor, "b c h w"]
    """Of the first forward pass."""
    first_inside: Bool[Tensor, "b 1 h w"]
    """Which of their cells are subject and nothing else."""
    first_gradient: list[Tensor]
    """Of the first step, by parameter."""
    update: list[Tensor]
    """What training added to each parameter."""

    @property
    def digests(self) -> dict[str, str | list[str]]:
        """All digests by name, as values that JSON holds."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name in COMPARED}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def has_moved(self) -> bool:
        """Whether training changed any weight: equal weights that never moved would show nothing."""
        return any(bool(change.any()) for change in self.update)


def train_and_record(state: TrainingState) -> Evidence:
    """Take all steps of a training and return what they went through; its weights are trained afterwards.

    Tensors of the size of the trained weights are kept on the CPU: three times 4 bytes a weight.
    """
    optimizer = state.optimizer.optimizer
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = _copies(parameters)
    first_gradient: list[Tensor] = []
    gradients: list[str] = []

    def record_gradient(*_: object) -> None:
        values = [parameter.grad for parameter in parameters if parameter.grad is not None]
        gradients.append(tensors_digest(values))
        if not first_gradient:
            first_gradient.extend(_copies(values))

    hook = optimizer.register_step_pre_hook(record_gradient)
    first, latents, losses = None, [], []
    for progress in train(state):
        batches = _batches_of(state, progress.step - 1)
        first = first or batches[0]
        latents.append(tensors_digest(batch.latents for batch in batches))
        losses.append(progress.loss.hex())
    hook.remove()
    return Evidence(
        loss_masks=tensors_digest([state.examples.instance.loss_mask]),
        latents=tuple(latents),
        losses=tuple(losses),
        gradients=tuple(gradients),
        optimizer_state=_optimizer_digest(optimizer, parameters),
        weights=tensors_digest(parameters),
        first_latents=first.latents[: first.num_instance].cpu(),
        first_inside=first.subject_share[: first.num_instance].cpu() == 1,
        first_gradient=first_gradient,
        update=[after - start for after, start in zip(_copies(parameters), before, strict=True)],
    )


def equal_parts(one: Evidence, other: Evidence) -> dict[str, bool]:
    """Return of each digest whether two trainings share it; of those of steps, whether in every step."""
    return {name: getattr(one, name) == getattr(other, name) for name in COMPARED}


def differences(one: Evidence, other: Evidence) -> dict[str, float | None]:
    """Return how far a training is from another, as shares of its own norm.

    Returns:
        `latents_inside`, the first pass's latents in cells that are all subject (None where there is no such
        cell); `gradient`, the first step's; `update`, what training added to the weights.
    """
    inside = one.first_inside.expand_as(one.first_latents)
    latents = relative_distance([one.first_latents[inside]], [other.first_latents[inside]])
    return {
        "latents_inside": latents if inside.any() else None,
        "gradient": relative_distance(one.first_gradient, other.first_gradient),
        "update": relative_distance(one.update, other.update),
    }


def relative_distance(one: Iterable[Tensor], other: Iterable[Tensor]) -> float:
    """Return |a - b| / |a| over lists of tensors; 0 where both are 0."""
    apart = length = 0.0
    for a, b in zip(one, other, strict=True):
        apart += float((a.double() - b.double()).square().sum())
        length += float(a.double().square().sum())
    return (apart / length) ** 0.5 if length else float(apart > 0)


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """Return the sha256 (hex) of the values of tensors, in their order; 16-bit floats count as float32."""
    arrays = (tensor.detach().float().cpu().numpy() for tensor in tensors)
    return digest_of([array_digest(array) for array in arrays])


@contextmanager
def deterministic() -> Iterator[None]:
    """Run a block with algorithms that give the same bits each time; torch raises where it has none."""
    was_on = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    # Read by cuBLAS when CUDA starts; without it torch refuses matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=warned_only)
        torch.backends.cudnn.benchmark = benchmark


def _batches_of(state: TrainingState, step: int) -> list[Batch]:
    """Return the examples of a step of one process, by forward pass."""
    size, num_examples = state.settings.train_batch_size, state.examples_per_step
    return [
        batch_at(
            state.examples,
            step,
            range(first, first + size),
            examples_per_step=num_examples,
            num_train_timesteps=state.noise_scheduler.config.num_train_timesteps,
        )
        for first in range(0, num_examples, size)
    ]


def _copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return copies on the CPU that do not change when the originals do."""
    return [tensor.detach().to("cpu", copy=True) for tensor in tensors]


def _optimizer_digest(optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> str:
    """Return the digest of what an optimizer keeps of every parameter."""
    kept = (optimizer.state.get(parameter, {}) for parameter in parameters)
    return tensors_digest(
        value for entry in kept for _, value in sorted(entry.items()) if isinstance(value, Tensor)
    )
