"""One object of a clip: remembered from the first frame, and looked for on another.

It is looked for where it is most similar to itself on the first frame and where it was last seen: the prompts
are the most similar pixels, the box of its last mask with a margin, and that box's middle.

Source: Personalize-SAM, persam_video.py and persam_video_f.py.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.cells import (
    Reference,
    pixel_of,
    similarity_map,
    subject_cells,
    subject_features,
    unit,
)
from persam_dreambooth.masks.mask_fit import Solver, fit_mask_weights
from persam_dreambooth.masks.passes import likeliest_usable, refine, tight_box
from persam_dreambooth.sam.segmenter import Decoded, Embedding, Segmenter

VIDEO_RED = 215
"""Red value of an object in the masks that the authors make of DAVIS' label maps."""

AUTHORS_FIT = {"num_steps": 800, "learning_rate": 4e-4}
"""Fewer and smaller steps than on photos: the learning rates sum to 0.16, no weight gets far from a third."""

MARGIN_PX, MARGIN_ROWS = 10, 480
"""The authors widen a box by 10 pixels; theirs are frames of 480 rows."""

NUM_POINTS = {"persam": 2, "persam_f": 1}
"""How many of the most similar pixels are prompts."""

PRESENCE_THRESHOLD = 0.35
"""An object is there where so much of its mask looks like it and not like anything else on the first frame.

Source: benchmarks/video_toy.py with an earlier toy SAM. A lower one misses absences, a higher one drops masks
that cover the object badly. persam_f at 0.2, 0.35 and 0.5: 80, 80 and 87 % of the absences noticed, IoU of
46, 44 and 42 % where the object is there; persam at 0.25 and 0.5: 50 and 79 %, 48 and 43 %.
"""


@dataclass(frozen=True, eq=False)
class Target:
    """What is remembered of one object."""

    method: str
    direction: Float[Tensor, " c"]
    """t: unit vector that features are compared with."""
    cells: Bool[Tensor, "gh gw"]
    """Where the object is on the first frame."""
    mask_weights: Float[Tensor, " 3"] | None
    """PerSAM-F's weights of SAM's three masks."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One object on one frame."""

    logits: Float[Tensor, "H W"]
    """Unthresholded, at the frame's size."""
    box: Float[Tensor, " 4"] | None
    """XYXY in pixels that it was looked for in, or None for the whole frame."""
    point_coords: Float[Tensor, "n 2"]
    iou_prediction: float
    presence: float
    """Share of the mask that looks like the object and not like anything else on the first frame, 0 to 1."""


def fit(
    segmenter: Segmenter,
    reference: Reference,
    method: str,
    *,
    solver: Solver = "adamw",
    compat: bool = False,
) -> Target:
    """Return what is to be remembered of an object on the first frame.

    Args:
        segmenter: the model that made the reference's embedding.
        reference: the first frame and the object's mask.
        method: `persam_f` or `persam`; both compare with half the maximum and half the mean of the object's
            features, as both of the authors' video programs do.
        solver: of PerSAM-F's weights, which are fitted as on photos.
        compat: compute as the authors' programs do, whose fit is shorter and ends elsewhere.

    Raises:
        UserError: the object is smaller than a cell of the feature grid.
    """
    embedding, mask = reference.embedding, torch.from_numpy(reference.mask)
    cells = subject_cells(segmenter, embedding, reference.mask, compat=compat, red=VIDEO_RED)
    cells = cells.to(embedding.features.device)
    if not cells.any():
        # Finds no cell either, for its count is as strict or stricter, and raises with the right words.
        subject_features(segmenter, [reference], compat=compat)
    features = embedding.features[0].permute(1, 2, 0)[cells]
    direction = unit(features.amax(dim=0) / 2 + features.mean(dim=0) / 2)
    weights = None
    if method == "persam_f":
        similarity = similarity_map(segmenter, embedding, direction)
        box = widened(tight_box(mask), embedding.size, compat=compat)
        decoded = _decode(segmenter, embedding, _points(similarity, 1, box), box)
        logits = segmenter.mask_logits(decoded.low_res_logits, embedding).cpu()
        options = AUTHORS_FIT if compat else {"solver": solver}
        weights = fit_mask_weights(logits, mask, **options)
    return Target(method, direction, cells, weights)


