"""EfficientNet-Lite0 down to a sixteenth of the picture, without torchvision: stem and 11 of 16 blocks.

    block 0      3 x 3              32 -> 16    at 1/2
    blocks 1-2   3 x 3, expands 6x  16 -> 24    1/4
    blocks 3-4   5 x 5, expands 6x  24 -> 40    1/8
    blocks 5-7   3 x 3, expands 6x  40 -> 80    1/16
    blocks 8-10  5 x 5, expands 6x  80 -> 112   1/16

A block widens by a 1 x 1 convolution, filters each channel by itself, narrows by a 1 x 1 convolution, and
adds what it was given where the shapes agree. The batch norms are folded into the convolutions.

Source: Tan and Le 2019, EfficientNet, table 1; TensorFlow's efficientnet/lite/efficientnet_lite_builder.py
(no squeeze-and-excitation, ReLU6); names of the weights: PyPI package efficientnet-lite-pytorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

NUM_BLOCKS = 11
"""Blocks that are read."""
STRIDE = 16
"""Pixels of the picture to a cell of what they return, along each side."""
_STRIDED = (1, 3, 5)
"""Blocks that halve the sides."""
_NORM_EPS = 1e-3


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with its batch norm folded in."""

    weight: Float[Tensor, "out in k k"]
    bias: Float[Tensor, " out"]
    stride: int = 1
    activates: bool = True


@dataclass(frozen=True, eq=False)
class Block:
    """Convolutions one after the other, with or without what they were given added."""

    convolutions: tuple[Convolution, ...]
    adds_input: bool = False


def build(weights: Mapping[str, Tensor]) -> tuple[Block, ...]:
    """Return stem and blocks from a state dict.

    Raises:
        KeyError: a weight is missing.
    """
    stem = Block((_folded(weights, "_conv_stem", "_bn0", stride=2),))
    return (stem, *(_block(weights, number) for number in range(NUM_BLOCKS)))


def run(
    network: tuple[Block, ...], pixel_values: Float[Tensor, "b 3 H W"]
) -> list[Float[Tensor, "b _c _h _w"]]:
    """Return what the stem and each block make of pictures.

    Args:
        network: from `build`.
        pixel_values: (RGB of 0 to 255, less 127) / 128; both sides divisible by STRIDE.
    """
    outputs, values = [], pixel_values
    for block in network:
        given = values
        for convolution in block.convolutions:
            values = _convolved(convolution, values)
        values = values + given if block.adds_input else values
        outputs.append(values)
    return outputs


def on_device(network: tuple[Block, ...], device: torch.device | str) -> tuple[Block, ...]:
    """Return the network on a device."""
    return tuple(
        Block(
            tuple(
                Convolution(c.weight.to(device), c.bias.to(device), c.stride, c.activates)
                for c in block.convolutions
            ),
            block.adds_input,
        )
        for block in network
    )


def _block(weights: Mapping[str, Tensor], number: int) -> Block:
    """Return one block; the first does not widen."""
    name, stride = f"_blocks.{number}.", 2 if number in _STRIDED else 1
    widen = [_folded(weights, f"{name}_expand_conv", f"{name}_bn0")] if number else []
    filtering = _folded(weights, f"{name}_depthwise_conv", f"{name}_bn1", stride)
    narrow = _folded(weights, f"{name}_project_conv", f"{name}_bn2", activates=False)
    convolutions = (*widen, filtering, narrow)
    given = convolutions[0].weight.shape[1] if number else convolutions[0].weight.shape[0]
    return Block(convolutions, adds_input=stride == 1 and given == len(narrow.bias))


def _folded(
    weights: Mapping[str, Tensor], convolution: str, norm: str, stride: int = 1, *, activates: bool = True
) -> Convolution:
    """Return w x + b that equals the batch norm of the convolution."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _NORM_EPS).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return Convolution(weights[f"{convolution}.weight"] * scale[:, None, None, None], bias, stride, activates)


def _convolved(convolution: Convolution, values: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _h _w"]:
    """Return what a convolution makes of its input, padded as TensorFlow pads."""
    weight, stride = convolution.weight, convolution.stride
    # The larger half lies at the right and at the bottom; sides are even wherever they are halved.
    total = weight.shape[-1] - stride
    before = total // 2
    values = pad(values, (before, total - before, before, total - before))
    groups = values.shape[1] // weight.shape[1]
    result = conv2d(values, weight, convolution.bias, stride, groups=groups)
    return result.clamp(0, 6) if convolution.activates else result
