"""What is exported: photos, the masks that `segment` wrote for them, and captions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.masks.folder import RECORD_FILE
from persam_dreambooth.photos import photo_paths


@dataclass(frozen=True)
class Entry:
    """One photo to export. Its pixels are read when it is written, one photo at a time."""

    photo: Path
    mask: Path
    caption: str
    """One line."""
    record: dict[str, Any]
    """What masks.json says of the mask."""

    @property
    def stem(self) -> str:
        """The name of the photo without its suffix: the name of everything that is exported of it."""
        return self.photo.stem


@dataclass(frozen=True)
class Album:
    """The photos to export, and those that `segment` left out."""

    entries: tuple[Entry, ...]
    left_out: dict[str, str]
    """By file name of the photo: why it has no mask."""


def read_album(photos: Path, masks: Path, instance_prompt: str | None = None) -> Album:
    """Return the photos of a folder, each with its mask and its caption.

    Args:
        photos: folder of photos; `<photo>.txt` beside a photo is its caption.
        masks: the folder that `segment` wrote: masks.json and `<photo>.png`.
        instance_prompt: the caption of photos without a file.

    Raises:
        UserError: a folder or masks.json cannot be used; a photo has no mask, or no caption.
    """
    paths = photo_paths(photos)
    record = _read_record(Path(masks) / RECORD_FILE)
    entries, left_out = [], {}
    for path in paths:
        mask = Path(masks) / f"{path.stem}.png"
        left = record["left_out"].get(path.stem)
        if left is not None and not mask.is_file():
            left_out[path.name] = one_line(left["reason"])
            continue
        # A photo that was left out may have got a mask by hand since.
        entry = record["masks"].get(path.stem, left)
        if entry is None or not mask.is_file():
            raise UserError(
                f"{path}: has no mask in {masks}; every photo that is exported needs one, or its trainer "
                "learns the whole photo. Run segment again, or remove the photo."
            )
        entries.append(Entry(path, mask, _caption(path, instance_prompt), entry))
    if not entries:
        raise UserError(
            f"{masks}: segment left out every photo; at least one mask is needed. "
            f"The first reason: {next(iter(left_out.values()))}"
        )
    return Album(tuple(entries), left_out)


def _read_record(path: Path) -> dict[str, Any]:
    """Return masks.json, or raise UserError."""
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; the folder that segment wrote is needed, with masks.json. "
            "Run segment first."
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        left_out = record.setdefault("left_out", {})
        told = [entry["photo_digest"] for entry in (*record["masks"].values(), *left_out.values())]
        reasons = [entry["reason"] for entry in left_out.values()]
        if all(isinstance(text, str) for text in (*told, *reasons)):
            return record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no record of masks ({error!r}); run segment again.") from error
    raise UserError(f"{path}: is no record of masks (a photo's digest is no text); run segment again.")


def _caption(photo: Path, instance_prompt: str | None) -> str:
    """Return a photo's caption, on one line because trainers disagree on what further lines mean.

    Raises:
        UserError: there is none, or its file is empty or no text.
    """
    path = photo.with_suffix(".txt")
    if path.is_file():
        try:
            text = one_line(path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is no UTF-8 text ({error.reason}); a caption is needed.") from error
        if not text:
            raise UserError(f"{path}: is empty; a caption is needed. Write one, or delete the file.")
        return text
    text = one_line(instance_prompt or "")
    if not text:
        raise UserError(
            f"{photo}: has no caption; one is needed. Give --instance_prompt, or write it to "
            f"{path.name} beside it."
        )
    return text
