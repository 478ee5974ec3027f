"""What is told of an album's masks in `masks.json`: of each mask, and of each photo that has none."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.confidence import Confidence
from persam_dreambooth.masks.passes import FoundMask
from persam_dreambooth.photos import array_digest

_UNKNOWN = {"confidence": None, "confidence_parts": {}, "how": ""}


@dataclass(frozen=True)
class SubjectMask:
    """The mask of one photo and where it came from."""

    stem: str
    mask: Bool[np.ndarray, "H W"] = field(repr=False, compare=False)
    """True on the subject, at the photo's size."""
    source: str
    """given, box, points, scribble, proposed (the references); persam, persam_f, diffseg (found); edited (by
    hand)."""
    point_coords: list[list[float]]
    """(x, y) in pixels of the prompts that found it."""
    point_labels: list[int]
    """1 on the subject, 0 beside it."""
    box: list[float] | None
    """XYXY in pixels of the last prompt."""
    iou_prediction: float | None
    """SAM's own guess of the mask's IoU with the truth."""
    mask_weights: list[float] | None
    """PerSAM-F's weights of SAM's three masks."""
    confidence: float | None
    """Expected IoU with the truth, 0 to 1; None for masks that a person made or marked."""
    confidence_parts: dict[str, float]
    """The signs it rests on."""
    how: str
    """Empty, or which other way found it where the method itself was not sure: more points, box, crop."""
    digest: str
    """sha256 of the mask."""
    area_fraction: float
    """Share of the photo that is subject, 0 to 1."""


@dataclass(frozen=True)
class LeftOut:
    """A photo that has no mask, and why."""

    stem: str
    reason: str
    confidence: float | None
    """Of the most trusted mask; None where there was none at all."""
    confidence_parts: dict[str, float]


def subject_mask(
    stem: str,
    mask: Bool[np.ndarray, "H W"],
    source: str,
    found: FoundMask | None = None,
    confidence: Confidence | None = None,
    how: str = "",
) -> SubjectMask:
    """Return a mask with its origin and, where it was found, the prompts that found it and how sure it is."""
    return SubjectMask(
        stem=stem,
        mask=mask,
        source=source,
        point_coords=found.point_coords.tolist() if found else [],
        point_labels=found.point_labels.tolist() if found else [],
        box=found.box.tolist() if found else None,
        iou_prediction=found.iou_prediction if found else None,
        mask_weights=list(found.mask_weights) if found and found.mask_weights else None,
        confidence=confidence.value if confidence else None,
        confidence_parts=dict(confidence.parts) if confidence else {},
        how=how,
        digest=array_digest(mask),
        area_fraction=float(mask.mean()),
    )


def left_out(stem: str, reason: str, confidence: Confidence | None) -> LeftOut:
    """Return why a photo has no mask, and how sure the most trusted one was, if there was one."""
    if confidence is None:
        return LeftOut(stem, reason, None, {})
    return LeftOut(stem, reason, confidence.value, dict(confidence.parts))


@dataclass(frozen=True)
class Record:
    """What an earlier run told."""

    masks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By stem."""
    left_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By stem."""
    references: tuple[dict[str, str], ...] = ()
    """Photo, source and hint of each."""
    reference_choice: int | None = None
    """Which proposal was asked for."""


def names_of(record: type) -> list[str]:
    """Return the names of a record's fields."""
    return [entry.name for entry in fields(record)]


def plain(record: SubjectMask | LeftOut) -> dict[str, Any]:
    """Return a record's fields, all but the pixels."""
    return {name: getattr(record, name) for name in names_of(type(record)) if name != "mask"}


def read_record(path: Path) -> Record:
    """Return what an earlier run told; nothing where there was none.

    Raises:
        UserError: the file is no record.
    """
    if not path.is_file():
        return Record()
    common = {"photo_digest", "inputs"}
    needed = {
        "masks": {*names_of(SubjectMask), *common} - {"mask"},
        "left_out": {*names_of(LeftOut), *common},
    }
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        entries = {
            # Records of version 0.1 know neither photos left out nor confidence.
            kind: {stem: _UNKNOWN | entry for stem, entry in told.get(kind, {}).items()}
            for kind in needed
        }
        missing = [
            f"{stem}: {name}"
            for kind, names in needed.items()
            for stem, entry in entries[kind].items()
            for name in sorted(names - entry.keys())
        ]
        references = tuple(
            {name: entry[name] for name in ("photo", "source", "hint")}
            for entry in told.get("references", [])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is no record of masks ({error!r}); delete it to have the masks found again."
        ) from error
    if missing:
        raise UserError(
            f"{path}: incomplete ({missing[0]} is missing); delete it to have the masks found again."
        )
    return Record(**entries, references=references, reference_choice=told.get("reference_choice"))
