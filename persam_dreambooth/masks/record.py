"""What a folder of masks says about itself: `masks.json`, the masks as pictures, and the contact sheet."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.files import atomic_path, write_text
from persam_dreambooth.masks.persam import FoundMask
from persam_dreambooth.masks.sheet import Row, contact_sheet
from persam_dreambooth.photos import Photo, array_digest, read_mask, write_mask

RECORD_FILE = "masks.json"
SHEET_FILE = "contact_sheet.png"


@dataclass(frozen=True)
class SubjectMask:
    """The mask of one photo and where it came from."""

    stem: str
    mask: Bool[np.ndarray, "H W"] = field(repr=False, compare=False)
    """True on the subject, at the photo's size."""
    source: Literal["given", "persam", "persam_f", "edited"]
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
    digest: str
    """sha256 of the mask."""
    area_fraction: float
    """Share of the photo that is subject, 0 to 1."""


def subject_mask(
    stem: str, mask: Bool[np.ndarray, "H W"], source: str, found: FoundMask | None = None
) -> SubjectMask:
    """Return a mask with its origin, and with the prompts that found it where it was found."""
    return SubjectMask(
        stem=stem,
        mask=mask,
        source=source,
        point_coords=found.point_coords.tolist() if found else [],
        point_labels=found.point_labels.tolist() if found else [],
        box=found.box.tolist() if found else None,
        iou_prediction=found.iou_prediction if found else None,
        mask_weights=list(found.mask_weights) if found and found.mask_weights else None,
        digest=array_digest(mask),
        area_fraction=float(mask.mean()),
    )


def kept_masks(photos: list[Photo], inputs: dict[str, str], folder: Path) -> dict[str, SubjectMask]:
    """Return the masks in the folder that still hold, by stem: nothing changed, or a person edited them.

    Args:
        photos: the photos of this run.
        inputs: by stem, a digest of everything that the mask depends on.
        folder: where an earlier run wrote its masks.

    Raises:
        UserError: `masks.json` or an edited mask cannot be used.
    """
    entries = _read_entries(folder / RECORD_FILE)
    kept = {}
    for photo in photos:
        path, entry = folder / f"{photo.stem}.png", entries.get(photo.stem)
        if entry is None or entry["photo_digest"] != photo.digest or not path.is_file():
            continue
        mask = read_mask(path, photo.size)
        if entry["source"] == "edited" or array_digest(mask) != entry["digest"]:
            kept[photo.stem] = subject_mask(photo.stem, mask, "edited")
        elif entry["inputs"] == inputs[photo.stem]:
            kept[photo.stem] = SubjectMask(mask=mask, **{name: entry[name] for name in _recorded_fields()})
    edited = [stem for stem, mask in kept.items() if mask.source == "edited"]
    if edited:
        tqdm.write(
            f"{folder}: keeping the masks edited by hand ({', '.join(edited)}); delete one to have it redone"
        )
    return kept


def write_record(
    photos: list[Photo],
    masks: dict[str, SubjectMask],
    new: set[str],
    *,
    inputs: dict[str, str],
    settings: dict[str, Any],
    folder: Path,
) -> None:
    """Write the new masks, the contact sheet and `masks.json`; nothing where all is as it was.

    Args:
        photos: the photos of this run, in the order of the sheet.
        masks: a mask for each of them.
        new: the stems whose masks are not in the folder yet.
        inputs: by stem, a digest of everything that the mask depends on.
        settings: what else belongs into the record; `latent_size` is (rows, columns) of the latents or None.
        folder: where to write.
    """
    entries = {photo.stem: _entry(photo, masks[photo.stem], inputs[photo.stem]) for photo in photos}
    path, text = folder / RECORD_FILE, _record_text(settings, entries)
    is_current = path.is_file() and path.read_text(encoding="utf-8") == text
    if is_current and not new and (folder / SHEET_FILE).is_file():
        return
    # Forget the old masks before their files change: a run cut off here must not leave a new mask with
    # an old digest, which would look like one that a person edited.
    write_text(path, _record_text(settings, {stem: entries[stem] for stem in entries if stem not in new}))
    for stem in sorted(new):
        write_mask(folder / f"{stem}.png", masks[stem].mask)
    rows = [Row(photo.pixels, masks[photo.stem].mask, _caption(photo, masks[photo.stem])) for photo in photos]
    with atomic_path(folder / SHEET_FILE) as temporary:
        contact_sheet(rows, settings["latent_size"]).save(temporary)
    write_text(path, text)


def _recorded_fields() -> list[str]:
    """Return what of a mask stands in the record: all but the pixels."""
    return [entry.name for entry in fields(SubjectMask) if entry.name != "mask"]


def _entry(photo: Photo, mask: SubjectMask, inputs: str) -> dict[str, Any]:
    """Return the record of one mask."""
    told = {name: getattr(mask, name) for name in _recorded_fields()}
    return told | {"photo": photo.path.name, "photo_digest": photo.digest, "inputs": inputs}


def _record_text(settings: dict[str, Any], entries: dict[str, dict]) -> str:
    """Return the text of the record."""
    return json.dumps(settings | {"masks": entries}, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _read_entries(path: Path) -> dict[str, dict]:
    """Return an earlier run's entries, by stem; none where there was no run.

    Raises:
        UserError: the file is no record.
    """
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["masks"]
        needed = {*_recorded_fields(), "photo_digest", "inputs"}
        missing = [
            f"{stem}: {name}" for stem, entry in entries.items() for name in sorted(needed - entry.keys())
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


def _caption(photo: Photo, mask: SubjectMask) -> str:
    """Return what the sheet says of a photo."""
    text = f"{photo.path.name}   {mask.source}   area {100 * mask.area_fraction:.1f} %"
    return text if mask.iou_prediction is None else f"{text}   predicted IoU {mask.iou_prediction:.2f}"
