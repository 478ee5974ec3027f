"""What could be the subject where nobody says: the things that SAM sees in each photo, and what each is like.

A thing is described by the mean feature of its cells and by the histogram of its colours. SAM's features say
what kind of thing it is and hardly which one (on the toy world two different subjects have a cosine of 0.99);
colours tell individuals apart, and kinds less well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from persam_dreambooth.masks.cells import subject_cells
from persam_dreambooth.photos import Photo
from persam_dreambooth.sam.automatic import AutomaticMask, AutomaticParameters, automatic_masks
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# Low thresholds: a model that is unsure of everything still has a best mask, and the score weighs its doubts.
# A click in each 12th of the sides finds what could be learnt from; segment-anything's 32 finds buttons.
PARAMETERS = AutomaticParameters(points_per_side=12, pred_iou_thresh=0.2, stability_score_thresh=0.3)

# Longer side at which masks are compared, in pixels.
WORKING_SIDE = 256

COLOUR_BINS = 6
"""Bins along each of red, green and blue."""

LEAST_AREA, MOST_AREA = 0.01, 0.8
"""Shares of the photo. Smaller things are details, larger ones are the place."""

# The subject's middle is within this of the photo's middle in two of three photos, as a share of its sides.
CENTRE_SPREAD = 0.25

# From this share of the photo on, size says nothing; below, things are taken for parts or clutter.
USUAL_AREA = 0.05


@dataclass(frozen=True, eq=False)
class Candidate:
    """One thing in one photo."""

    photo_index: int
    mask: Bool[np.ndarray, "h w"]
    """True on the thing, at the working size."""
    low_res_logits: Float[Tensor, "lh lw"]
    """What the mask is made of."""
    feature: Float[Tensor, " c"]
    """Unit vector: the mean feature of its cells, less the album's mean."""
    colours: Float[Tensor, " n"]
    """Square roots of the shares of its colours; a unit vector."""
    prior: dict[str, float]
    """What speaks for it in its own photo, each 0 to 1: contrast, centre, size, quality, and what its source
    knows besides."""


class ThingSource(Protocol):
    """What else sees things in photos, beside SAM's automatic masks or instead of them."""

    with_sam: bool
    """Whether SAM's automatic masks count as well."""

    def things(self, segmenter: Segmenter, photo: Photo, small: Embedding) -> list[AutomaticMask]:
        """Return the things of a photo at the size of its small embedding."""

    def prior(self, photo: Photo, mask: Bool[np.ndarray, "h w"]) -> dict[str, float]:
        """Return what else speaks for a thing in its own photo, each 0 to 1; asked after `things`."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """One photo, and what SAM sees in it."""

    photo_index: int
    pixels: UInt8[np.ndarray, "h w 3"]
    """At the working size."""
    features: Float[Tensor, "c m"]
    """Of the cells inside the photo, less the album's mean."""
    cells: Bool[Tensor, "gh gw"]
    """Which cells those are."""
    things: list[AutomaticMask]