def nearest_cells(embedding: Embedding, first: Embedding) -> Int[Tensor, "gh gw"]:
    """Return for each cell of a frame which cell of the first frame has the most similar feature, by cosine.

    Cells are counted row by row.
    """
    here, there = (normalize(each.features[0].flatten(1), dim=0) for each in (embedding, first))
    return (here.T @ there).argmax(dim=1).reshape(embedding.features.shape[2:])


def likeness(
    segmenter: Segmenter, embedding: Embedding, target: Target, nearest: Int[Tensor, "gh gw"]
) -> Float[Tensor, "H W"]:
    """Return where a frame looks like the object and not like anything else on the first frame, 0 to 1.

    How similar a mask is to the object does not tell whether it is the object: the similarities of everything
    in sight lie too close together. What it is most similar to does.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded frame.
        target: the object.
        nearest: what `nearest_cells` returned.
    """
    return segmenter.mask_logits(target.cells.flatten()[nearest].float()[None], embedding)[0]


def find(
    segmenter: Segmenter,
    embedding: Embedding,
    target: Target,
    last_box: Float[Tensor, " 4"],
    nearest: Int[Tensor, "gh gw"],
    *,
    compat: bool = False,
) -> Sighting | None:
    """Return where an object is on a frame, or None where it is not.

    It is looked for around its last box. If what is found there does not look like it, and its most similar
    pixel lies elsewhere, it is looked for on the whole frame.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded frame.
        target: what `fit` returned.
        last_box: XYXY in pixels of the mask that was last seen.
        nearest: what `nearest_cells` returned.
        compat: compute as the authors' programs do: there is always a mask unless it is empty.
    """
    similarity = similarity_map(segmenter, embedding, target.direction)
    looks = likeness(segmenter, embedding, target, nearest)
    box = widened(last_box, embedding.size, compat=compat)
    found = _find_in(segmenter, embedding, target, similarity, looks, box, compat)
    if compat or (found is not None and found.presence >= PRESENCE_THRESHOLD):
        return found
    if _is_inside(pixel_of(similarity.argmax(), similarity), box):
        return None
    found = _find_in(segmenter, embedding, target, similarity, looks, None, compat)
    return found if found is not None and found.presence >= PRESENCE_THRESHOLD else None


def widened(box: Float[Tensor, " 4"], size: tuple[int, int], *, compat: bool = False) -> Float[Tensor, " 4"]:
    """Return a box with a margin on every side, inside the frame.

    The margin is 10 pixels, and in proportion more on frames whose shorter side has more than 480; with
    `compat` always 10, and the box may then end a pixel beyond the right and the lower edge.

    Args:
        box: XYXY in pixels, both corners inside.
        size: (height, width) of the frame.
        compat: widen as the authors do.
    """
    height, width = size
    margin = MARGIN_PX if compat else max(MARGIN_PX, round(MARGIN_PX * min(size) / MARGIN_ROWS))
    last = 0 if compat else 1
    left, top = (box[:2] - margin).clamp(min=0).tolist()
    right, bottom = (box[2:] + margin).tolist()
    return torch.tensor([left, top, min(right, width - last), min(bottom, height - last)])


def largest(areas: list[int], frame_area: int, *, compat: bool = False) -> int | None:
    """Return which mask is the largest that is neither empty nor the whole frame; None if none is.

    With `compat` areas are counted modulo 256, as 8-bit sums do, and any mask will do.

    Args:
        areas: pixels of each mask.
        frame_area: pixels of the frame.
        compat: count as the authors do.
    """
    if compat:
        return max(range(len(areas)), key=lambda k: areas[k] % 256)
    usable = [k for k, area in enumerate(areas) if 0 < area < frame_area]
    return max(usable, key=areas.__getitem__, default=None)


