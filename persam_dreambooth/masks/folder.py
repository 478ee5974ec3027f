"""A folder of masks while a run fills it: which masks of an earlier run still hold, and which a person made.

Each mask and the record of it are written as soon as they are found, so that a run that is cut off loses one
photo at most and the next one goes on from there.
"""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.files import write_text
from persam_dreambooth.masks.record import (
    LeftOut,
    SubjectMask,
    names_of,
    plain,
    read_record,
    subject_mask,
)
from persam_dreambooth.photos import Photo, array_digest, read_mask, write_mask

RECORD_FILE = "masks.json"
PAGE_FILE = "masks.html"
SHEET_FILE = "contact_sheet.png"
PROPOSALS_FILE = "proposals.png"


class MaskFolder:
    """A folder of masks while a run fills it.

    Attributes:
        path: the folder.
        masks: by stem, the masks that hold: kept from an earlier run, or added since.
        left_out: by stem, the photos that have no mask.
        new: the stems that this run decided.
        edited: by stem, the masks in the folder that a person made.
    """

    def __init__(self, path: Path, photos: list[Photo]) -> None:
        """Look at what an earlier run left, and what a person did to it.

        Args:
            path: the folder.
            photos: the photos of this run.

        Raises:
            UserError: `masks.json` is no record; an edited mask cannot be used; a mask would take the place
                of a photo or of a sheet.
        """
        self.path = Path(path)
        _check_places(self.path, photos)
        self.masks: dict[str, SubjectMask] = {}
        self.left_out: dict[str, LeftOut] = {}
        self.new: set[str] = set()
        self._photos = {photo.stem: photo for photo in photos}
        self._inputs = {photo.stem: "" for photo in photos}
        self._settings: dict[str, Any] = {}
        self._old = read_record(self.path / RECORD_FILE)
        self._there = {
            stem: read_mask(path, photo.size)
            for stem, photo in self._photos.items()
            if self._entry(stem) and (path := self.path / f"{stem}.png").is_file()
        }
        self.edited = {stem: mask for stem, mask in self._there.items() if self._is_edited(stem, mask)}

    def proposed(self, choice: int | None) -> list[dict[str, str]]:
        """Return what the record tells of the proposal that was the reference with the same choice, if any.

        A proposal that was edited since is told as `edited`.
        """
        if self._old.reference_choice != choice:
            return []
        return [told for told in self._old.references if told["source"] in ("proposed", "edited")]

    def keep(self, inputs: dict[str, str], min_confidence: float) -> None:
        """Take over what still holds: nothing changed that it depends on, or a person made it.

        Args:
            inputs: by stem, a digest of everything that a mask depends on.
            min_confidence: what is less sure does not hold.
        """
        self._inputs = inputs
        for stem in self._photos:
            self._keep(stem, min_confidence)
        if self.edited:
            tqdm.write(
                f"{self.path}: keeping the masks edited by hand ({', '.join(self.edited)}); "
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
        if not {*self._old.masks, *self._old.left_out} <= kept:
            self.write()

    def tell(self, **settings: object) -> None:
        """Put more into the record, which is written with the next mask."""
        self._settings |= settings

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
            stem: plain(self.masks[stem]) | self._common(stem) | dict((told or {}).get(stem, {}))
            for stem in self._photos
            if stem in self.masks
        }
        left_out = {
            stem: plain(self.left_out[stem]) | self._common(stem)
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

    def _entry(self, stem: str) -> dict[str, Any] | None:
        """Return what an earlier run told of the same photo, or None."""
        entry = self._old.masks.get(stem) or self._old.left_out.get(stem)
        return entry if entry and entry["photo_digest"] == self._photos[stem].digest else None

    def _is_edited(self, stem: str, mask: Bool[np.ndarray, "H W"]) -> bool:
        """Return whether a mask in the folder is not the one that a run wrote."""
        entry = self._entry(stem)
        return entry.get("source") == "edited" or array_digest(mask) != entry.get("digest")

    def _keep(self, stem: str, min_confidence: float) -> None:
        """Take over one photo's mask, or that it has none, if that still holds."""
        if stem in self.edited:
            self.masks[stem] = subject_mask(stem, self.edited[stem], "edited")
            return
        old = self._entry(stem)
        if old is None or old["inputs"] != self._inputs[stem]:
            return
        # Without a confidence: a mask that a person marked, or a photo in which there was none at all.
        is_sure = old["confidence"] is not None and old["confidence"] >= min_confidence
        if stem in self._there and (is_sure or old["confidence"] is None):
            known = {name: old[name] for name in names_of(SubjectMask) if name != "mask"}
            self.masks[stem] = SubjectMask(mask=self._there[stem], **known)
        elif stem in self._old.left_out and not is_sure:
            self.left_out[stem] = LeftOut(**{name: old[name] for name in names_of(LeftOut)})

    def _common(self, stem: str) -> dict[str, str]:
        """Return what the record says of every photo."""
        photo = self._photos[stem]
        return {"photo": photo.path.name, "photo_digest": photo.digest, "inputs": self._inputs[stem]}


def _check_places(folder: Path, photos: list[Photo]) -> None:
    """Raise UserError where a mask would be written over a photo, or have the name of a sheet."""
    sheets = {Path(name).stem: name for name in (SHEET_FILE, PROPOSALS_FILE)}
    for photo in photos:
        if photo.path.absolute().parent.resolve() == folder.resolve():
            raise UserError(
                f"{folder}: the photos are in this folder; masks have the names of their photos and need a "
                "folder of their own. Name another one."
            )
        # Some disks do not tell cases apart.
        sheet = sheets.get(unicodedata.normalize("NFC", photo.stem).casefold())
        if sheet is not None:
            raise UserError(
                f"{photo.path}: its mask would take the place of {folder / sheet}; photos may have any other "
                "name. Rename the photo."
            )
