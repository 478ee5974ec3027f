"""`dift`: what the base model's own UNet knows of a cell; nothing to download for who has the model."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.unet_features import UNetReader, unet_features, unet_reader
from persam_dreambooth.diffusion.weights_digest import weights_digest
from persam_dreambooth.leakage.features.cells import NUM_CELLS
from persam_dreambooth.leakage.features.encoding import EncoderFeatures
from persam_dreambooth.leakage.features.pixel_values import pixel_values, to_cells
from persam_dreambooth.run import digest_of

NAME = "dift"
VERSION = 1

# To -1 to 1.
_MEAN = _STD = (127.5, 127.5, 127.5)


def dift_features(models: Models, device: torch.device | str = "cpu") -> EncoderFeatures:
    """Return the features.

    Args:
        models: the base model, as it was before any fine-tuning; its VAE and UNet move to the device.
        device: where to compute.
    """
    reader = unet_reader(models, device)
    # About the size that the model was made for, in whole places of its features.
    cell = reader.stride * max(1, round(models.default_resolution / NUM_CELLS / reader.stride))
    return EncoderFeatures(
        NAME, VERSION, reader.num_features, partial(_encode, reader, cell), partial(_made_from, models)
    )


def _encode(
    reader: UNetReader,
    cell: int,
    pixels: UInt8[np.ndarray, "H W 3"],
    wanted: Bool[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns d"]:
    """Return what the UNet says of each cell."""
    features = unet_features(reader, pixel_values(pixels, wanted.shape, cell, _MEAN, _STD))
    return to_cells([features[None]], wanted.shape)


def _made_from(models: Models) -> str:
    """Return a digest of everything the features follow from: weights, noise schedule, scale of latents."""
    parts = (models.unet, models.vae, *models.text_encoders)
    configs = [dict(part.config) for part in (models.unet, models.vae, models.noise_scheduler)]
    told = [{key: str(value) for key, value in config.items() if key[0] != "_"} for config in configs]
    return digest_of([weights_digest(part) for part in parts], type(models.noise_scheduler).__name__, told)
