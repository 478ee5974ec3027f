"""How a photo reaches a SAM's image encoder: resized, normalised, and padded or squeezed to a square.

Sam and SamHQ keep a photo's proportions and pad; Sam2 and its descendants squeeze every photo to the square.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

# Mean and spread of ImageNet's RGB values, 0 to 255: what every SAM but the third was trained with.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

# The third takes -1 to 1.
PLAIN_MEAN = PLAIN_STD = (127.5, 127.5, 127.5)


def resized_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return (height, width) in pixels after the longer side is scaled to `long_side`, up or down.

    Source: segment-anything, utils/transforms.py, ResizeLongestSide.get_preprocess_shape.
    """
    scale = long_side / max(size)
    # At least one pixel, for photos so narrow that rounding would leave nothing.
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def preprocess(pixels: UInt8[np.ndarray, "H W 3"], long_side: int) -> Float[Tensor, "1 3 L L"]:
    """Return a photo as SAM sees it: resized, normalised, padded with zeros at the right and the bottom.

    The resizing is Pillow's (antialiased, rounded to whole grey values); other bilinear filters change the
    features by a percent.

    Args:
        pixels: RGB, 0 to 255.
        long_side: side of the padded square L, in pixels.

    Source: segment-anything, ResizeLongestSide.apply_image and Sam.preprocess.
    """
    height, width = resized_size(pixels.shape[:2], long_side)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    values = normalise(values, PIXEL_MEAN, PIXEL_STD)
    return pad(values, (0, long_side - width, 0, long_side - height))[None]


def squeeze(
    pixels: UInt8[np.ndarray, "H W 3"],
    side: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Tensor, "1 3 L L"]:
    """Return a photo as Sam2 sees it: squeezed to a square, whatever its proportions, and normalised.

    Antialiased and in whole grey values throughout: what torchvision, which the models' own processors need,
    does on a CPU. Pillow's values differ by one in places.

    Args:
        pixels: RGB, 0 to 255.
        side: side of the square L, in pixels.
        mean: of red, green and blue, 0 to 255.
        std: of red, green and blue, in the same unit.

    Source: transformers, Sam2ImageProcessor and Sam3ImageProcessor.
    """
    values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    resized = interpolate(values, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return normalise(resized.float(), mean, std)


def normalise(
    values: Float[Tensor, "*b 3 h w"], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float[Tensor, "*b 3 h w"]:
    """Return RGB less its mean, in units of its spread."""
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def bilinear(maps: Float[Tensor, "k h w"], size: tuple[int, int]) -> Float[Tensor, "k H W"]:
    """Return maps resized to (height, width) the way SAM does everywhere: bilinear, no antialiasing."""
    return interpolate(maps[None], size=size, mode="bilinear", align_corners=False, antialias=False)[0]
