"""The SAMs that transformers has, and what each of them does its own way: one line of a table each.

All have the same two-way decoder, so that PerSAM's steps apply to all (docs/sam.md says which how). They
differ in how a photo is brought to a square, in what the encoder hands to the decoder beside the features,
and in the order of the masks.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import PreTrainedModel

from persam_dreambooth.sam.preprocessing import (
    PIXEL_MEAN,
    PIXEL_STD,
    PLAIN_MEAN,
    PLAIN_STD,
    preprocess,
    resized_size,
    squeeze,
)

# Takes and returns masks [b p k h w] and IoU predictions [b p k].
Ordering = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Encoded:
    """What an image encoder says of a batch of photos."""

    features: Float[Tensor, "b c gh gw"]
    """The grid that prompts meet in the decoder; not normalised."""
    fine_features: tuple[Tensor, ...]
    """What the decoder takes beside them, batch first; nothing for Sam."""


@dataclass(frozen=True)
class Family:
    """One architecture. Its model class is named, not imported: only the one in use is loaded."""

    model_class: str
    model_types: tuple[str, ...]
    """`model_type` of the configs it loads from; video models hold the image model within them."""
    example: str
    """A hub id."""
    pads: bool
    """Keeps a photo's proportions and pads to the square; otherwise squeezes."""
    encode: Callable[[PreTrainedModel, Tensor], Encoded]
    decoder_inputs: Callable[[Tensor, tuple[Tensor, ...]], dict]
    """Features and fine features as keyword arguments of the model."""
    pixel_mean: tuple[float, float, float] = PIXEL_MEAN
    pixel_std: tuple[float, float, float] = PIXEL_STD
    sorts_masks: bool = False
    """The decoder hands out its three masks sorted by predicted IoU."""

    def preprocess(self, pixels: UInt8[np.ndarray, "H W 3"], side: int) -> Float[Tensor, "1 3 L L"]:
        """Return a photo as the encoder wants it, in a square of this side in pixels."""
        if self.pads:
            return preprocess(pixels, side)
        return squeeze(pixels, side, self.pixel_mean, self.pixel_std)

    def input_size(self, size: tuple[int, int], side: int) -> tuple[int, int]:
        """Return (height, width) that a photo of this size takes up of the square, in pixels."""
        return resized_size(size, side) if self.pads else (side, side)

    @contextmanager
    def decoding(self, mask_decoder: nn.Module) -> Iterator[Ordering]:
        """Yield what puts the masks of a pass inside the block, and their IoUs, into the tokens' order."""
        with _token_order(mask_decoder) if self.sorts_masks else nullcontext(_as_they_come) as order:
            yield order


def _as_they_come(masks: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """Return masks and IoU predictions unchanged."""
    return masks, iou


@contextmanager
def _token_order(mask_decoder: nn.Module) -> Iterator[Ordering]:
    """Yield a function that undoes the sorting by predicted IoU.

    PerSAM-F weighs the three masks by their extent: the first weight must meet the same token's mask in every
    photo. The predictions are caught before the decoder sorts them; sorting them again gives its order.
    """
    caught: dict[str, Tensor] = {}

    def catch(_module: nn.Module, _args: tuple, output: Tensor) -> None:
        caught["iou"] = output

    def undo(
        masks: Float[Tensor, "b p k h w"], iou: Float[Tensor, "b p k"]
    ) -> tuple[Float[Tensor, "b p k h w"], Float[Tensor, "b p k"]]:
        if masks.shape[2] == 1:
            return masks, iou
        _, taken = torch.sort(caught["iou"][:, :, 1:], dim=2, descending=True)
        place = taken.argsort(dim=2)
        return torch.take_along_dim(masks, place[..., None, None], dim=2), iou.gather(2, place)

    handle = mask_decoder.iou_prediction_head.register_forward_hook(catch)
    try:
        yield undo
    finally:
        handle.remove()


def _embeddings(model: PreTrainedModel, pixel_values: Float[Tensor, "b 3 L L"]) -> Tensor | list[Tensor]:
    """Return what the model's own method does; whether there are gradients is the caller's matter."""
    # transformers switches them off by a decorator; adapting an encoder needs them.
    return inspect.unwrap(type(model).get_image_embeddings)(model, pixel_values)


def _encode_sam(model: PreTrainedModel, pixel_values: Float[Tensor, "b 3 L L"]) -> Encoded:
    return Encoded(_embeddings(model, pixel_values), ())


def _encode_sam_hq(model: PreTrainedModel, pixel_values: Float[Tensor, "b 3 L L"]) -> Encoded:
    features, early = _embeddings(model, pixel_values)
    # The decoder looks at the first global layer's output only; the others would cost memory for nothing.
    return Encoded(features, tuple(early[:1]))


def _encode_sam2(model: PreTrainedModel, pixel_values: Float[Tensor, "b 3 L L"]) -> Encoded:
    # Its "no memory of earlier frames" is in the features already: they are what the decoder takes.
    *fine, features = _embeddings(model, pixel_values)
    return Encoded(features.contiguous(), tuple(level.contiguous() for level in fine))


def _sam_inputs(features: Tensor, _fine: tuple[Tensor, ...]) -> dict:
    return {"image_embeddings": features}


def _sam_hq_inputs(features: Tensor, fine: tuple[Tensor, ...]) -> dict:
    return {"image_embeddings": features, "intermediate_embeddings": list(fine)}


def _sam2_inputs(features: Tensor, fine: tuple[Tensor, ...]) -> dict:
    return {"image_embeddings": [*fine, features]}


FAMILIES = (
    Family("SamModel", ("sam",), "facebook/sam-vit-base", True, _encode_sam, _sam_inputs),
    Family(
        "SamHQModel",
        ("sam_hq",),
        "syscv-community/sam-hq-vit-base",
        True,
        _encode_sam_hq,
        _sam_hq_inputs,
        sorts_masks=True,
    ),
    Family(
        "Sam2Model", ("sam2", "sam2_video"), "facebook/sam2.1-hiera-tiny", False, _encode_sam2, _sam2_inputs
    ),
    Family(
        "Sam3TrackerModel",
        ("sam3_tracker", "sam3_tracker_video", "sam3_video"),
        "facebook/sam3",
        False,
        _encode_sam2,
        _sam2_inputs,
        pixel_mean=PLAIN_MEAN,
        pixel_std=PLAIN_STD,
    ),
    Family(
        "EdgeTamModel",
        ("edgetam", "edgetam_video"),
        "yonigozlan/EdgeTAM-hf",
        False,
        _encode_sam2,
        _sam2_inputs,
    ),
)


def family_of(model: PreTrainedModel) -> Family:
    """Return a model's family.

    Raises:
        TypeError: it is of no family; the caller has built it, so this is no matter of input.
    """
    for family in FAMILIES:
        if family.model_class == type(model).__name__:
            return family
    raise TypeError(f"{type(model).__name__} is none of {[family.model_class for family in FAMILIES]}")


def family_for(model_type: object) -> Family | None:
    """Return the family that loads a config of this `model_type`, or None."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)
