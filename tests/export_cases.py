"""A small album with the masks that `segment` would have written, for the tests of exports."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from persam_dreambooth.photos import array_digest, read_photo, write_mask

SIZE = (16, 24)
"""(height, width): two rows of three latent cells."""


def subject() -> np.ndarray:
    """Return a mask that is exactly the upper left latent cell: a sixth of the photo."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[:8, :8] = True
    return mask


def build_album(folder: Path, names: tuple[str, ...] = ("00.png", "01.jpg", "02.png")) -> tuple[Path, Path]:
    """Write photos and the folder of their masks; return both folders. The second photo lies on its side."""
    photos, masks = folder / "photos", folder / "masks"
    photos.mkdir(parents=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        exif = Image.Exif()
        if number == 1:
            pixels, exif[0x0112] = np.rot90(pixels), 6
        Image.fromarray(np.ascontiguousarray(pixels)).save(photos / name, exif=exif)
    write_masks(photos, masks)
    return photos, masks


def write_masks(photos: Path, masks: Path, left_out: dict[str, str] | None = None) -> None:
    """Write the masks of a folder of photos, but for those left out, and masks.json."""
    masks.mkdir(exist_ok=True)
    entries, reasons = {}, {}
    for path in sorted(photos.glob("*.*g")):
        photo = read_photo(path)
        if path.stem in (left_out or {}):
            reason = left_out[path.stem]
            reasons[path.stem] = {"photo": path.name, "photo_digest": photo.digest, "reason": reason}
            continue
        write_mask(masks / f"{path.stem}.png", subject())
        entries[path.stem] = {
            "photo": path.name,
            "photo_digest": photo.digest,
            "digest": array_digest(subject()),
            "source": "persam_f",
            "iou_prediction": 0.9,
            "confidence": 0.8,
        }
    (masks / "masks.json").write_text(json.dumps({"masks": entries, "left_out": reasons}))


def tree(folder: Path) -> set[str]:
    """Return the files of a folder, hidden ones included, by their path in it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
