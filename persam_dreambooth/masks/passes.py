"""Passes of SAM's decoder over one photo, each fed with the result of the one before.

Source: Zhang et al., Personalize Segment Anything Model with One Shot (arXiv 2305.03048), persam.py.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persam_dreambooth.errors import UserError
from persam_dreambooth.sam.segmenter import Decoded, Embedding, Segmenter

_REMEDY = (
    "Remove the photo, or put a mask of your own beside it, named like the photo but ending in .mask.png."
)


@dataclass(frozen=True, eq=False)
class DecoderPass:
    """One pass of the decoder: what it was told and what it said."""

    low_res_logits: Float[Tensor, "k h w"]
    """One or three masks over the padded square, unthresholded."""
    iou_predictions: Float[Tensor, " k"]
    """SAM's own guess of each mask's IoU with the truth."""
    chosen: int
    """Which of the masks was handed on; of three that were blended, the one with the largest weight."""
    box: Float[Tensor, " 4"] | None
    """XYXY in the photo's pixels that the pass was prompted with, or None."""


@dataclass(frozen=True, eq=False)
class FoundMask:
    """The subject in one photo, and how it was found."""

    mask: Bool[Tensor, "H W"]
    """The chosen mask of the last of `passes`."""
    point_coords: Float[Tensor, "n 2"]
    """(x, y) in pixels."""
    point_labels: Int[Tensor, " n"]
    """1 on the subject, 0 beside it."""
    box: Float[Tensor, " 4"]
    """XYXY in pixels: the box of the last pass; the mask's own, where that pass had none."""
    iou_prediction: float
    """SAM's own guess of this mask's IoU with the truth."""
    passes: tuple[DecoderPass, ...] = ()
    """The first pass, then the refinements."""
    similarity: Float[Tensor, "H W"] | None = None
    """S at the photo's size; None where `refine` was called alone."""
    attention_similarity: Float[Tensor, "gh gw"] | None = None
    """The guidance of the first pass, where it was guided."""
    mask_weights: tuple[float, float, float] | None = None
    """PerSAM-F's weights of SAM's three masks."""


def refine(
    segmenter: Segmenter,
    embedding: Embedding,
    point_coords: Float[Tensor, "n 2"],
    point_labels: Int[Tensor, " n"],
    *,
    box: Float[Tensor, " 4"] | None,
    mask_input: Float[Tensor, "1 h w"],
    photo_name: str,
    compat: bool = False,
) -> FoundMask:
    """Return the mask after two more passes, each fed with the logits before it, the last with their box.

    Each pass keeps, of SAM's three masks, the one that it believes in most of those that can be a subject:
    neither empty nor the whole photo. Where the second pass has none, the first one's mask stays.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        point_coords: (x, y) in the photo's pixels.
        point_labels: 1 on the subject, 0 beside it.
        box: XYXY in the photo's pixels for the first of the two passes, or None.
        mask_input: logits of the pass before.
        photo_name: the photo's file, for the error text.
        compat: take the mask that SAM believes in most, whatever it holds, as the authors do.

    Raises:
        UserError: the first of the two passes has no mask that can be used; with `compat`, the mask that SAM
            believes in most is empty.
    """
    passes: list[DecoderPass] = []
    for _ in range(2):
        decoded = segmenter.decode(
            embedding,
            point_coords=point_coords,
            point_labels=point_labels,
            box=box,
            mask_input=mask_input,
        )
        best = likeliest(decoded) if compat else likeliest_usable(segmenter, embedding, decoded)
        if best is None:
            break
        passes.append(DecoderPass(decoded.low_res_logits, decoded.iou_predictions, best, box))
        mask_input = decoded.low_res_logits[best : best + 1]
        mask = segmenter.mask_logits(mask_input, embedding)[0] > 0
        if not mask.any():
            raise empty_mask(photo_name)
        box = tight_box(mask)
    if not passes:
        raise not_found(photo_name)
    last = passes[-1]
    return FoundMask(
        mask=mask,
        point_coords=point_coords,
        point_labels=point_labels,
        box=box if last.box is None else last.box,
        iou_prediction=float(last.iou_predictions[last.chosen]),
        passes=tuple(passes),
    )


def likeliest(decoded: Decoded) -> int:
    """Return which of SAM's masks it believes in most; the first of equals."""
    return int(decoded.iou_predictions.argmax())


def likeliest_usable(segmenter: Segmenter, embedding: Embedding, decoded: Decoded) -> int | None:
    """Return which of SAM's masks it believes in most, of those neither empty nor full; None if none is."""
    areas = (segmenter.mask_logits(decoded.low_res_logits, embedding) > 0).float().mean(dim=(1, 2))
    usable = (areas > 0) & (areas < 1)
    if not usable.any():
        return None
    return int(decoded.iou_predictions.masked_fill(~usable, -torch.inf).argmax())


def tight_box(mask: Bool[Tensor, "H W"]) -> Float[Tensor, " 4"]:
    """Return XYXY of a mask's extent in pixels: the first and last column and row of it, no margin.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no box")
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    return torch.stack([columns[0], rows[0], columns[-1], rows[-1]]).flatten().float().cpu()


def not_found(photo_name: str) -> UserError:
    """Return the error that says that no mask of a photo can be used."""
    return UserError(
        f"{photo_name}: the subject was not found (each mask is empty or covers the whole photo); "
        f"every photo needs a mask. {_REMEDY}"
    )


def empty_mask(photo_name: str) -> UserError:
    """Return the error that says that the mask the authors' program takes is empty."""
    return UserError(
        f"{photo_name}: the mask that SAM believes in most is empty, and --persam_compat takes no other; "
        "every photo needs a mask. Leave --persam_compat out, or put a mask of your own beside the photo, "
        "named like it but ending in .mask.png."
    )
