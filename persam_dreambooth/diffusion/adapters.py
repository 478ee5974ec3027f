"""What is trained, on and off, to files and back: adapters, or whole networks.

pytorch_lora_weights.safetensors           adapters, as `load_lora_weights` of diffusers reads them
pytorch_lora_weights_kohya.safetensors     the same, as ComfyUI, A1111 and kohya's tools read them
unet/, text_encoder/, text_encoder_2/      whole networks, as diffusers and transformers read them
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from persam_dreambooth.diffusion import kohya
from persam_dreambooth.diffusion.lora_metadata import diffusers_metadata, kohya_metadata
from persam_dreambooth.diffusion.low_rank import (
    Adapter,
    adapters_of,
    add_lora,
    has_lora,
    set_adapters,
    target_layers,
)
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.provenance import Provenance
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.files import atomic_path

__all__ = ["add_lora", "frozen_copy", "has_lora", "load_weights", "save_lora", "save_weights", "without_lora"]

LORA_FILE = "pytorch_lora_weights.safetensors"
KOHYA_FILE = "pytorch_lora_weights_kohya.safetensors"
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"

UNET = "unet"

# What the parts of an adapter are called in diffusers' files, by network.
_UNET_PARTS = {"down": "lora.down.weight", "up": "lora.up.weight", "magnitude": "lora_magnitude_vector"}
_TEXT_PARTS = {
    "down": "lora_linear_layer.down.weight",
    "up": "lora_linear_layer.up.weight",
    # transformers 5 does not find it without `.weight`, and would leave it as it was before training.
    "magnitude": "lora_magnitude_vector.weight",
}


def frozen_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a network that is not trained."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@contextmanager
def without_lora(networks: Networks) -> Iterator[None]:
    """Let networks with adapters predict as the base model inside; those without do so anyway."""
    adapted = [module for module in networks.modules if has_lora(module)]
    for module in adapted:
        module.disable_adapters()
    try:
        yield
    finally:
        for module in adapted:
            module.enable_adapters()


def named_networks(networks: Networks) -> dict[str, nn.Module]:
    """Return the networks in training by their names in a pipeline, the UNet first."""
    names = networks.family.text_encoder_names[: len(networks.text_encoders)]
    return {UNET: networks.unet, **dict(zip(names, networks.text_encoders, strict=True))}


def save_lora(networks: Networks, folder: Path, provenance: Provenance) -> Path:
    """Write the adapters into a folder, in both layouts that people need; return diffusers' file.

    Args:
        networks: in training, or trained.
        folder: of the results.
        provenance: what the files tell of the training.
    """
    path = _save_diffusers_layout(networks, Path(folder), provenance)
    adapters = adapters_by_network(networks)
    tensors = kohya.layout(networks.family, networks.unet, adapters)
    _write(tensors, kohya_metadata(tensors, adapters, provenance), Path(folder) / KOHYA_FILE)
    return path


def adapters_by_network(networks: Networks) -> dict[str, dict[str, Adapter]]:
    """Return the adapters by network and layer; networks without any are left out."""
    return {
        name: adapters_of(module) for name, module in named_networks(networks).items() if has_lora(module)
    }


def save_weights(networks: Networks, folder: Path) -> None:
    """Write what is trained, adapters or whole networks, into a folder, to the bit."""
    folder = Path(folder)
    if has_lora(networks.unet):
        _save_diffusers_layout(networks, folder, None)
        return
    with quiet():
        for name, module in named_networks(networks).items():
            module.save_pretrained(folder / name, max_shard_size="100GB")


def load_weights(networks: Networks, folder: Path) -> None:
    """Read what `save_weights` or `save_lora` wrote of equal networks, to the bit.

    Raises:
        OSError, SafetensorError: a file is missing or damaged.
        RuntimeError: the file is of other networks.
    """
    folder = Path(folder)
    if has_lora(networks.unet):
        _load_adapters(networks, folder / LORA_FILE)
        return
    with quiet():
        for name, module in named_networks(networks).items():
            stored, report = type(module).from_pretrained(folder / name, output_loading_info=True)
            # transformers fills what a file lacks with random values, and only logs it.
            if report["missing_keys"] or report["unexpected_keys"] or report["mismatched_keys"]:
                raise RuntimeError(f"{folder / name} is of another network")
            module.load_state_dict(stored.state_dict())


def _load_adapters(networks: Networks, path: Path) -> None:
    """Set all adapters to what a file in diffusers' layout holds."""
    stored = load_file(path)
    adapters = adapters_by_network(networks)
    values = {}
    for network, layers in adapters.items():
        for layer, adapter in layers.items():
            names = _names(network, layer, adapter)
            absent = [name for name in names.values() if name not in stored]
            if absent:
                raise RuntimeError(f"{path}: no {absent[0]}")
            tensors = {part: stored.pop(name) for part, name in names.items()}
            values.setdefault(network, {})[layer] = Adapter(**tensors, alpha=adapter.alpha)
    if stored:
        raise RuntimeError(f"{path}: {next(iter(stored))} belongs to no adapter")
    for network, module in named_networks(networks).items():
        if network in values:
            set_adapters(module, values[network])


def _save_diffusers_layout(networks: Networks, folder: Path, provenance: Provenance | None) -> Path:
    """Write the adapters as diffusers reads them; return the file."""
    adapters = adapters_by_network(networks)
    tensors = {
        name: getattr(adapter, part)
        for network, layers in adapters.items()
        for layer, adapter in layers.items()
        for part, name in _names(network, layer, adapter).items()
    }
    modules = named_networks(networks)
    targets = {network: target_layers(modules[network]) for network in adapters}
    _write(tensors, diffusers_metadata(adapters, targets, provenance), folder / LORA_FILE)
    return folder / LORA_FILE


def _names(network: str, layer: str, adapter: Adapter) -> dict[str, str]:
    """Return what the tensors of an adapter are called in diffusers' files, by their names in Adapter.

    transformers 5 dropped `text_model.` from the paths of one of its two CLIP text encoders; readers older
    than that know the layers only with it, and newer ones accept it.
    """
    parts = _UNET_PARTS if network == UNET else _TEXT_PARTS
    path = layer if network == UNET else f"text_model.{layer.removeprefix('text_model.')}"
    return {
        part: f"{network}.{path}.{end}" for part, end in parts.items() if getattr(adapter, part) is not None
    }


def _write(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write a file of tensors atomically."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary, metadata)
