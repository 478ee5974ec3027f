"""Weights of the original segment-anything, as transformers' SamModel: sizes read off, names translated.

Nothing about vit_b, vit_l or vit_h is assumed: every size but the decoder's number of attention heads, which
leaves no trace in the weights, follows from their shapes. Beside the names the two programs differ in one
number: the decoder's layer norms add 1e-5 to the variance in the original and 1e-6 in transformers.

Source: segment-anything, build_sam.py and modeling/.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel

from persam_dreambooth.errors import UserError, one_line

DECODER_HEADS = 8
"""Attention heads of the mask decoder in every published checkpoint."""

# torch's default, which the original's decoder is built with.
_DECODER_LAYER_NORM_EPS = 1e-5

_NEEDED = "weights of segment-anything's Sam (vit_b, vit_l, vit_h or another width) are needed"

# Files that are often taken for a SAM's: a part of a weight's name, what it is, what to do.
_OTHERS = (
    ("image_encoder.layers.", "MobileSAM's", "Take sam_vit_b_01ec64.pth, or facebook/sam-vit-base"),
    ("mask_decoder.hf_token", "SAM-HQ's", "Take it from the hub: syscv-community/sam-hq-vit-base"),
    ("sam_mask_decoder.", "SAM 2's or EdgeTAM's", "Take it from the hub: facebook/sam2.1-hiera-tiny"),
    ("vision_encoder.", "transformers'", "Name the folder that it lies in, with its config.json"),
)

_RENAMED = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
)

_MLP_LAYER = re.compile(
    r"^(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.layers\.(\d+)\."
)

# What torch.load raises for files that are no checkpoint, are cut off, or ask for more than tensors.
_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, pickle.UnpicklingError)


def read_checkpoint(path: Path, where: str) -> Mapping[str, Tensor]:
    """Return the weights in a checkpoint, on the CPU; nothing in the file is run as a program.

    Args:
        path: what torch.save wrote: the weights by name, or a dict that has them as `model`.
        where: flag and value, for the error text.

    Raises:
        UserError: the file cannot be read, wants to run code, or holds something else than named weights.
    """
    try:
        with warnings.catch_warnings():
            # torch remarks on pickles of another protocol; one that it cannot read is an error all the same.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = one_line(error).split(". ")[0].rstrip(".")
        raise UserError(
            f"{where}: cannot be read as a checkpoint, or holds more than weights ({reason}); {_NEEDED}. "
            "Download it again."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise UserError(f"{where}: holds a {type(content).__name__} that is not tensors by name; {_NEEDED}.")
    return content


def sam_from_original(model: nn.Module) -> SamModel:
    """Return a transformers SamModel with the weights of a live segment_anything Sam; the weights are shared.

    Raises:
        UserError: the object is no such model.
    """
    where = "segment_anything model"
    if not isinstance(model, nn.Module):
        raise UserError(
            f"{where}: a {type(model).__name__} was given; {_NEEDED}. "
            "Give what sam_model_registry['vit_b'](checkpoint=...) returns; of a SamPredictor, its .model."
        )
    layers = getattr(getattr(getattr(model, "mask_decoder", None), "transformer", None), "layers", None)
    attention = getattr(layers[0], "self_attn", None) if layers else None
    heads = getattr(attention, "num_heads", DECODER_HEADS)
    return sam_from_original_weights(model.state_dict(), where, decoder_heads=heads)


def sam_from_original_weights(
    weights: Mapping[str, Tensor], where: str, *, decoder_heads: int = DECODER_HEADS
) -> SamModel:
    """Return a transformers SamModel that computes what the original does with these weights.

    Args:
        weights: by the original's names, of any floating dtype; they are taken over, not copied.
        where: flag and value, or the kind of object, for the error text.
        decoder_heads: attention heads of the mask decoder.

    Raises:
        UserError: they are another model's, incomplete, or their shapes do not fit together.
    """
    for part, owner, remedy in _OTHERS:
        if any(part in name for name in weights):
            raise UserError(f"{where}: holds {owner} weights; {_NEEDED}. {remedy}.")
    renamed = translated(weights)
    try:
        config = config_of(weights, decoder_heads)
        # On the meta device: random weights would be drawn for seconds only to be replaced.
        with torch.device("meta"):
            model = SamModel(config)
        _check_names(renamed, model, where)
        model.load_state_dict(renamed, assign=True)
    except KeyError as error:
        raise UserError(
            f"{where}: {error.args[0]} is missing; {_NEEDED}. Download or save them again."
        ) from error
    except (RuntimeError, ValueError, IndexError) as error:
        reason = one_line(error).split(". ")[0].rstrip(".")
        raise UserError(f"{where}: the weights do not fit together ({reason}); {_NEEDED}.") from error
    model.tie_weights()
    return model


def translated(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by transformers' names; the shared encoding of positions by both of its names."""
    depths: dict[str, int] = {}
    for name in weights:
        if match := _MLP_LAYER.match(name):
            depths[match[1]] = max(depths.get(match[1], 0), int(match[2]))
    renamed = {_name(name, depths): value for name, value in weights.items()}
    shared = "prompt_encoder.shared_embedding.positional_embedding"
    if shared in renamed:
        renamed["shared_image_embedding.positional_embedding"] = renamed[shared]
    # Older files carry the constants of the preprocessing.
    return {name: value for name, value in renamed.items() if name not in ("pixel_mean", "pixel_std")}


