"""Low-rank adapters on the queries and values of a SAM's image encoder, beside frozen weights.

In Sam, SamHQ and Sam2 one layer makes queries, keys and values; only the first and the last third of what it
returns are changed, each by a pair of its own. (peft's adapter on that layer would change the keys as well,
with one A for all three.) The tracker of Sam3 has a layer for each.

Source: WeSAM (arXiv 2312.03502), section 3.4; Hu et al., LoRA (arXiv 2106.09685); SAMed (arXiv 2304.13785).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from persam_dreambooth.errors import UserError

Mode = Literal["off", "student", "teacher"]

_FUSED, _SEPARATE = "qkv", {"q_proj": "q", "v_proj": "v"}


class LoraLinear(nn.Module):
    """A frozen linear layer, and what is added to parts of its output: B A x.

    Args:
        base: the layer; its weights are kept, not copied.
        parts: which rows of its output each pair changes, by the pair's name.
        rank: of each pair.
        generator: of A, on the CPU; None is torch's own.
    """

    def __init__(
        self,
        base: nn.Linear,
        parts: Mapping[str, slice],
        rank: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.base = base
        self.parts = dict(parts)
        self.mode: Mode = "student"
        width, device = base.in_features, base.weight.device
        for name, rows in parts.items():
            num_rows = len(range(*rows.indices(base.out_features)))
            # Drawn on the CPU: the same on every device.
            down = nn.init.kaiming_uniform_(torch.empty(rank, width), a=math.sqrt(5), generator=generator)
            self.register_parameter(f"{name}_a", nn.Parameter(down.to(device)))
            self.register_parameter(f"{name}_b", nn.Parameter(torch.zeros(num_rows, rank, device=device)))

    def pair(self, name: str) -> tuple[Float[Tensor, "rank d"], Float[Tensor, "rows rank"]]:
        """Return A and B of one part, the teacher's in its mode where it has its own."""
        if self.mode == "teacher" and hasattr(self, f"{name}_a_mean"):
            return getattr(self, f"{name}_a_mean"), getattr(self, f"{name}_b_mean")
        return getattr(self, f"{name}_a"), getattr(self, f"{name}_b")

    def forward(self, values: Float[Tensor, "*b d"]) -> Float[Tensor, "*b out"]:
        """Return the layer's output, changed in its parts unless the mode is `off`."""
        output = self.base(values)
        if self.mode == "off":
            return output
        pieces, end = [], 0
        for name, rows in self.parts.items():
            start, stop, _ = rows.indices(self.base.out_features)
            down, up = self.pair(name)
            pieces += [output[..., end:start], output[..., start:stop] + linear(linear(values, down), up)]
            end = stop
        return torch.cat([*pieces, output[..., end:]], dim=-1)


def add_lora(model: PreTrainedModel, rank: int, seed: int = 0) -> dict[str, LoraLinear]:
    """Put adapters beside the queries and values of the image encoder, and freeze everything else.

    They change nothing until they are trained: B starts at 0, and A as the seed says, layer by layer.

    Args:
        model: changed in place.
        rank: of each adapter.
        seed: of A.

    Returns:
        The adapters by the names of the layers that they are at, which are the base's names.

    Raises:
        UserError: the encoder has no such layers (EdgeTAM's is a convolutional network).
    """
    targets = lora_targets(model)
    model.requires_grad_(False)
    added, generator = {}, torch.Generator().manual_seed(seed)
    for name, (base, parts) in targets.items():
        parent, _, child = name.rpartition(".")
        added[name] = LoraLinear(base, parts, rank, generator).train(base.training)
        setattr(model.get_submodule(parent), child, added[name])
    return added


def remove_lora(model: PreTrainedModel, adapters: Mapping[str, LoraLinear]) -> None:
    """Put the frozen layers back in their places."""
    for name, adapter in adapters.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapter.base)