def candidates_of(
    segmenter: Segmenter,
    photos: Sequence[Photo],
    embeddings: Sequence[Embedding],
    *,
    max_candidates: int,
    source: ThingSource | None = None,
) -> list[Candidate]:
    """Return the things of all photos that could be a subject, photo by photo, the likeliest of each first.

    Args:
        segmenter: the model that made the embeddings.
        photos: the album, or the part of it that is looked at.
        embeddings: of the photos, in their order.
        max_candidates: at most so many in each photo.
        source: what else sees things; None for SAM alone.
    """
    inside = [
        subject_cells(segmenter, embedding, np.ones(embedding.size, bool)).cpu() for embedding in embeddings
    ]
    features = [
        embedding.features[0].cpu()[:, cells] for embedding, cells in zip(embeddings, inside, strict=True)
    ]
    mean = torch.cat(features, dim=1).mean(dim=1, keepdim=True)
    seen = []
    for index, (photo, embedding) in enumerate(zip(photos, embeddings, strict=True)):
        small = replace(embedding, size=working_size(embedding.size))
        pixels = Image.fromarray(photo.pixels).resize(small.size[::-1], Image.Resampling.BOX)
        things = [
            thing
            for thing in _things(segmenter, photo, small, source)
            if LEAST_AREA <= thing.mask.mean() <= MOST_AREA
        ]
        seen.append(_Seen(index, np.asarray(pixels), features[index] - mean, inside[index], things))
    # Of things that SAM was asked to draw it may think nothing at all.
    most = max((_quality(thing) for one in seen for thing in one.things), default=0.0) or 1.0
    found = []
    for one in seen:
        described = [
            _described(one, thing, most, source.prior(photos[one.photo_index], thing.mask) if source else {})
            for thing in one.things
        ]
        usable = [candidate for candidate in described if candidate is not None]
        usable.sort(key=lambda candidate: -np.prod(list(candidate.prior.values())))
        found += usable[:max_candidates]
    return found


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) at which masks are compared: at most `WORKING_SIDE`, never enlarged."""
    scale = min(1.0, WORKING_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def colour_histogram(pixels: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " m"]:
    """Return the share of each of 6 x 6 x 6 colours; a colour between bins counts in its eight neighbours.

    Args:
        pixels: RGB, 0 to 255; at least one.
    """
    places = pixels / 255 * (COLOUR_BINS - 1)
    low = np.minimum(places.astype(np.int64), COLOUR_BINS - 2)
    upper_share = places - low
    shares = np.zeros((COLOUR_BINS,) * 3)
    for corner in product((0, 1), repeat=3):
        weights = np.where(corner, upper_share, 1 - upper_share).prod(axis=1)
        np.add.at(shares, tuple((low + corner).T), weights)
    return shares.flatten() / len(pixels)


def centre_prior(mask: Bool[np.ndarray, "h w"]) -> float:
    """Return 1 for a thing in the middle of the photo, less the further away its middle is, above 0."""
    y, x = np.nonzero(mask)
    height, width = mask.shape
    away = ((x.mean() + 0.5) / width - 0.5) ** 2 + ((y.mean() + 0.5) / height - 0.5) ** 2
    return float(np.exp(-away / (2 * CENTRE_SPREAD**2)))


def size_prior(area_fraction: float) -> float:
    """Return 1 for things of usual size, less for small ones and for those that leave little else; 0 to 1."""
    return min(1.0, (area_fraction / USUAL_AREA) ** 0.5, 2 * (1 - area_fraction))


def _quality(thing: AutomaticMask) -> float:
    """Return how much SAM believes in a mask."""
    return max(0.0, thing.iou_prediction) * thing.stability


def _things(
    segmenter: Segmenter, photo: Photo, small: Embedding, source: ThingSource | None
) -> list[AutomaticMask]:
    """Return what SAM, the other source or both see in a photo."""
    found = [] if source is None else source.things(segmenter, photo, small)
    if source is None or source.with_sam:
        found += automatic_masks(segmenter, small, PARAMETERS)
    return found


def _described(
    one: _Seen, thing: AutomaticMask, most_quality: float, prior: dict[str, float]
) -> Candidate | None:
    """Return a thing as a candidate, or None if it is smaller than a cell.

    Its contrast is half of how much more similar its own cells are to its mean than the rest of the photo is.
    """
    subject = (thing.low_res_logits > 0).float()[None, None]
    weights = adaptive_avg_pool2d(subject, tuple(one.cells.shape))[0, 0][one.cells]
    if weights.sum() < 1:
        return None
    feature = (one.features * weights).sum(dim=1) / weights.sum()
    feature = feature / feature.norm()
    similarity = feature @ (one.features / one.features.norm(dim=0))
    beside = (similarity * (1 - weights)).sum() / (1 - weights).sum().clamp(min=1e-6)
    contrast = float((similarity * weights).sum() / weights.sum() - beside)
    histogram = colour_histogram(one.pixels[thing.mask].astype(np.float64))
    return Candidate(
        photo_index=one.photo_index,
        mask=thing.mask,
        low_res_logits=thing.low_res_logits,
        feature=feature,
        colours=torch.from_numpy(histogram).sqrt().float(),
        prior={
            "contrast": max(0.0, contrast / 2),
            "centre": centre_prior(thing.mask),
            "size": size_prior(float(thing.mask.mean())),
            "quality": _quality(thing) / most_quality,
            **prior,
        },
    )
