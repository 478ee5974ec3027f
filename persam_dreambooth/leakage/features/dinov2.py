"""`dinov2`: what DINOv2 says of a cell, with or without register tokens."""

import torch
from transformers import Dinov2Model, Dinov2WithRegistersModel

from persam_dreambooth.leakage.features.encoding import EncoderFeatures
from persam_dreambooth.leakage.features.pixel_values import IMAGENET_MEAN, IMAGENET_STD
from persam_dreambooth.leakage.features.token_drop import Tower, tower_features
from persam_dreambooth.leakage.features.transformer_files import load_model, read_config

NAME = "dinov2"

_CLASSES = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}


def dinov2_features(
    name_or_path: str, device: torch.device | str = "cpu", *, example: str
) -> EncoderFeatures:
    """Return the features of a model by its name.

    Args:
        name_or_path: a folder in transformers' format, or a hub id.
        device: where to compute.
        example: a hub id that would do, for error texts.

    Raises:
        UserError: there is no such model, or it is of another kind.
    """
    config = read_config(NAME, name_or_path, _CLASSES, example)
    model = load_model(NAME, name_or_path, _CLASSES[config.model_type], config, example)
    return tower_features(NAME, dinov2_tower(model.to(device)))


def dinov2_tower(model: Dinov2Model | Dinov2WithRegistersModel) -> Tower:
    """Return the tower of a model: its last layer, normalised as the model does it."""
    return Tower(
        model=model,
        embed=model.embeddings,
        run_blocks=lambda tokens: model.layernorm(model.encoder(tokens).last_hidden_state),
        num_prefix=1 + getattr(model.config, "num_register_tokens", 0),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
