"""What ai-toolkit makes of photos and masks.

Source: config/examples of ostris/ai-toolkit (MIT), toolkit/dataloader_mixins.py for what a mask becomes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from persam_dreambooth.masks.export.pixels import Rules, Values
from persam_dreambooth.masks.export.reading import (
    Pair,
    Reading,
    first_of,
    named_folder,
    note_captions,
    pictures,
    read_config,
)

_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_MASK_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # in the order in which it looks
_CONTROLS = "_controls"


def read(folder: Path) -> Reading:
    """Return what ai-toolkit makes of config.yaml.

    Args:
        folder: of the export.

    Raises:
        UserError: the settings, or a folder that they name, are not there.
        KeyError, TypeError, AttributeError, ValueError: the settings are of another shape.
    """
    reading = Reading("ai-toolkit trains the whole photo, or leaves it out of a batch that has masks")
    path = folder / "config.yaml"
    for process in read_config(path)["config"]["process"]:
        for dataset in process["datasets"]:
            if not dataset.get("is_reg"):
                _read_dataset(reading, dataset, path)
        train = process.get("train", {})
        if train.get("inverted_mask_prior") and train.get("batch_size", 1) > 1:
            reading.problems.append(
                f"{path}: inverted_mask_prior with batch_size {train['batch_size']} uses the first photo's "
                "mask for the whole batch; set batch_size to 1"
            )
    reading.notes.append("every mask is blurred by a random radius of up to 0.5 % of its shorter side")
    return reading


def _read_dataset(reading: Reading, dataset: dict[str, Any], path: Path) -> None:
    """Follow one data set."""
    place = named_folder(dataset["folder_path"], "folder_path", path)
    photos = pictures(place, _PHOTO_SUFFIXES)
    alpha, mask_path = dataset.get("alpha_mask"), dataset.get("mask_path")
    controls = "mask" in (dataset.get("controls") or ())
    if not (alpha or mask_path or controls):
        reading.problems.append(
            f"{path}: mask_path is not set, and ai-toolkit trains whole photos without a message; set it"
        )
    elif not dataset.get("buckets", True):
        reading.problems.append(
            f"{path}: buckets is false, and ai-toolkit stops at masks then; set it to true"
        )
    weigh = weights_from(float(dataset.get("mask_min_value", 0)), bool(dataset.get("invert_mask")))
    channel = "alpha" if alpha else "grey"
    rules = Rules(channel, "nearest", applies_exif=True, stretches=True, weigh=weigh)
    masks = named_folder(mask_path, "mask_path", path) if mask_path and not alpha else None
    for photo in photos:
        mask = photo if alpha else None
        if masks is not None:
            mask = first_of(masks, photo.stem, _MASK_SUFFIXES)
        elif controls and not alpha:
            mask = first_of(place / _CONTROLS, f"{photo.stem}.mask", _MASK_SUFFIXES)
        reading.pairs.append(Pair(photo, mask, rules))
    if masks is not None:
        _check_doubles(reading, masks, photos)
    if dataset.get("invert_mask"):
        reading.problems.append(
            f"{path}: invert_mask is true, so that the background is trained; set it to false"
        )
    note_captions(reading, photos, f".{str(dataset.get('caption_ext', 'txt')).lstrip('.')}")


def _check_doubles(reading: Reading, masks: Path, photos: list[Path]) -> None:
    """Add a problem for every photo with two masks, of which the first by suffix wins."""
    for photo in photos:
        found = [suffix for suffix in _MASK_SUFFIXES if (masks / f"{photo.stem}{suffix}").is_file()]
        if len(found) > 1:
            reading.problems.append(
                f"{masks / photo.stem}{found[1]}: ignored, because ai-toolkit takes {photo.stem}{found[0]}; "
                "remove one of the two"
            )


def weights_from(floor: float, invert: bool) -> Callable[[Values], Values]:
    """Return ai-toolkit's weights: black is the floor, white is 1, and grey in between.

    Args:
        floor: mask_min_value, 0 to 1.
        invert: invert_mask; black and white change places first.
    """

    def weigh(values: Values) -> Values:
        values = 1 - values if invert else values
        return (floor + (1 - floor) * values).astype(np.float32)

    return weigh