def lora_targets(model: PreTrainedModel) -> dict[str, tuple[nn.Linear, dict[str, slice]]]:
    """Return the layers that adapters go to, with the rows of queries and values, by name.

    Raises:
        UserError: there are none.
    """
    found = {}
    for name, module in model.vision_encoder.named_modules(prefix="vision_encoder"):
        kind = name.rpartition(".")[2]
        if not isinstance(module, nn.Linear):
            continue
        if kind == _FUSED:
            third = module.out_features // 3
            found[name] = (module, {"q": slice(0, third), "v": slice(2 * third, 3 * third)})
        elif kind in _SEPARATE:
            found[name] = (module, {_SEPARATE[kind]: slice(0, module.out_features)})
    if not found:
        raise UserError(
            f"--sam: the image encoder of {type(model).__name__} has no attention with queries and values; "
            "adapters need it. Use Sam, SamHQ or Sam2, for example facebook/sam-vit-base."
        )
    return found


@contextmanager
def lora_mode(adapters: Mapping[str, LoraLinear], mode: Mode) -> Iterator[None]:
    """Use the student's adapters inside the block, the teacher's, or none (`off`: the source model)."""
    before = {name: adapter.mode for name, adapter in adapters.items()}
    for adapter in adapters.values():
        adapter.mode = mode
    try:
        yield
    finally:
        for name, adapter in adapters.items():
            adapter.mode = before[name]


def start_teacher(adapters: Mapping[str, LoraLinear]) -> None:
    """Give the teacher adapters of its own, equal to the student's so far."""
    for adapter in adapters.values():
        for name in adapter.parts:
            for letter in "ab":
                value = getattr(adapter, f"{name}_{letter}").detach().clone()
                adapter.register_buffer(f"{name}_{letter}_mean", value, persistent=False)


@torch.no_grad()
def follow(adapters: Mapping[str, LoraLinear], momentum: float) -> None:
    """Move the teacher's adapters towards the student's: t <- m t + (1 - m) s.

    Args:
        adapters: of which the teacher has its own.
        momentum: m, 0 (a copy of the student) to 1 (stays).
    """
    for adapter in adapters.values():
        for name in adapter.parts:
            for letter in "ab":
                mean = getattr(adapter, f"{name}_{letter}_mean")
                mean.mul_(momentum).add_(getattr(adapter, f"{name}_{letter}"), alpha=1 - momentum)


def lora_weights(adapters: Mapping[str, LoraLinear], *, teacher: bool = False) -> dict[str, Tensor]:
    """Return A and B of every layer, as copies on the CPU, by `<layer>.<q or v>.<a or b>`."""
    ending = "_mean" if teacher else ""
    return {
        f"{layer}.{name}.{letter}": getattr(adapter, f"{name}_{letter}{ending}").detach().cpu().clone()
        for layer, adapter in adapters.items()
        for name in adapter.parts
        for letter in "ab"
    }


@torch.no_grad()
def set_lora_weights(
    adapters: Mapping[str, LoraLinear], weights: Mapping[str, Tensor], *, teacher: bool = False
) -> None:
    """Put A and B, by the names that `lora_weights` gives them, in place of what is there."""
    ending = "_mean" if teacher else ""
    for layer, adapter in adapters.items():
        for name in adapter.parts:
            for letter in "ab":
                getattr(adapter, f"{name}_{letter}{ending}").copy_(weights[f"{layer}.{name}.{letter}"])


def trained_parameters(adapters: Mapping[str, LoraLinear]) -> list[nn.Parameter]:
    """Return what is trained: A and B of queries and values, layer by layer."""
    return [
        getattr(adapter, f"{name}_{letter}")
        for adapter in adapters.values()
        for name in adapter.parts
        for letter in "ab"
    ]


@torch.no_grad()
def fold(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Add B A to the rows of queries and values, in place: the same function, with no adapter in it.

    Args:
        model: without adapters; its layers are those that the weights are for.
        weights: A and B by the names that `lora_weights` gives them.
    """
    for layer, (linear_layer, parts) in lora_targets(model).items():
        for name, rows in parts.items():
            down, up = (weights[f"{layer}.{name}.{letter}"].to(linear_layer.weight) for letter in "ab")
            linear_layer.weight[rows] += up @ down
