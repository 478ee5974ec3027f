"""What a UNet's cross-attention looks at, read while it predicts and without changing what it predicts.

The queries and keys of a layer are read where its projections return them, so that whichever attention runs
afterwards (PyTorch's, xformers', with or without adapters) runs as it would have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers.models.attention_processor import Attention
from jaxtyping import Bool, Float
from torch import Tensor, nn

WANTED_LEVEL = 2
"""Halvings of the latents' sides: 16 x 16 of the 64 x 64 that Break-A-Scene has at 512 pixels."""


@dataclass(eq=False)
class CapturedAttention:
    """Queries and keys of the cross-attention layers at the resolution nearest to the wanted one."""

    latent_size: tuple[int, int]
    """Height and width of the latents."""
    level: int | None = None
    """Halvings of that at the layers kept; None before the first."""
    layers: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)
    """Heads, queries [b p d] and keys [b t d] of each layer kept, in the order of the forward pass."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the attention maps."""
        return size_at(self.latent_size, self.level)

    def keep(self, heads: int, query: Tensor, key: Tensor) -> None:
        """Keep a layer unless others are nearer to the wanted level; of two as near, the finer one's."""
        level = level_of(query.shape[1], self.latent_size)
        if self.level is None or _distance(level) < _distance(self.level):
            self.level, self.layers = level, []
        if level == self.level:
            self.layers.append((heads, query, key))


@contextmanager
def captured_attention(unet: nn.Module, latent_size: tuple[int, int]) -> Iterator[CapturedAttention]:
    """Read the cross-attention of the one forward pass made inside.

    Nothing is computed here that gradient checkpointing would compute again, and what that computes again in
    the backward pass, after this block, is not read: no layer counts twice.

    Args:
        unet: bare, or wrapped for several processes; it is left as it was.
        latent_size: height and width of the latents it is given.
    """
    captured = CapturedAttention(latent_size)
    handles = [
        handle
        for layer in unet.modules()
        if isinstance(layer, Attention) and layer.is_cross_attention
        for handle in _read(layer, captured)
    ]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def token_attention(captured: CapturedAttention, positions: Bool[Tensor, "n t"]) -> Float[Tensor, "n h w"]:
    """Return how much each place attends to the marked tokens, 0 to 1: the mean over layers and heads.

    Args:
        captured: of a forward pass.
        positions: which tokens of its first n examples.

    Raises:
        ValueError: no cross-attention was captured.
    """
    if not captured.layers:
        raise ValueError("the UNet has no cross-attention")
    n = len(positions)
    # In float32: in half precision the small probabilities of a soft map would be steps.
    with torch.autocast(positions.device.type, enabled=False):
        marked = positions[:, None, None].float()
        maps = [
            (_probabilities(heads, query[:n], key[:n]) * marked).sum(dim=-1).mean(dim=1)
            for heads, query, key in captured.layers
        ]
    return torch.stack(maps).mean(dim=0).unflatten(1, captured.size)


def level_of(num_places: int, latent_size: tuple[int, int]) -> int:
    """Return how often the latents' sides were halved where a layer attends from this many places.

    Raises:
        ValueError: at no such level are there so many.
    """
    for level in range(max(latent_size).bit_length() + 1):
        height, width = size_at(latent_size, level)
        if height * width == num_places:
            return level
    raise ValueError(f"{num_places} places of attention at no halving of {latent_size} latents")


def size_at(latent_size: tuple[int, int], level: int) -> tuple[int, int]:
    """Return height and width of the latents after some halvings; odd sides are rounded up, as UNets do."""
    height, width = (-(-side // 2**level) for side in latent_size)
    return height, width


def _read(layer: Attention, captured: CapturedAttention) -> list[torch.utils.hooks.RemovableHandle]:
    """Hook a layer's projections; the one of the keys runs after the one of the queries."""
    queries = []

    def on_key(module: nn.Module, inputs: tuple, key: Tensor) -> None:
        captured.keep(layer.heads, queries.pop(), key)

    return [
        layer.to_q.register_forward_hook(lambda module, inputs, query: queries.append(query)),
        layer.to_k.register_forward_hook(on_key),
    ]


def _probabilities(
    heads: int, query: Float[Tensor, "n p d"], key: Float[Tensor, "n t d"]
) -> Float[Tensor, "n heads p t"]:
    """Return what share of its attention each place pays to each token, by head."""
    query, key = (value.float().unflatten(-1, (heads, -1)).transpose(1, 2) for value in (query, key))
    return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)


def _distance(level: int) -> tuple[int, int]:
    """Return how far a level is from the wanted one, as something to compare."""
    return abs(level - WANTED_LEVEL), level
