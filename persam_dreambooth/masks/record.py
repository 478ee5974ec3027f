"""What a folder of masks says about itself: `masks.json`, and which of its masks still hold.

Each mask and the record of it are written as soon as they are found, so that a run that is cut off loses one
photo at most and the next one goes on from there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.files import write_text
from persam_dreambooth.masks.confidence import Confidence
from persam_dreambooth.masks.passes import FoundMask
from persam_dreambooth.photos import Photo, array_digest, read_mask, write_mask

RECORD_FILE = "masks.json"

_UNKNOWN = {"confidence": None, "confidence_parts": {}, "how": ""}


@dataclass(frozen=True)
class SubjectMask:
    """The mask of one photo and where it came from."""

    stem: str
    mask: Bool[np.ndarray, "H W"] = field(repr=False, compare=False)
    """True on the subject, at the photo's size."""
    source: str
    """given, box, points, scribble, proposed (the references); persam, persam_f (found); edited (by hand)."""
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


class MaskFolder:
    """A folder of masks while a run fills it.

    Attributes:
        path: the folder.
        masks: by stem, the masks that hold: kept from an earlier run, or added since.
        left_out: by stem, the photos that have no mask.
        new: the stems that this run decided.
    """

    def __init__(self, path: Path, photos: list[Photo], inputs: dict[str, str]) -> None:
        """Look at what an earlier run left.

        Args:
            path: the folder.
            photos: the photos of this run.
            inputs: by stem, a digest of everything that a mask depends on.

        Raises:
            UserError: `masks.json` is no record.
        """
        self.path = Path(path)
        self.masks: dict[str, SubjectMask] = {}
        self.left_out: dict[str, LeftOut] = {}
        self.new: set[str] = set()
        self._photos = {photo.stem: photo for photo in photos}
        self._inputs = inputs
        self._settings: dict[str, Any] = {}
        self._old = _read(self.path / RECORD_FILE)

    def keep(self, min_confidence: float) -> None:
        """Take over what still holds: nothing changed that it depends on, or a person made it.

        Raises:
            UserError: an edited mask cannot be used.
        """
        edited = [stem for stem in self._photos if self._keep(stem, min_confidence) == "edited"]
        if edited:
            tqdm.write(
                f"{self.path}: keeping the masks edited by hand ({', '.join(edited)}); "
                "delete one to have it redone"
            )

    def start(self, settings: dict[str, Any]) -> None:
        """Forget what no longer holds, before any file changes.

        A run that is cut off must not leave a new mask with an old digest: it would look edited.

        Args:
            settings: what else belongs into the record.
        """
        self._settings = settings
        kept = {*self.masks, *self.left_out}
        if not {*self._old["masks"], *self._old["left_out"]} <= kept:
            self.write()

    def add(self, mask: SubjectMask) -> None:
        """Write a mask, then its record."""
        write_mask(self.path / f"{mask.stem}.png", mask.mask)
        self.masks[mask.stem] = mask
        self.left_out.pop(mask.stem, None)
        self.new.add(mask.stem)
        self.write()

    def leave_out(self, left: LeftOut) -> None:
        """Write why a photo has no mask; one that an earlier run found is removed."""
        (self.path / f"{left.stem}.png").unlink(missing_ok=True)
        self.left_out[left.stem] = left
        self.masks.pop(left.stem, None)
        self.new.add(left.stem)
        self.write()

    def write(self, told: Mapping[str, Mapping[str, Any]] | None = None) -> bool:
        """Write `masks.json`; return whether it changed.

        Args:
            told: by stem, what else the record says of a mask.
        """
        masks = {
            stem: _plain(self.masks[stem]) | self._common(stem) | dict((told or {}).get(stem, {}))
            for stem in self._photos
            if stem in self.masks
        }
        left_out = {
            stem: _plain(self.left_out[stem]) | self._common(stem)
            for stem in self._photos
            if stem in self.left_out
        }
        record = self._settings | {"masks": masks, "left_out": left_out}
        text = json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"
        path = self.path / RECORD_FILE
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        write_text(path, text)
        return True

    def _keep(self, stem: str, min_confidence: float) -> str:
        """Take over one photo's mask, or that it has none, if that still holds; return the mask's source."""
        photo, path = self._photos[stem], self.path / f"{stem}.png"
        old = self._old["masks"].get(stem) or self._old["left_out"].get(stem)
        if old is None or old["photo_digest"] != photo.digest:
            return ""
        same, sure = old["inputs"] == self._inputs[stem], (old["confidence"] or 0.0) >= min_confidence
        if not path.is_file():
            if stem in self._old["left_out"] and same and (old["confidence"] is None or not sure):
                self.left_out[stem] = LeftOut(**{name: old[name] for name in _names(LeftOut)})
            return ""
        mask = read_mask(path, photo.size)
        if old.get("source") == "edited" or array_digest(mask) != old.get("digest"):
            self.masks[stem] = subject_mask(stem, mask, "edited")
        elif same and (sure or old["confidence"] is None):
            self.masks[stem] = SubjectMask(
                mask=mask, **{name: old[name] for name in _names(SubjectMask) if name != "mask"}
            )
        return self.masks[stem].source if stem in self.masks else ""

    def _common(self, stem: str) -> dict[str, str]:
        """Return what the record says of every photo."""
        photo = self._photos[stem]
        return {"photo": photo.path.name, "photo_digest": photo.digest, "inputs": self._inputs[stem]}


def _names(record: type) -> list[str]:
    """Return the names of a record's fields."""
    return [entry.name for entry in fields(record)]


def _plain(record: SubjectMask | LeftOut) -> dict[str, Any]:
    """Return a record's fields, all but the pixels."""
    return {name: getattr(record, name) for name in _names(type(record)) if name != "mask"}


def _read(path: Path) -> dict[str, dict[str, dict]]:
    """Return an earlier run's entries by stem, of masks and of photos left out; none where there was no run.

    Raises:
        UserError: the file is no record.
    """
    if not path.is_file():
        return {"masks": {}, "left_out": {}}
    common = {"photo_digest", "inputs"}
    needed = {"masks": {*_names(SubjectMask), *common} - {"mask"}, "left_out": {*_names(LeftOut), *common}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        entries = {
            # Records of version 0.1 know neither photos left out nor confidence.
            kind: {stem: _UNKNOWN | entry for stem, entry in record.get(kind, {}).items()}
            for kind in needed
        }
        missing = [
            f"{stem}: {name}"
            for kind, names in needed.items()
            for stem, entry in entries[kind].items()
            for name in sorted(names - entry.keys())
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is no record of masks ({error!r}); delete it to have the masks found again."
        ) from error
    if missing:
        raise UserError(
            f"{path}: incomplete ({missing[0]} is missing); delete it to have the masks found again."
        )
    return entries
