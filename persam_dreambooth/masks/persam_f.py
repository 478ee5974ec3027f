"""PerSAM-F: PerSAM with two fitted numbers for how far the subject reaches: a part, the thing, all of it.

Unlike PerSAM it uses neither guided attention, nor the target as a prompt, nor a point beside the subject;
that is how the authors' program computes, whatever the paper's ablation suggests.

Source: Zhang et al., Personalize Segment Anything Model with One Shot (arXiv 2305.03048), persam_f.py.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persam_dreambooth.masks.mask_fit import fit_mask_weights
from persam_dreambooth.masks.persam import (
    FoundMask,
    likeliest_usable,
    not_found,
    pixel_of,
    refine,
    similarity_map,
    subject_features,
    tight_box,
    unit,
)
from persam_dreambooth.sam.segmenter import Decoded, Embedding, Segmenter


@dataclass(frozen=True, eq=False)
class Target:
    """What PerSAM-F remembers of the subject."""

    direction: Float[Tensor, " c"]
    """t: unit vector that features are compared with."""
    mask_weights: Float[Tensor, " 3"]
    """Weights of SAM's three masks, in SAM's order; their sum is 1, and one may be negative."""


def fit(segmenter: Segmenter, embedding: Embedding, mask: Bool[np.ndarray, "H W"], mask_name: str) -> Target:
    """Return what is to be remembered of the subject under a mask.

    SAM is frozen and its prompt fixed, so its three masks of the reference never change: they are decoded
    once and the weights are fitted on them.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded reference photo.
        mask: True on the subject, at the photo's size.
        mask_name: the mask's file, for the error text.

    Raises:
        UserError: the subject is smaller than a cell of the feature grid.
    """
    features = subject_features(segmenter, embedding, mask, mask_name)
    direction = unit(features.amax(dim=0) / 2 + features.mean(dim=0) / 2)
    decoded, _ = _decode_at_best_point(segmenter, embedding, direction)
    mask_logits = segmenter.mask_logits(decoded.low_res_logits, embedding)
    return Target(direction, fit_mask_weights(mask_logits, torch.from_numpy(mask)))


def find(segmenter: Segmenter, embedding: Embedding, target: Target, photo_name: str) -> FoundMask:
    """Return the mask of the remembered subject in an encoded photo.

    The fitted weights shape the box and the logits of the first refinement; the mask itself is one of SAM's
    own. Where the weighted masks cancel out (the authors' code crashes), SAM's likeliest takes their place.

    Raises:
        UserError: no mask of SAM's can be used; the text names the photo.
    """
    decoded, point_coords = _decode_at_best_point(segmenter, embedding, target.direction)
    weights = target.mask_weights.to(decoded.low_res_logits)[:, None, None]
    logits = (weights * decoded.low_res_logits).sum(dim=0, keepdim=True)
    mask = (weights * segmenter.mask_logits(decoded.low_res_logits, embedding)).sum(dim=0) > 0
    if not mask.any():
        best = likeliest_usable(segmenter, embedding, decoded)
        if best is None:
            raise not_found(photo_name)
        logits = decoded.low_res_logits[best : best + 1]
        mask = segmenter.mask_logits(logits, embedding)[0] > 0
    found = refine(
        segmenter,
        embedding,
        point_coords,
        torch.tensor([1]),
        box=tight_box(mask),
        mask_input=logits,
        photo_name=photo_name,
    )
    return replace(found, mask_weights=tuple(target.mask_weights.tolist()))


def _decode_at_best_point(
    segmenter: Segmenter, embedding: Embedding, direction: Float[Tensor, " c"]
) -> tuple[Decoded, Float[Tensor, "1 2"]]:
    """Return SAM's three masks for the most similar pixel, and that pixel."""
    similarity = similarity_map(segmenter, embedding, direction)
    point_coords = pixel_of(similarity.argmax(), similarity)[None]
    return segmenter.decode(
        embedding, point_coords=point_coords, point_labels=torch.tensor([1])
    ), point_coords
