"""How much memory a training step takes: worked out before the first one, and told when it was too much.

    weights      what is trained in 4 bytes each, what is frozen in the type it is kept in
    optimizer    two numbers for each trained weight (AdamW), of 4 bytes or of 1, or four such (Prodigy)
    step         activations and gradients at the moment when they take most

The last is no formula: the networks go forward and backward on tensors that have sizes and no contents, and
what would be allocated is counted. What the libraries take for themselves comes on top.
"""

import copy
import dataclasses
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from persam_dreambooth.diffusion.acceleration import set_checkpointing
from persam_dreambooth.diffusion.dataset import Batch
from persam_dreambooth.diffusion.networks import Networks, current_conditions, predict
from persam_dreambooth.diffusion.optimizers import PRODIGY, trained
from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.settings import TrainConfig

MIB, GIB = 2**20, 2**30

_NO_MEMORY = ("out of memory", "can't allocate memory", "bad alloc")
"""What errors without a class of their own say: torch's CPU allocator, oneDNN, other devices."""


@dataclass(frozen=True)
class MemoryEstimate:
    """What a process takes on its device, in bytes."""

    weights: int
    optimizer: int
    step: int
    """Activations and gradients at their peak."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.optimizer + self.step

    def __str__(self) -> str:
        names = ("weights", "optimizer", "activations and gradients")
        sizes = (self.weights, self.optimizer, self.step)
        parts = ", ".join(f"{name} {_readable(size)}" for name, size in zip(names, sizes, strict=True))
        return f"{_readable(self.total)} ({parts})"


@dataclass(frozen=True, eq=False)
class Contents:
    """What memory is taken for."""

    networks: Networks
    """In training, out of their wrapping."""
    base: Networks | None
    """For the prior outside the mask."""
    resting: tuple[nn.Module, ...]
    """Parts that no step needs; they count where the device is the CPU that they rest on."""
    batch: Batch
    """Of one forward pass."""
    settings: TrainConfig
    """Which optimizer, how many passes a step."""


def estimate(contents: Contents) -> MemoryEstimate:
    """Return what a training takes on the device of each process; nothing is computed or allocated."""
    networks, settings = contents.networks, contents.settings
    modules = [*networks.modules, *(contents.base.modules if contents.base is not None else ())]
    device = next(networks.unet.parameters()).device
    modules += [part for part in contents.resting if next(part.parameters()).device == device]
    learnt = [weight for module in networks.modules for weight in trained(module)]
    bytes_each = 16 if settings.optimizer == PRODIGY else 2 if settings.use_8bit_adam else 8
    step = step_peak(networks, contents.batch)
    if settings.gradient_accumulation_steps > 1:
        # The sum of the passes before lies beside all that a pass makes.
        step += _bytes(learnt)
    return MemoryEstimate(
        weights=_bytes(weight for module in modules for weight in module.parameters()),
        optimizer=bytes_each * sum(weight.numel() for weight in learnt),
        step=step,
    )


def step_peak(networks: Networks, batch: Batch) -> int:
    """Return the bytes of activations and gradients at the peak of a forward and backward pass."""
    with FakeTensorMode(allow_non_fake_inputs=True) as sizes_only:
        tensors = [t for m in networks.modules for t in (*m.parameters(), *m.buffers())]
        unet, *text_encoders = copy.deepcopy(
            networks.modules, {id(tensor): sizes_only.from_tensor(tensor) for tensor in tensors}
        )
        twins = dataclasses.replace(networks, unet=unet, text_encoders=tuple(text_encoders))
        learnt = [weight for module in twins.modules for weight in trained(module)]
        inputs = batch.to(learnt[0].device)
        with _Allocations() as allocations:
            conditions = current_conditions(twins, inputs.conditions, inputs.input_ids)
            model_pred = predict(twins, inputs.latents, inputs.timesteps, conditions)
            # Not backward(): it would leave tensors without contents in the weights' gradients.
            torch.autograd.grad(model_pred.float().square().mean(), learnt, allow_unused=True)
    return allocations.peak


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _NO_MEMORY)


def out_of_memory(step: int, error: BaseException, contents: Contents) -> UserError:
    """Return the error that tells a person what to try, with the memory each way would take.

    Args:
        step: the one that failed, counted from 1.
        error: what was raised.
        contents: of the training.
    """
    needed = estimate(contents)
    ways = [f"{flags} ({_readable(way().total)})" for flags, way in _ways(contents, needed).items()]
    return UserError(
        f"step {step}: out of memory ({one_line(error)[:120]}); about {needed} are needed beside what the "
        f"libraries take. Try {'; '.join([*ways, 'a lower --resolution'])}. The last checkpoint is kept."
    )


def _ways(contents: Contents, needed: MemoryEstimate) -> dict[str, Callable[[], MemoryEstimate]]:
    """Return the flags that would save memory, and how to work out what is needed with each."""
    settings, ways = contents.settings, {}
    if not settings.gradient_checkpointing:
        ways["--gradient_checkpointing"] = lambda: _checkpointed(contents)
    if settings.train_batch_size > 1:
        passes = settings.train_batch_size * settings.gradient_accumulation_steps
        smaller = dataclasses.replace(settings, train_batch_size=1, gradient_accumulation_steps=passes)
        one = dataclasses.replace(contents, batch=first_of(contents.batch), settings=smaller)
        ways[f"--train_batch_size 1 --gradient_accumulation_steps {passes}"] = lambda: estimate(one)
    if not (settings.use_8bit_adam or settings.use_lora or settings.optimizer == PRODIGY):
        eight = dataclasses.replace(contents, settings=dataclasses.replace(settings, use_8bit_adam=True))
        ways["--use_8bit_adam"] = lambda: estimate(eight)
    if not settings.use_lora:
        # Adapters are small: what is left is the weights and at most the activations of now.
        gradients = _bytes(weight for module in contents.networks.modules for weight in trained(module))
        step = max(needed.step - gradients, 0)
        ways["--use_lora"] = lambda: dataclasses.replace(needed, optimizer=0, step=step)
    return ways


def _checkpointed(contents: Contents) -> MemoryEstimate:
    """Return what is needed with gradient checkpointing."""
    set_checkpointing(contents.networks, on=True)
    try:
        return estimate(contents)
    finally:
        set_checkpointing(contents.networks, on=False)


def first_of(batch: Batch) -> Batch:
    """Return the first example of a batch, and that of the class where there are any."""
    rows = [0] if batch.num_instance == len(batch.latents) else [0, batch.num_instance]
    values = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
    chosen = {name: value[rows] for name, value in values.items() if isinstance(value, Tensor)}
    return dataclasses.replace(
        batch,
        **chosen,
        conditions=batch.conditions.rows(rows),
        input_ids=tuple(ids[rows] for ids in batch.input_ids),
        names=tuple(batch.names[row] for row in rows),
        num_instance=1,
    )


def _readable(size: int) -> str:
    """Return a number of bytes as people say it."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors, each counted once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(t): t for t in tensors}.values())


class _Allocations(TorchDispatchMode):
    """Counts the bytes of what the operations inside make new, as long as it is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable, types: tuple[type, ...], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Run an operation; what it was given is not new, and what comes back is, unless it is a view."""
        kwargs = kwargs or {}
        self._note((args, kwargs), new=False)
        result = func(*args, **kwargs)
        self._note(result, new=True)
        return result

    def _note(self, values: object, *, new: bool) -> None:
        """Count the storages that are met for the first time."""
        for value in tree_leaves(values):
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key = storage._cdata
            if key in self._sizes:
                continue
            self._sizes[key] = storage.nbytes() if new else 0
            self._now += self._sizes[key]
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        """Take off what is freed."""
        self._now -= self._sizes.pop(key)
