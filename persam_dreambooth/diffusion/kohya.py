"""LoRA files in the layout of kohya's sd-scripts, which ComfyUI and A1111 read.

    <network>_<path of the layer, dots as underscores>.lora_down.weight .lora_up.weight .alpha .dora_scale

    network            lora_unet, lora_te, of Stable Diffusion XL lora_te1 and lora_te2
    path in a UNet     as in diffusers; of Stable Diffusion XL as in the original model (input_blocks, ...)
    path in a CLIP     as in transformers, always with text_model

Source: kohya-ss/sd-scripts, networks/lora.py; names of the original model: diffusers'
scripts/convert_diffusers_to_original_sdxl.py.
"""

import itertools
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from persam_dreambooth.diffusion.families import Family
from persam_dreambooth.diffusion.low_rank import Adapter

UNET_PREFIX = "lora_unet"

_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_out": "out.2",
}
_IN_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def layout(
    family: Family, unet: nn.Module, adapters: Mapping[str, Mapping[str, Adapter]]
) -> dict[str, Tensor]:
    """Return all tensors of a file by their names in it.

    Args:
        family: of the model.
        unet: whose layers are named.
        adapters: by network ("unet", "text_encoder", ...) and path of the layer.
    """
    tensors = {}
    for network, layers in adapters.items():
        for path, adapter in layers.items():
            name = unet_name(family, unet, path) if network == "unet" else text_name(family, network, path)
            tensors |= {f"{name}.{end}": value for end, value in _parts(adapter).items()}
    return tensors


def text_name(family: Family, network: str, path: str) -> str:
    """Return what a layer of a text encoder is called.

    Args:
        family: of the model.
        network: name of the text encoder in the pipeline.
        path: of the layer in it, with or without `text_model`.
    """
    prefix = family.kohya_text_prefixes[family.text_encoder_names.index(network)]
    return f"{prefix}_text_model_{path.removeprefix('text_model.').replace('.', '_')}"


def unet_name(family: Family, unet: nn.Module, path: str) -> str:
    """Return what a layer of a UNet is called.

    Args:
        family: of the model; Stable Diffusion XL's layers have the names of the original model, for kohya's
            tools know no others.
        unet: with or without adapters.
        path: of the layer in it, as in diffusers.
    """
    return f"{UNET_PREFIX}_{(original_path(unet, path) if family.name == 'sdxl' else path).replace('.', '_')}"


def original_path(unet: nn.Module, path: str) -> str:
    """Return the path of a UNet's layer in the original implementation.

    There, all resnets and samplers of one direction are counted on, each with its attention behind it:
    1 is the first after conv_in, and every block has one more place than layers, for its sampler.

    Args:
        unet: of diffusers.
        path: of a layer in it.
    """
    if match := _MIDDLE.fullmatch(path):
        kind, number, rest = match.groups()
        place = 2 * int(number) + (kind == "attentions")
        return f"middle_block.{place}.{_IN_RESNET.get(rest, rest)}"
    match = _BLOCK.fullmatch(path)
    if match is None:
        return _OUTSIDE_BLOCKS[path]
    side, block, kind, number, rest = match.groups()
    first, layers = _place(unet, side, int(block))
    side_name = "input_blocks" if side == "down" else "output_blocks"
    if kind == "downsamplers":
        return f"{side_name}.{first + layers}.0.op"
    if kind == "upsamplers":
        # Behind the last layer's resnet, and its attention where it has one.
        has_attention = hasattr(unet.get_submodule(f"up_blocks.{block}"), "attentions")
        return f"{side_name}.{first + layers - 1}.{2 if has_attention else 1}.{rest}"
    return f"{side_name}.{first + int(number)}.{int(kind == 'attentions')}.{_IN_RESNET.get(rest, rest)}"


def _place(unet: nn.Module, side: str, block: int) -> tuple[int, int]:
    """Return the number of a block's first layer in the original count, and how many layers it has."""
    counts = [len(part.resnets) for part in unet.get_submodule(f"{side}_blocks")]
    # Going down a block's sampler takes a place of its own; going up it sits in the last layer's.
    taken = [count + 1 if side == "down" else count for count in counts]
    first = 1 if side == "down" else 0
    return first + list(itertools.accumulate(taken, initial=0))[block], counts[block]


def _parts(adapter: Adapter) -> dict[str, Tensor]:
    """Return the tensors of an adapter by the ends of their names."""
    parts = {
        "lora_down.weight": adapter.down,
        "lora_up.weight": adapter.up,
        "alpha": torch.tensor(adapter.alpha),
    }
    if adapter.magnitude is not None:
        # One number for each output, which readers multiply with the weight [out in ...].
        ones = [1] * (adapter.down.dim() - 1)
        parts["dora_scale"] = adapter.magnitude.reshape(-1, *ones)
    return parts
