"""How good masks are: mIoU and accuracy as PerSAM's authors count them, means over photos, boundary IoU.

Two ways to sum up, which give different numbers. *Pooled*: the pixels of all photos of an object go into one
fraction, and the objects are averaged; so the authors' script does, and a photo in which the object is large
weighs more. *Per photo*: every photo has its own fraction, and those are averaged.

Source: Personalize-SAM, eval_miou.py; Cheng et al., Boundary IoU (arXiv 2103.16562).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Bool

BOUNDARY_FRACTION = 0.02
"""Width of the boundary, as a share of the picture's diagonal."""
NUM_WORST = 12
"""How many of the worst photos are kept to be shown."""

# The authors' guard against an object without any pixel.
_EPSILON = 1e-10


@dataclass(frozen=True, eq=False)
class Case:
    """One photo that is evaluated."""

    object_name: str
    stem: str
    photo: Path
    truth: Bool[np.ndarray, "H W"]
    prediction: Bool[np.ndarray, "H W"]


@dataclass(frozen=True)
class Counts:
    """Pixels of a photo, or of all photos of an object."""

    intersection: int = 0
    union: int = 0
    truth: int = 0
    boundary_intersection: int = 0
    boundary_union: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True)
class PhotoScore:
    """How well one photo's mask agrees with the truth; fractions from 0 to 1."""

    object_name: str
    stem: str
    iou: float
    boundary_iou: float
    counts: Counts


@dataclass(frozen=True)
class ObjectScore:
    """How well the masks of one object agree with the truth; fractions from 0 to 1."""

    name: str
    num_photos: int
    iou: float
    """Pooled: of all its photos' pixels."""
    accuracy: float
    """Pooled share of the true pixels that were found."""
    photo_iou: float
    """Mean over its photos."""
    boundary_iou: float
    """Pooled."""
    photo_boundary_iou: float
    """Mean over its photos."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured; fractions from 0 to 1."""

    miou: float
    """Mean over the objects of their pooled IoU: the number of the PerSAM paper's tables."""
    accuracy: float
    """Mean over the objects of their pooled accuracy."""
    photo_iou: float
    """Mean over all photos."""
    boundary_iou: float
    """Mean over the objects of their pooled boundary IoU."""
    photo_boundary_iou: float
    """Mean over all photos."""
    objects: tuple[ObjectScore, ...]
    photos: tuple[PhotoScore, ...]
    worst: tuple[Case, ...] = field(repr=False, compare=False)
    """The photos of lowest IoU, the lowest first."""

    def record(self) -> dict[str, Any]:
        """Return the numbers as plain values for JSON."""
        values = {name: value for name, value in vars(self).items() if name != "worst"}
        lists = {name: [asdict(score) for score in values[name]] for name in ("objects", "photos")}
        return values | lists


def evaluate(object_names: Iterable[str], cases: Iterable[Case]) -> Evaluation:
    """Return the scores of masks; the cases are used up one by one, and only the worst are kept.

    Args:
        object_names: every object that counts in the means; one without a case scores 0, as in the authors'
            script.
        cases: the photos, in any order.
    """
    photos: list[PhotoScore] = []
    worst: list[tuple[float, Case]] = []
    for case in cases:
        score = photo_score(case)
        photos.append(score)
        worst = sorted([*worst, (score.iou, case)], key=lambda pair: pair[0])[:NUM_WORST]
    objects = [
        object_score(name, [photo for photo in photos if photo.object_name == name]) for name in object_names
    ]
    return Evaluation(
        miou=_mean(each.iou for each in objects),
        accuracy=_mean(each.accuracy for each in objects),
        photo_iou=_mean(each.iou for each in photos),
        boundary_iou=_mean(each.boundary_iou for each in objects),
        photo_boundary_iou=_mean(each.boundary_iou for each in photos),
        objects=tuple(objects),
        photos=tuple(photos),
        worst=tuple(case for _, case in worst),
    )


