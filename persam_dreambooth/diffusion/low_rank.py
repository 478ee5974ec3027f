"""Low-rank adapters inside a network: put there, read and set as plain tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from persam_dreambooth.diffusion import randomness

_ADAPTER = "default"


@dataclass(frozen=True, eq=False)
class Adapter:
    """What is trained of one layer W: it acts as W + alpha / r * up @ down.

    With a magnitude (DoRA) each row of that sum is then scaled to the length that the magnitude says.
    """

    down: Float[Tensor, "r ..."]
    """Of a linear layer [r in], of a convolution [r in k k]."""
    up: Float[Tensor, "out r ..."]
    alpha: float
    magnitude: Float[Tensor, "..."] | None = None
    """Lengths of the rows: of a linear layer [out], of a convolution [1 out 1 1]; None without DoRA."""

    @property
    def rank(self) -> int:
        """Number r of rows of `down`."""
        return len(self.down)


def has_lora(module: nn.Module) -> bool:
    """Return whether a network carries adapters."""
    return bool(getattr(module, "peft_config", None))


def add_lora(
    module: nn.Module,
    *,
    rank: int,
    alpha: int | None = None,
    dropout: float = 0.0,
    use_dora: bool = False,
    target_modules: tuple[str, ...],
    seed: int,
    name: str,
) -> None:
    """Freeze a network and add trainable adapters to it; it predicts what it did before.

    The adapters are float32 whatever the network is: in half precision most of AdamW's steps are too small
    to change a weight. Their first values follow from seed, name and layer, on every device.

    Args:
        module: a UNet or text encoder; changed in place.
        rank: of the adapters.
        alpha: their scale times the rank; None is the rank, a scale of 1.
        dropout: share of an adapter's input that is left out in training, drawn from torch's own stream of
            the network's device; at least 0, below 1.
        use_dora: train the lengths of the rows of the weights apart from their directions.
        target_modules: ends of the names of the layers that get one; see `lora_targets`.
        seed: of the first values.
        name: of the network; each has random numbers of its own.

    Source: Hu et al. 2021, LoRA; Liu et al. 2024, DoRA; initialisation of diffusers'
    train_dreambooth_lora.py: `down` normal with standard deviation 1 / r, `up` zero.
    """
    module.requires_grad_(False)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        lora_dropout=dropout,
        use_dora=use_dora,
        init_lora_weights="gaussian",
        target_modules=list(target_modules),
    )
    # peft draws values of its own, which are replaced: the stream outside must not notice.
    with randomness.seeded(seed, "lora", name):
        module.add_adapter(config)
    for path, layer in _layers(module):
        for part in _parts(layer).values():
            part.data = part.data.float()
        down = layer.lora_A[_ADAPTER].weight
        noise = torch.randn(down.shape, generator=randomness.generator(seed, "lora", name, path))
        down.data.copy_(noise / rank)


def adapters_of(module: nn.Module) -> dict[str, Adapter]:
    """Return the adapters of a network by the path of their layer; the tensors are its own, not copies."""
    return {path: _adapter(layer) for path, layer in _layers(module)}


def target_layers(module: nn.Module) -> list[str]:
    """Return the ends of the names of the layers that a network's adapters were asked for."""
    return sorted(module.peft_config[_ADAPTER].target_modules)


def set_adapters(module: nn.Module, values: Mapping[str, Adapter]) -> None:
    """Give a network with adapters other values for all of them, to the bit.

    Raises:
        RuntimeError: they are those of another network, of other layers, of another rank or kind.
    """
    layers = dict(_layers(module))
    if layers.keys() != values.keys():
        strange = sorted(layers.keys() ^ values.keys())
        raise RuntimeError(f"adapters of other layers: {strange[0]} and {len(strange) - 1} more")
    for path, layer in layers.items():
        own, new = _parts(layer), _values(values[path])
        if {name: part.shape for name, part in own.items()} != {n: v.shape for n, v in new.items()}:
            raise RuntimeError(f"adapter of another rank or kind: {path}")
        for name, part in own.items():
            part.data.copy_(new[name])


def _layers(module: nn.Module) -> list[tuple[str, LoraLayer]]:
    """Return the layers that carry an adapter, and their paths."""
    return [(path, layer) for path, layer in module.named_modules() if isinstance(layer, LoraLayer)]


def _parts(layer: LoraLayer) -> dict[str, nn.Parameter]:
    """Return the trained parameters of a layer by their names in Adapter."""
    parts = {"down": layer.lora_A[_ADAPTER].weight, "up": layer.lora_B[_ADAPTER].weight}
    if _ADAPTER in layer.lora_magnitude_vector:
        parts["magnitude"] = layer.lora_magnitude_vector[_ADAPTER].weight
    return parts


def _values(adapter: Adapter) -> dict[str, Tensor]:
    """Return the tensors of an adapter by their names."""
    values = {"down": adapter.down, "up": adapter.up, "magnitude": adapter.magnitude}
    return {name: value for name, value in values.items() if value is not None}


def _adapter(layer: LoraLayer) -> Adapter:
    """Return the adapter of a layer."""
    parts = {name: part.detach() for name, part in _parts(layer).items()}
    return Adapter(**parts, alpha=float(layer.lora_alpha[_ADAPTER]))