def _find_in(
    segmenter: Segmenter,
    embedding: Embedding,
    target: Target,
    similarity: Float[Tensor, "H W"],
    looks: Float[Tensor, "H W"],
    box: Float[Tensor, " 4"] | None,
    compat: bool,
) -> Sighting | None:
    """Return what three passes of the decoder find for a box, or None where every mask is empty or full."""
    points = _points(similarity, NUM_POINTS[target.method], box)
    decoded = _decode(segmenter, embedding, points, box)
    start = _first_mask(segmenter, embedding, target, decoded, compat)
    if start is None:
        return None
    mask_input, first_box = start
    try:
        found = refine(
            segmenter,
            embedding,
            points,
            torch.ones(len(points), dtype=torch.int64),
            box=first_box,
            mask_input=mask_input,
            photo_name="",
            compat=compat,
        )
    except UserError:
        return None
    last = found.passes[-1]
    return Sighting(
        logits=segmenter.mask_logits(last.low_res_logits[last.chosen : last.chosen + 1], embedding)[0],
        box=box,
        point_coords=points,
        iou_prediction=found.iou_prediction,
        presence=float(looks[found.mask].mean()),
    )


def _first_mask(
    segmenter: Segmenter, embedding: Embedding, target: Target, decoded: Decoded, compat: bool
) -> tuple[Float[Tensor, "1 h w"], Float[Tensor, " 4"] | None] | None:
    """Return the logits and the box that the first pass hands on; None where it has no mask to hand on.

    PerSAM hands on the largest mask without a box, PerSAM-F the weighted sum of all three with its box.
    """
    logits, mask_logits = decoded.low_res_logits, segmenter.mask_logits(decoded.low_res_logits, embedding)
    if target.mask_weights is None:
        areas = (mask_logits > 0).sum(dim=(1, 2)).tolist()
        best = largest(areas, mask_logits[0].numel(), compat=compat)
        return None if best is None else (logits[best : best + 1], None)
    weights = target.mask_weights.to(logits)[:, None, None]
    mask = (weights * mask_logits).sum(dim=0) > 0
    if mask.any():
        return (weights * logits).sum(dim=0, keepdim=True), tight_box(mask)
    # The authors multiply SAM's guesses with the first weight, which turns them around if it is negative.
    guesses = decoded.iou_predictions * target.mask_weights[0].to(logits)
    best = likeliest_usable(segmenter, embedding, decoded) if not compat else int(guesses.argmax())
    if best is None or not (mask_logits[best] > 0).any():
        return None
    return logits[best : best + 1], tight_box(mask_logits[best] > 0)


def _decode(
    segmenter: Segmenter,
    embedding: Embedding,
    points: Float[Tensor, "n 2"],
    box: Float[Tensor, " 4"] | None,
) -> Decoded:
    """Return SAM's three masks for points on the object and a box around it."""
    labels = torch.ones(len(points), dtype=torch.int64)
    return segmenter.decode(embedding, point_coords=points, point_labels=labels, box=box)


def _points(
    similarity: Float[Tensor, "H W"], count: int, box: Float[Tensor, " 4"] | None
) -> Float[Tensor, "n 2"]:
    """Return (x, y) of the most similar pixels, wherever they are, and of the box's middle; whole pixels."""
    best = [pixel_of(index, similarity) for index in similarity.flatten().topk(count).indices]
    middle = [] if box is None else [((box[:2] + box[2:]) / 2).floor()]
    return torch.stack([*best, *middle])


def _is_inside(point: Float[Tensor, " 2"], box: Float[Tensor, " 4"]) -> bool:
    """Return whether a point lies in a box or on its edge."""
    return bool((point >= box[:2]).all() and (point <= box[2:]).all())