def photo_score(case: Case) -> PhotoScore:
    """Return the scores of one photo. Where nothing is to be found and nothing was, both IoUs are 1."""
    counts = overlap(case.truth, case.prediction)
    iou = counts.intersection / counts.union if counts.union else 1.0
    boundary_iou = counts.boundary_intersection / counts.boundary_union if counts.boundary_union else 1.0
    return PhotoScore(case.object_name, case.stem, iou, boundary_iou, counts)


def object_score(name: str, photos: list[PhotoScore]) -> ObjectScore:
    """Return the scores of one object from those of its photos.

    Source: Personalize-SAM, eval_miou.py: sums over the object's photos, divided with a guard of 1e-10.
    """
    total = sum((photo.counts for photo in photos), Counts())
    return ObjectScore(
        name=name,
        num_photos=len(photos),
        iou=total.intersection / (total.union + _EPSILON),
        accuracy=total.intersection / (total.truth + _EPSILON),
        photo_iou=_mean(photo.iou for photo in photos),
        boundary_iou=total.boundary_intersection / (total.boundary_union + _EPSILON),
        photo_boundary_iou=_mean(photo.boundary_iou for photo in photos),
    )


def overlap(truth: Bool[np.ndarray, "H W"], prediction: Bool[np.ndarray, "H W"]) -> Counts:
    """Return the pixels that two masks share, that either has, and the same of their boundaries."""
    true_edge, found_edge = boundary(truth), boundary(prediction)
    return Counts(
        intersection=int((truth & prediction).sum()),
        union=int((truth | prediction).sum()),
        truth=int(truth.sum()),
        boundary_intersection=int((true_edge & found_edge).sum()),
        boundary_union=int((true_edge | found_edge).sum()),
    )


def boundary(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Return the mask's pixels no further than d from a pixel outside it; beyond the picture is outside.

    Distance is that of a chessboard, as d erosions by 3 x 3 pixels measure it. d is 2 % of the picture's
    diagonal, rounded, and at least 1.

    Source: Cheng et al., boundary-iou-api, boundary_utils.py, mask_to_boundary.
    """
    distance = max(1, round(BOUNDARY_FRACTION * float(np.hypot(*mask.shape))))
    return mask & ~_eroded(mask, distance)


def table(evaluation: Evaluation) -> str:
    """Return the scores as lines of text, in percent: an object a line, and the means below."""
    width = max(len(name) for name in ("object", "mean", *(each.name for each in evaluation.objects)))
    lines = [f"{'object':<{width}}  photos    IoU    Acc   bIoU   photo IoU   photo bIoU"]
    lines += [
        _line(each.name, width, each.num_photos, each.iou, each.accuracy, each.boundary_iou, each.photo_iou)
        + f"{100 * each.photo_boundary_iou:13.2f}"
        for each in evaluation.objects
    ]
    whole = evaluation
    num_photos = len(whole.photos)
    lines.append(
        _line("mean", width, num_photos, whole.miou, whole.accuracy, whole.boundary_iou, whole.photo_iou)
        + f"{100 * whole.photo_boundary_iou:13.2f}"
    )
    return "\n".join(lines)


def _line(name: str, width: int, num_photos: int, *shares: float) -> str:
    """Return one line of the table but for its last column."""
    iou, accuracy, boundary_iou, photo_iou = (100 * share for share in shares)
    return (
        f"{name:<{width}}  {num_photos:6d} {iou:6.2f} {accuracy:6.2f} {boundary_iou:6.2f} {photo_iou:11.2f}"
    )


def _eroded(mask: Bool[np.ndarray, "H W"], distance: int) -> Bool[np.ndarray, "H W"]:
    """Return the pixels whose square of 2 * distance + 1 lies wholly in the mask, by running sums."""
    side = 2 * distance + 1
    for axis in (0, 1):
        # One zero more in front than the erosion needs: the sum of the first window starts from it.
        padding = [(distance + 1, distance) if k == axis else (0, 0) for k in (0, 1)]
        sums = np.moveaxis(np.pad(mask, padding).cumsum(axis=axis, dtype=np.int32), axis, 0)
        mask = np.moveaxis(sums[side:] - sums[:-side] == side, 0, axis)
    return mask


def _mean(values: Iterable[float]) -> float:
    """Return the mean, 0 of nothing."""
    listed = list(values)
    return fmean(listed) if listed else 0.0
