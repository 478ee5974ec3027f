"""An export, whole or not at all: photos as PNG, masks, captions, the trainer's settings, a manifest.

Everything is written into a temporary folder beside the target, which then takes its place. An earlier export
is replaced only if every file in it is as it was written; anything else in the folder is somebody's work.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from persam_dreambooth import __version__
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.export.album import Album, Entry
from persam_dreambooth.masks.export.layouts import LAYOUTS, config_texts, readme_text
from persam_dreambooth.masks.export.trainers import (
    CONFIG_FILES,
    MANIFEST_FILE,
    ONETRAINER_SUFFIXES,
    README_FILE,
    Trainer,
)
from persam_dreambooth.photos import array_digest, file_digest, read_mask, read_photo, write_mask
from persam_dreambooth.run import check_writable

HIDDEN_GREY = 128
"""What stands under the transparent part of a photo: the middle of the range, 0 for a VAE."""

# What the manifest repeats of masks.json.
_TOLD = ("source", "iou_prediction", "confidence")


def export(album: Album, to: Trainer, out: Path, *, resolution: int = 512) -> None:
    """Write an album in a trainer's layout.

    Args:
        album: what to write.
        to: the trainer.
        out: a new or empty folder, or an earlier export that nobody has changed.
        resolution: side in pixels that the trainer works at.

    Raises:
        UserError: the folder cannot be written or holds other files; a photo or mask cannot be read, does not
            fit, has changed since its mask was made, or has a name that the trainer takes for something else.
    """
    out = Path(out).absolute()
    check_writable(out, "--out")
    _check_replaceable(out)
    if to == "onetrainer":
        _check_names(album)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as place:
        new = Path(place) / "new"
        photos = [_write_entry(entry, to, new) for entry in album.entries]
        for name, text in (config_texts(to, out, resolution) | {README_FILE: readme_text(to, out)}).items():
            (new / name).write_text(text, encoding="utf-8")
        told = {"left_out": album.left_out, "photos": photos, "to": to, "version": __version__}
        files = {path.relative_to(new).as_posix(): file_digest(path) for path in _files(new)}
        manifest = json.dumps(told | {"files": files}, indent=2, sort_keys=True, allow_nan=False) + "\n"
        (new / MANIFEST_FILE).write_text(manifest, encoding="utf-8")
        _take_place(new, out, Path(place) / "old")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what an export says of itself.

    Raises:
        UserError: the folder is no export.
    """
    path = Path(folder) / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {MANIFEST_FILE} in it; a folder that export-masks wrote is needed.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["to"] in CONFIG_FILES and isinstance(manifest["files"], dict):
            return manifest
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no manifest of an export ({error!r}); export again.") from error
    raise UserError(f"{path}: is no manifest of an export; export again.")


def _check_names(album: Album) -> None:
    """Raise UserError if OneTrainer would not take a photo for one."""
    for entry in album.entries:
        if entry.stem.endswith(ONETRAINER_SUFFIXES):
            raise UserError(
                f"{entry.photo}: OneTrainer takes names that end in {' or '.join(ONETRAINER_SUFFIXES)} "
                "for masks; another name is needed. Rename the photo, and run segment again."
            )


def _check_replaceable(out: Path) -> None:
    """Raise UserError if a folder holds anything but an export as it was written."""
    present = _files(out) if out.is_dir() else []
    if not present:
        return
    files = read_manifest(out)["files"] if (out / MANIFEST_FILE).is_file() else {}
    for path in present:
        name = path.relative_to(out).as_posix()
        if name != MANIFEST_FILE and files.get(name) != file_digest(path):
            what = "was changed after the export" if name in files else "is not from an export"
            raise UserError(
                f"--out {out}: {name} in it {what} and would be lost; a new folder is needed. "
                "Name another one, or delete this one."
            )


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder and below, sorted."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _write_entry(entry: Entry, to: Trainer, folder: Path) -> dict[str, Any]:
    """Write one photo with its mask and caption; return what the manifest says of it.

    Raises:
        UserError: see `export`.
    """
    layout = LAYOUTS[to]
    photo = read_photo(entry.photo)
    if entry.record["photo_digest"] != photo.digest:
        raise UserError(
            f"{entry.photo}: has changed since its mask was made; the mask of this very picture is needed. "
            "Run segment again."
        )
    mask = read_mask(entry.mask, photo.size)
    names = {"image": layout.image_path(entry.stem), "caption": layout.caption_path(entry.stem)}
    for name in names.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if layout.mask is None:
        Image.fromarray(_cut_out(photo.pixels, mask)).save(folder / names["image"])
    else:
        names["mask"] = layout.mask_path(entry.stem)
        Image.fromarray(photo.pixels).save(folder / names["image"])
        write_mask(folder / names["mask"], mask)
    (folder / names["caption"]).write_text(entry.caption + "\n", encoding="utf-8")
    digest = array_digest(mask)
    # A mask that was painted over since is no longer what SAM was asked about.
    told = {name: entry.record.get(name) for name in _TOLD} if entry.record.get("digest") == digest else {}
    return {
        **told,
        **names,
        "area_fraction": float(mask.mean()),
        "mask_digest": digest,
        "photo": entry.photo.name,
        "photo_digest": photo.digest,
    }


def _cut_out(pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 4"]:
    """Return a photo whose alpha channel is the mask, grey where it is transparent."""
    cut = np.full((*mask.shape, 4), HIDDEN_GREY, dtype=np.uint8)
    cut[..., 3] = 0
    cut[mask, :3] = pixels[mask]
    cut[mask, 3] = 255
    return cut


def _take_place(new: Path, out: Path, old: Path) -> None:
    """Put a finished folder where another one may be; if that fails, the other one is back."""
    if out.is_dir():
        os.replace(out, old)
    try:
        os.replace(new, out)
    except OSError:
        if old.is_dir():
            os.replace(old, out)
        raise
