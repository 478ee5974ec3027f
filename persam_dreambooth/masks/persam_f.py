"""PerSAM-F: PerSAM with two fitted numbers for how far the subject reaches: a part, the thing, all of it.

Unlike PerSAM it uses neither guided attention, nor the target as a prompt, nor a point beside the subject;
that is how the authors' program computes, whatever the paper's ablation suggests.

Source: Zhang et al., Personalize Segment Anything Model with One Shot (arXiv 2305.03048), persam_f.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from persam_dreambooth.masks.cells import Reference, pixel_of, similarity_map, subject_features, unit
from persam_dreambooth.masks.mask_fit import Solver, fit_mask_weights
from persam_dreambooth.masks.passes import (
    DecoderPass,
    FoundMask,
    empty_mask,
    likeliest_usable,
    not_found,
    refine,
    tight_box,
)
from persam_dreambooth.sam.segmenter import Decoded, Embedding, Segmenter


@dataclass(frozen=True, eq=False)
class Target:
    """What PerSAM-F remembers of the subject."""

    direction: Float[Tensor, " c"]
    """t: unit vector that features are compared with, half of their maximum and half of their mean."""
    target_embedding: Float[Tensor, " c"]
    """T: mean feature of the subject, not normalised. Not used to find it."""
    mask_weights: Float[Tensor, " 3"]
    """Weights of SAM's three masks, in SAM's order; their sum is 1, and one may be negative."""


def fit(
    segmenter: Segmenter,
    references: Sequence[Reference],
    *,
    compat: bool = False,
    solver: Solver = "adamw",
) -> Target:
    """Return what is to be remembered of the subject, from all references together.

    SAM is frozen and its prompt fixed, so its three masks of a reference never change: they are decoded once
    and the weights are fitted on them, on the pixels of all references at once.

    Args:
        segmenter: the model that made the references' embeddings.
        references: at least one.
        compat: count the subject's cells as the authors do.
        solver: `adamw` ends where the authors' 1000 steps end, `lbfgs` at the minimum of the same loss.

    Raises:
        UserError: the subject of a reference is smaller than a cell of the feature grid.
    """
    features = subject_features(segmenter, references, compat=compat)
    direction = unit(features.amax(dim=0) / 2 + features.mean(dim=0) / 2)
    logits, masks = [], []
    for reference in references:
        similarity = similarity_map(segmenter, reference.embedding, direction)
        decoded, _ = _decode_at_best_point(segmenter, reference.embedding, similarity)
        logits.append(segmenter.mask_logits(decoded.low_res_logits, reference.embedding).flatten(1).cpu())
        masks.append(torch.from_numpy(reference.mask).flatten())
    weights = fit_mask_weights(torch.cat(logits, dim=1), torch.cat(masks), solver=solver)
    return Target(direction, features.mean(dim=0), weights)


def find(
    segmenter: Segmenter, embedding: Embedding, target: Target, photo_name: str, *, compat: bool = False
) -> FoundMask:
    """Return the mask of the remembered subject in an encoded photo.

    The fitted weights shape the box and the logits of the first refinement; the mask itself is one of SAM's
    own. Where the weighted masks cancel out (the authors' code crashes), SAM's likeliest takes their place.

    Args:
        segmenter: the model that made the embedding and the target.
        embedding: the encoded photo.
        target: what `fit` returned.
        photo_name: the photo's file, for the error text.
        compat: compute what the authors' program computes, to the bit.

    Raises:
        UserError: no mask of SAM's can be used, or with `compat` one that the authors would use is empty; the
            text names the photo.
    """
    similarity = similarity_map(segmenter, embedding, target.direction)
    decoded, point_coords = _decode_at_best_point(segmenter, embedding, similarity)
    weights = target.mask_weights.to(decoded.low_res_logits)[:, None, None]
    chosen = int(target.mask_weights.argmax())
    logits = (weights * decoded.low_res_logits).sum(dim=0, keepdim=True)
    mask = (weights * segmenter.mask_logits(decoded.low_res_logits, embedding)).sum(dim=0) > 0
    if not mask.any():
        best = None if compat else likeliest_usable(segmenter, embedding, decoded)
        if best is None:
            raise empty_mask(photo_name) if compat else not_found(photo_name)
        chosen, logits = best, decoded.low_res_logits[best : best + 1]
        mask = segmenter.mask_logits(logits, embedding)[0] > 0
    found = refine(
        segmenter,
        embedding,
        point_coords,
        torch.tensor([1]),
        box=tight_box(mask),
        mask_input=logits,
        photo_name=photo_name,
        compat=compat,
    )
    return replace(
        found,
        passes=(
            DecoderPass(decoded.low_res_logits, decoded.iou_predictions, chosen, None),
            *found.passes,
        ),
        similarity=similarity,
        mask_weights=tuple(target.mask_weights.tolist()),
    )


def _decode_at_best_point(
    segmenter: Segmenter, embedding: Embedding, similarity: Float[Tensor, "H W"]
) -> tuple[Decoded, Float[Tensor, "1 2"]]:
    """Return SAM's three masks for the most similar pixel, and that pixel."""
    point_coords = pixel_of(similarity.argmax(), similarity)[None]
    return segmenter.decode(
        embedding, point_coords=point_coords, point_labels=torch.tensor([1])
    ), point_coords
