"""How far a found mask can be trusted: eight signs of it, and the IoU with the truth that they let expect.

None of the signs needs the truth. Similarity, margin, colour and the way back to the reference (cycle) say
whether it is the subject at all; SAM's own guess, the stability of its logits, the agreement with its other
two masks (scales) and with the mirrored photo (flip), whether the mask is a clean thing. A logistic model
each, and their product; the numbers were fitted where the truth is known.
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
from persam_dreambooth.masks.colours import colours_of, shared_colours
from persam_dreambooth.masks.passes import FoundMask, likeliest_usable
from persam_dreambooth.masks.subject import Subject, look_for
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# The signs are shares of areas and means over them: nothing is lost at this longer side, in pixels, and
# photos of any size take the same time.
_SIDE = 256

# As in segment-anything's automatic masks: IoU of the masks at thresholds 1 above and 1 below the usual one.
_STABILITY_OFFSET = 1.0

# A sign's logarithm goes no further down: one sign alone says nothing with certainty.
_LEAST = 0.02


@dataclass(frozen=True)
class Factor:
    """A logistic model on the logarithms of some signs: a sign near 0 has a say, whatever the others are."""

    bias: float
    weights: dict[str, float]
    """None is negative."""

    def __call__(self, parts: Mapping[str, float]) -> float:
        """Return σ(bias + Σ weight · log sign), 0 to 1."""
        score = self.bias + sum(weight * log_sign(name, parts[name]) for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-score))


# Source: benchmarks/mask_confidence.py --fit --num_albums 60, on toy-world albums with the embedded SAM, both
# methods together.
IDENTITY = Factor(4.25, {"similarity": 0.19, "margin": 0.08, "colour": 5.54, "cycle": 0.0})
"""How likely the mask is of the subject at all."""
QUALITY = Factor(2.21, {"iou_prediction": 0.35, "stability": 1.72, "scales": 0.67, "flip": 0.35})
"""The IoU that a mask of the subject lets expect."""

SIGNS = (*QUALITY.weights, *IDENTITY.weights)


@dataclass(frozen=True)
class Confidence:
    """How far a mask can be trusted."""

    value: float
    """Expected IoU with the truth, 0 to 1."""
    parts: dict[str, float]
    """The signs, by the names of SIGNS; each between 0 and 1, margin between -1 and 1."""


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
        subject: what was looked for; its references with their pixels.
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
        "scales": sum(iou(mask, other) for other in others) / len(others) if others else 1.0,
        "flip": _flip_agreement(segmenter, pixels, mask, subject),
        "similarity": likeness,
        "margin": margin,
        "colour": _colour_agreement(pixels, found, subject),
        "cycle": _cycle_agreement(segmenter, embedding, found, subject),
    }
    return Confidence(expected_iou(parts), {name: round(value, 4) for name, value in parts.items()})


def expected_iou(parts: Mapping[str, float]) -> float:
    """Return what the signs let expect: that it is the subject, times its IoU if it is; to 4 digits."""
    return round(IDENTITY(parts) * QUALITY(parts), 4)


def log_sign(name: str, value: float) -> float:
    """Return a sign's logarithm, at least log 0.02; the margin is first put between 0 and 1."""
    return math.log(max(_LEAST, (1 + value) / 2 if name == "margin" else value))


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


def _colour_agreement(pixels: UInt8[np.ndarray, "H W 3"], found: FoundMask, subject: Subject) -> float:
    """Return how far the mask's pixels have the subject's colours: those of the reference that is nearest."""
    mask = found.mask.cpu().numpy()
    if not mask.any():
        return 0.0
    found_colours = colours_of(pixels, mask)
    known = [reference for reference in subject.references if reference.pixels is not None]
    return max(shared_colours(colours_of(each.pixels, each.mask), found_colours) for each in known)


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
