"""What diffusion-pipe makes of photos and a folder of masks.

Source: examples/dataset.toml of tdrussell/diffusion-pipe, and its behaviour; none of its code (GPL-3.0).
"""

from pathlib import Path
from typing import Any

from persam_dreambooth.masks.export.pixels import Rules
from persam_dreambooth.masks.export.reading import Pair, Reading, named_folder, note_captions, read_config

RULES = Rules(channel="red", resize="nearest-exact", applies_exif=False, stretches=False)
_NO_PHOTOS = (".txt", ".json", ".npz", ".toml", ".yaml", ".md")


def read(folder: Path) -> Reading:
    """Return what diffusion-pipe makes of dataset.toml.

    Args:
        folder: of the export.

    Raises:
        UserError: the settings, or a folder that they name, are not there.
        KeyError, TypeError, AttributeError, ValueError: the settings are of another shape.
    """
    reading = Reading("diffusion-pipe trains the whole photo, with a warning")
    path = folder / "dataset.toml"
    for directory in read_config(path)["directory"]:
        _read_directory(reading, directory, path)
    reading.notes.append("after masks have changed, start it once with --regenerate_cache")
    return reading


def _read_directory(reading: Reading, directory: dict[str, Any], path: Path) -> None:
    """Follow one [[directory]]."""
    place = named_folder(directory["path"], "path", path)
    photos = sorted(
        file for file in place.iterdir() if file.is_file() and file.suffix.lower() not in _NO_PHOTOS
    )
    default = directory.get("default_mask_file")
    masks: dict[str, list[Path]] = {}
    if "mask_path" in directory:
        for file in sorted(named_folder(directory["mask_path"], "mask_path", path).iterdir()):
            masks.setdefault(file.stem, []).append(file)
    elif not default:
        reading.problems.append(
            f"{path}: mask_path is not set, and diffusion-pipe trains whole photos without a message; set it"
        )
    for photo in photos:
        found = masks.get(photo.stem, [Path(default)] if default else [])
        if len(found) > 1:
            reading.problems.append(
                f"{found[1]}: a second mask for {photo.name} beside {found[0].name}, and which one "
                "diffusion-pipe takes is left open; remove one of the two"
            )
        reading.pairs.append(Pair(photo, found[0] if found else None, RULES))
    note_captions(reading, photos, ".txt")
