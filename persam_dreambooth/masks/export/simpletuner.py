"""What SimpleTuner makes of photos and of a second data set that holds their masks.

Source: SimpleTuner's documentation/DREAMBOOTH.md and DATALOADER.md, and its behaviour; none of its code
(AGPL-3.0).
"""

from pathlib import Path
from typing import Any

import numpy as np

from persam_dreambooth.masks.export.pixels import Rules, Values
from persam_dreambooth.masks.export.reading import (
    Pair,
    Reading,
    named_folder,
    note_captions,
    pictures,
    read_config,
)

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_CONFIG = "multidatabackend.json"

# Both data sets must agree in these, or photo and mask are cut differently.
_GEOMETRY = (
    *("resolution", "resolution_type", "crop", "crop_aspect", "crop_style", "minimum_image_size"),
    *("maximum_image_size", "target_downsample_size"),
)


def read(folder: Path) -> Reading:
    """Return what SimpleTuner makes of multidatabackend.json.

    Args:
        folder: of the export.

    Raises:
        UserError: the settings, or a folder that they name, are not there.
        KeyError, TypeError, AttributeError, ValueError: the settings are of another shape.
    """
    reading = Reading("SimpleTuner stops")
    path = folder / _CONFIG
    backends = {backend["id"]: backend for backend in read_config(path)}
    for name, backend in backends.items():
        is_subject = backend.get("dataset_type", "image") == "image"
        if backend.get("disabled") or not is_subject or backend.get("is_regularisation_data"):
            continue
        place = named_folder(backend["instance_data_dir"], "instance_data_dir", path)
        photos = pictures(place, _SUFFIXES, below=True)
        masks = _masks_of(reading, backend, backends, path)
        if masks is None:
            reading.pairs.extend(Pair(photo, None, rules_of("mask")) for photo in photos)
            continue
        _check_geometry(reading, backend, masks, path)
        mask_place = named_folder(masks["instance_data_dir"], "instance_data_dir", path)
        rules = rules_of(masks["conditioning_type"])
        for photo in photos:
            mask = mask_place / photo.relative_to(place)
            reading.pairs.append(Pair(photo, mask if mask.is_file() else None, rules))
        if masks["conditioning_type"] == "segmentation":
            reading.notes.append(
                f"{name}: conditioning_type segmentation trains every cell with a value above 0"
            )
        if backend.get("caption_strategy") == "textfile":
            note_captions(reading, photos, ".txt")
    return reading


def _masks_of(
    reading: Reading, backend: dict[str, Any], backends: dict[str, dict[str, Any]], path: Path
) -> dict[str, Any] | None:
    """Return the data set that holds a data set's masks, or None and a problem."""
    named = backend.get("conditioning_data")
    names = named if isinstance(named, list) else [named] if named else []
    unknown = [name for name in names if name not in backends]
    if unknown:
        reading.problems.append(
            f"{path}: conditioning_data {unknown[0]}: no data set has this id; correct it"
        )
        return None
    for name in names:
        if backends[name].get("conditioning_type") in ("mask", "segmentation"):
            return backends[name]
    what = (
        f"conditioning_data {names[0]} is no data set of masks" if names else "conditioning_data is not set"
    )
    reading.problems.append(
        f"{path}: {backend['id']}: {what}, and SimpleTuner trains whole photos without a message; name the "
        "data set of conditioning_type mask"
    )
    return None


def _check_geometry(reading: Reading, backend: dict[str, Any], masks: dict[str, Any], path: Path) -> None:
    """Add a problem if photos and masks are not cut alike."""
    for key in _GEOMETRY:
        if backend.get(key) != masks.get(key):
            reading.problems.append(
                f"{path}: {key} is {backend.get(key)} for the photos and {masks.get(key)} for their masks, "
                "so that the two are cut differently; make them equal"
            )


def rules_of(conditioning_type: str) -> Rules:
    """Return how SimpleTuner reads masks.

    Args:
        conditioning_type: "mask" takes grey for weights; "segmentation" trains whatever is not quite black.
    """
    if conditioning_type == "segmentation":
        return Rules("mean", "area", applies_exif=True, stretches=False, weigh=_any)
    return Rules("red", "area", applies_exif=True, stretches=False)


def _any(values: Values) -> Values:
    """Return 1 wherever there is anything."""
    return (values > 0).astype(np.float32)
