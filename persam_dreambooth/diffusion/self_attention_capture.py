"""Where each place of a picture looks: a UNet's attention as maps, the mean over heads and over layers.

    P = softmax(Q K^T / sqrt d)        one map a place, which sums to 1

Processors of our own stand in front of the layers' for one forward pass. They let the layer's own processor
compute what it would have computed anyway, so that the prediction is the same to the bit, whichever processor
that is (PyTorch's, xformers', an IP-Adapter's, with or without LoRA), and compute the map beside it, which
fused attention never holds as a whole.

Source: Tian et al. 2023, DiffSeg (arXiv 2308.12469), section 3.1; the reference captures the same tensors in
third_party/keras_cv/diffusion_model.py.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor

# Probabilities that are held at a time: 64 MiB of float32, whatever the number of places.
_PROBABILITIES_AT_ONCE = 2**24


@dataclass(eq=False)
class SummedMaps:
    """Maps of the layers of each resolution, added up."""

    sums: dict[int, Float[Tensor, "b n m"]] = field(default_factory=dict)
    """By the side of the square of n = side^2 places."""
    counts: dict[int, int] = field(default_factory=dict)
    """Layers in each sum."""

    def add(self, layer: Attention, hidden_states: Tensor, context: Tensor) -> None:
        """Add the mean over heads of one layer's maps.

        Raises:
            ValueError: the layer's places are no square.
        """
        query, key = queries_and_keys(layer, hidden_states, context)
        side = math.isqrt(query.shape[2])
        if side * side != query.shape[2]:
            raise ValueError(f"{query.shape[2]} places of attention; a square of latents is needed")
        if side not in self.sums:
            self.sums[side] = query.new_zeros(query.shape[0], query.shape[2], key.shape[2])
        add_probabilities(self.sums[side], query, key, layer.scale)
        self.counts[side] = self.counts.get(side, 0) + 1

    def means(self) -> dict[int, Float[Tensor, "b n m"]]:
        """Return the mean map of each resolution by its side, the finest first; float32, rows sum to 1."""
        return {side: self.sums[side] / self.counts[side] for side in sorted(self.sums, reverse=True)}


@dataclass(frozen=True, eq=False)
class CapturedMaps:
    """What was read of one forward pass."""

    of_places: SummedMaps = field(default_factory=SummedMaps)
    """Self-attention: how much each place looks at each place."""
    of_tokens: SummedMaps = field(default_factory=SummedMaps)
    """Cross-attention: how much each place looks at each token of the prompt."""


@contextmanager
def captured_maps(
    unet: UNet2DConditionModel, *, with_places: bool = True, with_tokens: bool = False
) -> Iterator[CapturedMaps]:
    """Read the attention of the forward passes made inside; outside the UNet is what it was.

    Args:
        unet: given square latents. Layers that look at the prompt instead of the picture (`attn1` of a UNet
            with `only_cross_attention`) count as cross-attention.
        with_places: read self-attention.
        with_tokens: read cross-attention.
    """
    captured = CapturedMaps()
    own = dict(unet.attn_processors)

    def read(layer: Attention, hidden_states: Tensor, context: Tensor | None) -> None:
        if context is None and with_places:
            captured.of_places.add(layer, hidden_states, hidden_states)
        elif context is not None and with_tokens:
            captured.of_tokens.add(layer, hidden_states, context)

    try:
        # A copy each time: diffusers empties the dictionary that it is given.
        unet.set_attn_processor({name: ReadingProcessor(processor, read) for name, processor in own.items()})
        yield captured
    finally:
        unet.set_attn_processor(dict(own))


def looks_at_places(unet: UNet2DConditionModel) -> bool:
    """Return whether a UNet has self-attention."""
    return any(not layer.is_cross_attention for layer in _layers(unet))


def looks_at_tokens(unet: UNet2DConditionModel) -> bool:
    """Return whether a UNet has cross-attention."""
    return any(layer.is_cross_attention for layer in _layers(unet))


class ReadingProcessor:
    """Shows a layer's inputs to a reader, then lets the layer's own processor compute."""

    def __init__(self, own: Callable[..., Tensor], read: Callable[..., None]) -> None:
        self._own = own
        self._read = read

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **more: Any,  # noqa: ANN401 (whatever the layer's own processor takes)
    ) -> Tensor:
        """Return what the layer's own processor returns."""
        self._read(attn, hidden_states, encoder_hidden_states)
        return self._own(
            attn,
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            attention_mask=attention_mask,
            **more,
        )


@torch.no_grad()
def queries_and_keys(
    layer: Attention, hidden_states: Tensor, context: Tensor
) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads m d"]]:
    """Return a layer's queries and keys, by head, in float32: half precision overflows in SD 2.1.

    Args:
        layer: its projections may carry adapters.
        hidden_states: [b n c], or [b c h w].
        context: what it looks at: the same tensor for self-attention, or the prompt [b m c].

    Source: AttnProcessor2_0 of diffusers.
    """
    looks_at_itself = context is hidden_states
    if hidden_states.ndim == 4:
        hidden_states = hidden_states.flatten(2).transpose(1, 2)
    if layer.group_norm is not None:
        hidden_states = layer.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
    if looks_at_itself:
        context = hidden_states
    elif layer.norm_cross:
        context = layer.norm_encoder_hidden_states(context)
    query, key = (
        projected.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for projected in (layer.to_q(hidden_states), layer.to_k(context))
    )
    query = query if layer.norm_q is None else layer.norm_q(query)
    key = key if layer.norm_k is None else layer.norm_k(key)
    return query.float(), key.float()


@torch.no_grad()
def add_probabilities(
    total: Float[Tensor, "b n m"],
    query: Float[Tensor, "b heads n d"],
    key: Float[Tensor, "b heads m d"],
    scale: float,
) -> None:
    """Add softmax(scale Q K^T), averaged over heads, to a tensor, so many rows at a time.

    Args:
        total: changed in place.
        query: in float32, as the keys.
        key: one for each thing that is looked at.
        scale: 1 / sqrt d in all published models.
    """
    batch, heads, num_places, _ = query.shape
    rows = max(1, _PROBABILITIES_AT_ONCE // (batch * heads * key.shape[2]))
    turned = key.transpose(-1, -2)
    # In float32: in half precision the small probabilities of a soft map would be steps.
    with torch.autocast(query.device.type, enabled=False):
        for start in range(0, num_places, rows):
            part = slice(start, start + rows)
            scores = torch.matmul(query[:, :, part], turned).mul_(scale)
            total[:, part] += scores.softmax(dim=-1).mean(dim=1)


def _layers(unet: UNet2DConditionModel) -> Iterator[Attention]:
    """Yield a UNet's layers of attention."""
    return (module for module in unet.modules() if isinstance(module, Attention))
