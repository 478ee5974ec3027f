"""How far a found mask can be trusted: seven signs of it, and the IoU with the truth that they let expect.

None of the signs needs the truth. SAM's own guess and the stability of its logits say whether the mask is a
clean thing; similarity and margin, whether it is the subject; scales, flip and cycle, whether another
question has the same answer. A logistic model joins them; its numbers were fitted where the truth is known.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import max_pool2d

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam
from persam_dreambooth.masks.cells import Reference, pixel_of, similarity_map
from persam_dreambooth.masks.passes import FoundMask, likeliest_usable
from persam_dreambooth.masks.subject import Subject, look_for
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# The signs are shares of areas and means over them: nothing is lost at this longer side, in pixels, and
# photos of any size take the same time.
_SIDE = 256

# As in segment-anything's automatic masks: IoU of the masks at thresholds 1 above and 1 below the usual one.
_STABILITY_OFFSET = 1.0

# Logistic model of the mask's IoU with the truth: a bias, and a weight for each sign.
# Source: benchmarks/mask_confidence.py --fit, on toy-world albums with the embedded SAM, both methods
# together; one photo in five does not show the subject and counts as IoU 0.
BIAS = -2.38
WEIGHTS = {
    "iou_prediction": 0.75,
    "stability": 0.4,
    "similarity": 1.23,
    "margin": 1.26,
    "scales": 0.44,
    "flip": 0.27,
    "cycle": 0.19,
}


@dataclass(frozen=True)
class Confidence:
    """How far a mask can be trusted."""

    value: float
    """Expected IoU with the truth, 0 to 1."""
    parts: dict[str, float]
    """The signs, by the names of WEIGHTS; each between 0 and 1, margin between -1 and 1."""


def confidence(
    segmenter: Segmenter,
    pixels: UInt8[np.ndarray, "H W 3"],
    embedding: Embedding,
    found: FoundMask,
    subject: Subject,
) -> Confidence:
    """Return how far the mask that was found in a photo can be trusted.

    It costs a second run of the encoder, for the mirrored photo, and some of the decoder.

    Args:
        segmenter: the model that found the mask.
        pixels: the photo.
        embedding: the encoded photo.
        found: the mask, with the passes that led to it.
        subject: what was looked for.
    """
    small = reduced(embedding)
    masks = segmenter.mask_logits(found.passes[-1].low_res_logits, small)
    chosen = found.passes[-1].chosen
    mask = masks[chosen] > 0
    likeness, margin = _likeness(segmenter, embedding, small, mask, subject)
    others = [masks[k] > 0 for k in range(len(masks)) if k != chosen]
    parts = {
        "iou_prediction": min(1.0, max(0.0, found.iou_prediction)),
        "stability": stability(masks[chosen]),
        "similarity": likeness,
        "margin": margin,
        "scales": sum(iou(mask, other) for other in others) / len(others) if others else 1.0,
        "flip": _flip_agreement(segmenter, pixels, mask, subject),
        "cycle": _cycle_agreement(segmenter, embedding, found, subject),
    }
    return Confidence(expected_iou(parts), {name: round(value, 4) for name, value in parts.items()})


def expected_iou(parts: Mapping[str, float]) -> float:
    """Return what the logistic model makes of the signs: σ(bias + Σ weight · sign), rounded to 4 digits."""
    score = BIAS + sum(weight * parts[name] for name, weight in WEIGHTS.items())
    return round(1 / (1 + math.exp(-score)), 4)


def reduced(embedding: Embedding) -> Embedding:
    """Return the embedding as of a smaller photo, so that maps over it are small."""
    scale = min(1.0, _SIDE / max(embedding.size))
    height, width = (max(1, round(scale * side)) for side in embedding.size)
    return replace(embedding, size=(height, width))


def stability(logits: Float[Tensor, "h w"]) -> float:
    """Return the IoU of the masks at two thresholds around 0: how little the outline depends on it.

    Source: segment-anything, utils/amg.py, calculate_stability_score.
    """
    return iou(logits > _STABILITY_OFFSET, logits > -_STABILITY_OFFSET)


def iou(first: Bool[Tensor, "h w"], second: Bool[Tensor, "h w"]) -> float:
    """Return intersection over union of two masks; 0 where both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 0.0


