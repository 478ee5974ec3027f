"""PerSAM: find the subject of one or more masked photos in other photos, without training.

The formulas are those of the authors' program, which differ from the paper's in places; where they do, the
docstring says so. Symbols: F the features of a photo, R those of the subject's cells, T their mean, S the
similarity, p⁺ and p⁻ the most and the least similar pixel.

Source: Zhang et al., Personalize Segment Anything Model with One Shot (arXiv 2305.03048), persam.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from persam_dreambooth.masks.cells import (
    Reference,
    guidance_map,
    pixel_of,
    similarity_map,
    subject_cells,
    subject_features,
    unit,
)
from persam_dreambooth.masks.passes import (
    DecoderPass,
    FoundMask,
    likeliest_usable,
    refine,
    tight_box,
)
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

__all__ = [
    "DecoderPass",
    "FoundMask",
    "Reference",
    "Target",
    "find",
    "fit",
    "guidance_map",
    "likeliest_usable",
    "pixel_of",
    "refine",
    "similarity_map",
    "subject_cells",
    "subject_features",
    "tight_box",
    "unit",
]


@dataclass(frozen=True, eq=False)
class Target:
    """What PerSAM remembers of the subject."""

    direction: Float[Tensor, " c"]
    """t: unit vector that features are compared with."""
    target_embedding: Float[Tensor, " c"]
    """T: mean feature of the subject, not normalised."""


def fit(segmenter: Segmenter, references: Sequence[Reference], *, compat: bool = False) -> Target:
    """Return what is to be remembered of the subject: the mean over its cells in all references.

    Args:
        segmenter: the model that made the references' embeddings.
        references: at least one.
        compat: compute what the authors' program computes, to the bit.

    Raises:
        UserError: the subject of a reference is smaller than a cell of the feature grid.
    """
    target_embedding = subject_features(segmenter, references, compat=compat).mean(dim=0)
    return Target(unit(target_embedding), target_embedding)


def find(
    segmenter: Segmenter, embedding: Embedding, target: Target, photo_name: str, *, compat: bool = False
) -> FoundMask:
    """Return the mask of the remembered subject in an encoded photo, after three passes of the decoder.

    The first is guided: prompted with p⁺ and p⁻ and with T, its attention tilted towards what is similar.

    Args:
        segmenter: the model that made the embedding and the target.
        embedding: the encoded photo.
        target: what `fit` returned.
        photo_name: the photo's file, for the error text.
        compat: compute what the authors' program computes, to the bit.

    Raises:
        UserError: SAM has no mask that is neither empty nor full, or with `compat` the one that it believes
            in most is empty; the text names the photo.
    """
    similarity = similarity_map(segmenter, embedding, target.direction)
    guidance = guidance_map(segmenter, embedding, similarity, compat=compat)
    point_coords = torch.stack(
        [pixel_of(similarity.argmax(), similarity), pixel_of(similarity.argmin(), similarity)]
    )
    point_labels = torch.tensor([1, 0])
    guided = segmenter.decode(
        embedding,
        point_coords=point_coords,
        point_labels=point_labels,
        multimask_output=False,
        attention_similarity=guidance,
        target_embedding=target.target_embedding,
    )
    found = refine(
        segmenter,
        embedding,
        point_coords,
        point_labels,
        box=None,
        mask_input=guided.low_res_logits,
        photo_name=photo_name,
        compat=compat,
    )
    first = DecoderPass(guided.low_res_logits, guided.iou_predictions, 0, None)
    return replace(found, passes=(first, *found.passes), similarity=similarity, attention_similarity=guidance)
