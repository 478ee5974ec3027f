"""The training photos of a comparison and their masks, read and checked before anything is drawn."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.features import background_cells
from persam_dreambooth.masks.folder import RECORD_FILE
from persam_dreambooth.masks.record import Record, SubjectMask, read_record, subject_mask
from persam_dreambooth.photos import MASK_SUFFIX, Photo, read_mask, read_photos

MIN_PHOTOS = 2
"""Likeness is put on a scale by how alike the photos are to each other."""


@dataclasses.dataclass(frozen=True, eq=False)
class Album:
    """Photos with the subject's mask in each."""

    photos: tuple[Photo, ...]
    masks: Mapping[str, SubjectMask]
    """By stem."""
    references: tuple[str, ...]
    """Stems of the photos that the subject was learnt from when its masks were found."""
    left_out: tuple[str, ...] = ()
    """Files of photos that have no mask because the subject was not found in them."""
    sam: str | None = None
    """The SAM that found the masks, where their record says so."""
    sam_adapter: Path | None = None
    """The adapter that it had; where the subject is looked for, it has the same."""

    @property
    def pairs(self) -> list[tuple]:
        """Pixels and mask of each photo."""
        return [(photo.pixels, self.masks[photo.stem].mask) for photo in self.photos]


def read_album(photos: Path, masks: Path, *, flag: str = "--photos", can_be_one: bool = False) -> Album:
    """Return photos and masks.

    Args:
        photos: folder of photos.
        masks: what `segment` or a run wrote, or any folder with `<photo>.mask.png` or `<photo>.png`.
        flag: what named the photos.
        can_be_one: whether a single photo will do.

    Raises:
        UserError: a folder or file cannot be read; photos lack masks; there are too few photos; the subject
            leaves no background in any of them.
    """
    where = f"--masks {masks}" if flag == "--photos" else f"{flag} {masks}"
    if not masks.is_dir():
        why = "a file" if masks.exists() else "no such folder"
        raise UserError(
            f"{where}: {why}; a folder with a mask for each photo is needed. `persam-dreambooth "
            "segment` writes one."
        )
    found, record = read_photos(photos), read_record(masks / RECORD_FILE)
    places = {photo.stem: _mask_of(photo, masks) for photo in found}
    left_out = [photo for photo in found if places[photo.stem] is None and photo.stem in record.left_out]
    missing = [photo for photo in found if places[photo.stem] is None and photo not in left_out]
    if missing:
        names = ", ".join(photo.path.name for photo in missing)
        raise UserError(
            f"{where}: no mask for {names}; every photo needs one, <photo>{MASK_SUFFIX} or <photo>.png. Find "
            "them with `persam-dreambooth segment`, or remove the photo."
        )
    kept = [photo for photo in found if photo not in left_out]
    needed = 1 if can_be_one else MIN_PHOTOS
    if len(kept) < needed:
        raise UserError(
            f"{flag} {photos}: {len(kept)} of the photos with a mask; at least {needed} needed, because "
            "likeness is measured on the scale of how alike photos of the subject are. Add one, or give "
            "others by --held_out."
        )
    read = {photo.stem: _read(photo, places[photo.stem], record) for photo in kept}
    names = tuple(photo.path.name for photo in left_out)
    album = Album(tuple(kept), read, _references(kept, record), names, *_sam_of(masks / RECORD_FILE))
    if flag == "--photos":
        check_background(album, f"{flag} {photos}")
    return album


def check_background(album: Album, what: str) -> None:
    """Raise UserError where the subject leaves no background in any photo.

    Args:
        album: the photos.
        what: flag and folder.
    """
    if not any(background_cells(mask, mask.shape).any() for _, mask in album.pairs):
        raise UserError(
            f"{what}: the subject fills every photo; leakage can only be measured where some background is "
            "seen. Add a photo with more around the subject, or check the masks."
        )


def _mask_of(photo: Photo, folder: Path) -> Path | None:
    """Return a photo's mask file, or None."""
    places = (folder / f"{photo.stem}{MASK_SUFFIX}", folder / f"{photo.stem}.png")
    others = (place for place in places if place.resolve() != photo.path.resolve())
    return next((place for place in others if place.is_file()), None)


def _sam_of(record: Path) -> tuple[str | None, Path | None]:
    """Return the names of the SAM and of its adapter in a record of masks that was read before."""
    if not record.is_file():
        return None, None
    told = json.loads(record.read_text(encoding="utf-8"))
    name, adapter = told.get("sam"), told.get("sam_adapter")
    if not isinstance(name, str):
        return None, None
    return name, Path(adapter) if isinstance(adapter, str) else None


def _read(photo: Photo, path: Path, record: Record) -> SubjectMask:
    """Return a photo's mask, with what the record knows of its origin."""
    own = record.masks.get(photo.stem)
    read = subject_mask(photo.stem, read_mask(path, photo.size, "--masks"), "given")
    if own is None:
        return read
    source = own["source"] if own["digest"] == read.digest else "edited"
    return dataclasses.replace(read, source=source, mask_weights=own["mask_weights"])


def _references(photos: Sequence[Photo], record: Record) -> tuple[str, ...]:
    """Return the stems of the photos whose masks were the reference; the first where nothing says so."""
    named = [Path(entry["photo"]).stem for entry in record.references]
    known = {photo.stem for photo in photos}
    return tuple(stem for stem in dict.fromkeys(named) if stem in known) or (photos[0].stem,)
