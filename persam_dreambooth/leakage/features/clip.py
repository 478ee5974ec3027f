"""`clip`: what CLIP's vision tower says of a cell. Stable Diffusion 1.x has one: its safety checker."""

from functools import partial

import torch
from torch import Tensor
from transformers import CLIPVisionModel

from persam_dreambooth.leakage.features.encoding import EncoderFeatures
from persam_dreambooth.leakage.features.token_drop import Tower, tower_features
from persam_dreambooth.leakage.features.transformer_files import load_model, read_config

NAME = "clip"

_KINDS = ("clip", "clip_vision_model")

# Of the pictures that CLIP was trained on, in RGB of 0 to 255. Source: CLIPImageProcessor of transformers.
_MEAN = (122.7709, 116.7460, 104.0937)
_STD = (68.5005, 66.6322, 70.3232)

# The same tower lies in different depths: by itself, with a projection, in a whole CLIP, and in the safety
# checker, as it is published and as newer versions save it.
_TOWER = {r"^(vision_model\.)+": ""}


def clip_features(name_or_path: str, device: torch.device | str = "cpu", *, example: str) -> EncoderFeatures:
    """Return the features of a model by its name.

    Args:
        name_or_path: folder or hub id of a CLIP, of its vision tower, or of a safety checker.
        device: where to compute.
        example: a hub id that would do, for error texts.

    Raises:
        UserError: there is no such model, or it is of another kind.
    """
    config = read_config(NAME, name_or_path, _KINDS, example)
    config = getattr(config, "vision_config", config)
    model = load_model(NAME, name_or_path, "CLIPVisionModel", config, example, key_mapping=_TOWER)
    return tower_features(NAME, clip_tower(model.to(device)))


def clip_tower(model: CLIPVisionModel) -> Tower:
    """Return the tower of a model: its last layer but one.

    CLIP's loss reads the class token alone: what the last block makes of patches is not used in training, so
    that nothing holds it to mean anything.
    """
    return Tower(
        model=model,
        embed=partial(_embed, model),
        run_blocks=partial(_run_blocks, model),
        num_prefix=1,
        mean=_MEAN,
        std=_STD,
    )


def _embed(model: CLIPVisionModel, pixel_values: Tensor) -> Tensor:
    """Return patches as tokens; positions are interpolated for pictures that are no square of its size."""
    return model.pre_layrnorm(model.embeddings(pixel_values, interpolate_pos_encoding=True))


def _run_blocks(model: CLIPVisionModel, tokens: Tensor) -> Tensor:
    """Return the tokens after all blocks but the last."""
    for block in model.encoder.layers[:-1]:
        tokens = block(tokens, None)
    return tokens