def _likeness(
    segmenter: Segmenter,
    embedding: Embedding,
    small: Embedding,
    mask: Bool[Tensor, "h w"],
    subject: Subject,
) -> tuple[float, float]:
    """Return how similar the mask's pixels are to the subject, and by how much more than the runner-up.

    The first is the mean similarity as a share of what it is in the reference itself, at most 1. The second
    compares with the thing that SAM sees at the most similar pixel beside the mask, or with all that is
    beside it where SAM sees none; both means are taken on a scale on which the photo's least similar pixel
    is 0 and its most similar one is 1.
    """
    similarity = similarity_map(segmenter, small, subject.target.direction)
    inside = float(similarity[mask].mean()) if mask.any() else float(similarity.min())
    reference = subject.references[0]
    own = similarity_map(segmenter, reference.embedding, subject.target.direction)
    best = float(own[torch.from_numpy(reference.mask).to(own.device)].mean())
    likeness = min(1.0, max(0.0, inside / best)) if best > 0 else 0.0
    second = _second_best(segmenter, embedding, small, similarity, mask)
    rival = similarity[~mask if second is None else second]
    low, high = float(similarity.min()), float(similarity.max())
    if not len(rival) or high == low:
        return likeness, 0.0
    return likeness, (inside - float(rival.mean())) / (high - low)


def _second_best(
    segmenter: Segmenter,
    embedding: Embedding,
    small: Embedding,
    similarity: Float[Tensor, "h w"],
    mask: Bool[Tensor, "h w"],
) -> Bool[Tensor, "h w"] | None:
    """Return what of the runner-up is not in the mask; None where there is none."""
    # Similarity has the resolution of the feature grid: a cell's width around the mask still belongs to it.
    cell = math.ceil(max(small.size) / max(embedding.features.shape[2:]))
    around = max_pool2d(mask[None].float(), 2 * cell + 1, stride=1, padding=cell)[0] > 0
    if around.all():
        return None
    point = pixel_of(similarity.masked_fill(around, -torch.inf).argmax(), similarity)
    scale = torch.tensor([embedding.size[1] / small.size[1], embedding.size[0] / small.size[0]])
    decoded = segmenter.decode(
        embedding,
        # The middle of the pixel, on the photo's own scale.
        point_coords=((point + 0.5) * scale - 0.5)[None],
        point_labels=torch.tensor([1]),
    )
    best = likeliest_usable(segmenter, small, decoded)
    if best is None:
        return None
    beside = (segmenter.mask_logits(decoded.low_res_logits[best : best + 1], small)[0] > 0) & ~mask
    return beside if beside.any() else None


def _flip_agreement(
    segmenter: Segmenter,
    pixels: UInt8[np.ndarray, "H W 3"],
    mask: Bool[Tensor, "h w"],
    subject: Subject,
) -> float:
    """Return the IoU with what is found in the mirrored photo; 0 where nothing is."""
    mirrored = segmenter.encode(np.ascontiguousarray(pixels[:, ::-1]))
    try:
        found = look_for(segmenter, mirrored, subject, "the mirrored photo")
    except UserError:
        return 0.0
    last = found.passes[-1]
    logits = segmenter.mask_logits(last.low_res_logits[last.chosen][None], reduced(mirrored))[0]
    return iou(mask, (logits > 0).flip(1))


def _cycle_agreement(segmenter: Segmenter, embedding: Embedding, found: FoundMask, subject: Subject) -> float:
    """Return the IoU of the first reference's mask with what is found there from this photo; 0 for nothing.

    The found mask takes the reference's place as that from which features are taken; weights stay.
    """
    reference = subject.references[0]
    try:
        back = persam.fit(segmenter, [Reference(embedding, found.mask.cpu().numpy(), "the found mask")])
        target = replace(subject.target, direction=back.direction, target_embedding=back.target_embedding)
        again = look_for(segmenter, reference.embedding, replace(subject, target=target), "the reference")
    except UserError:
        return 0.0
    return iou(again.mask.cpu(), torch.from_numpy(reference.mask))
