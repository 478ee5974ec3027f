"""`sam`: what the image encoder of Segment Anything says of a cell; whoever finds subjects has it."""

from functools import partial

import numpy as np
from jaxtyping import Bool, Float, UInt8

from persam_dreambooth.diffusion.weights_digest import weights_digest
from persam_dreambooth.leakage.features.encoding import EncoderFeatures
from persam_dreambooth.leakage.features.pixel_values import to_cells
from persam_dreambooth.sam.segmenter import Segmenter

NAME = "sam"
VERSION = 1


def sam_features(segmenter: Segmenter) -> EncoderFeatures:
    """Return the features of a segmenter's encoder, computed where it is."""
    return EncoderFeatures(
        NAME,
        VERSION,
        segmenter.model.config.prompt_encoder_config.hidden_size,
        partial(_encode, segmenter),
        partial(weights_digest, segmenter.model),
    )


def _encode(
    segmenter: Segmenter,
    pixels: UInt8[np.ndarray, "H W 3"],
    wanted: Bool[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns d"]:
    """Return what the encoder says of each cell; of a padded square only where the picture is."""
    embedding = segmenter.encode(pixels)
    sides = zip(embedding.features.shape[-2:], embedding.input_size, strict=True)
    # Rounded up: the last places of a picture may be partly padding.
    rows, columns = (-(-places * pixels_in // segmenter.input_length) for places, pixels_in in sides)
    return to_cells([embedding.features[..., :rows, :columns]], wanted.shape)