def config_of(weights: Mapping[str, Tensor], decoder_heads: int) -> SamConfig:
    """Return the config of a model that these weights fit, read off their shapes.

    A block of the encoder attends to the whole picture where its relative positions span the whole grid; the
    others' span their window: 2 size - 1 positions, of as many numbers as a head has.

    Raises:
        KeyError: a weight that a size is read from is missing.
        IndexError, ValueError: a shape is no SAM's.
    """
    depth = _count(weights, r"^image_encoder\.blocks\.(\d+)\.")
    _, grid, _, width = weights["image_encoder.pos_embed"].shape
    patch_size = weights["image_encoder.patch_embed.proj.weight"].shape[-1]
    spans = [weights[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape for i in range(depth)]
    windows = {(span + 1) // 2 for span, _ in spans if span != 2 * grid - 1}
    if len(windows) > 1:
        raise ValueError(f"windows of several sizes: {sorted(windows)}")
    channels = weights["image_encoder.neck.0.weight"].shape[0]
    cross = weights["mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"]
    head = weights["mask_decoder.iou_prediction_head.layers.0.weight"]
    vision = {
        "hidden_size": width,
        "output_channels": channels,
        "num_hidden_layers": depth,
        "num_attention_heads": width // spans[0][1],
        "image_size": grid * patch_size,
        "patch_size": patch_size,
        "qkv_bias": "image_encoder.blocks.0.attn.qkv.bias" in weights,
        # Where every block attends to the whole picture, the size of a window is never used.
        "window_size": windows.pop() if windows else grid,
        "global_attn_indexes": [i for i, (span, _) in enumerate(spans) if span == 2 * grid - 1],
        "num_pos_feats": weights["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].shape[1],
        "mlp_dim": weights["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
    }
    prompts = {
        "hidden_size": channels,
        "image_size": grid * patch_size,
        "patch_size": patch_size,
        "mask_input_channels": weights["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    }
    decoder = {
        "hidden_size": channels,
        "mlp_dim": weights["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        "num_hidden_layers": _count(weights, r"^mask_decoder\.transformer\.layers\.(\d+)\."),
        "num_attention_heads": decoder_heads,
        "attention_downsample_rate": channels // cross.shape[0],
        "num_multimask_outputs": weights["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        "iou_head_depth": _count(weights, r"^mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
        "iou_head_hidden_dim": head.shape[0],
        "layer_norm_eps": _DECODER_LAYER_NORM_EPS,
    }
    return SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Return one more than the largest number in the names that match."""
    return 1 + max((int(match[1]) for name in weights if (match := re.match(pattern, name))), default=-1)


def _name(name: str, depths: dict[str, int]) -> str:
    """Return transformers' name of a weight; `depths` holds the last layer's number of each small network."""
    if match := _MLP_LAYER.match(name):
        number, last = int(match[2]), depths[match[1]]
        layer = {0: "proj_in", last: "proj_out"}.get(number, f"layers.{number - 1}")
        return f"{match[1]}.{layer}.{name[match.end() :]}"
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _check_names(renamed: Mapping[str, Tensor], model: SamModel, where: str) -> None:
    """Raise a UserError unless these are all the model's weights, and no others."""
    wanted = model.state_dict().keys()
    if missing := sorted(wanted - renamed.keys()):
        raise UserError(
            f"{where}: {len(missing)} of the weights are missing ({missing[0]}); {_NEEDED}. "
            "Download or save them again."
        )
    if unknown := sorted(renamed.keys() - wanted):
        raise UserError(f"{where}: {unknown[0]} is no weight of the original SAM; {_NEEDED}.")
