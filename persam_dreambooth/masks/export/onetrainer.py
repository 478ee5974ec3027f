"""What OneTrainer makes of photos with `-masklabel.png` files beside them.

Source: OneTrainer's settings by name, and its behaviour; none of its code (AGPL-3.0).
"""

from collections.abc import Callable
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
from persam_dreambooth.masks.export.trainers import ONETRAINER_MASK, ONETRAINER_SUFFIXES

_SUFFIXES = (".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
_DEFAULT_FLOOR = 0.1


def read(folder: Path) -> Reading:
    """Return what OneTrainer makes of config.json and the concepts that it names.

    Args:
        folder: of the export.

    Raises:
        UserError: the settings, or a folder that they name, are not there.
        KeyError, TypeError, AttributeError, ValueError: the settings are of another shape.
    """
    reading = Reading("OneTrainer trains the whole photo, without a message")
    path = folder / "config.json"
    config = read_config(path)
    _check_settings(reading, config, path)
    floor = float(config.get("unmasked_weight", _DEFAULT_FLOOR))
    rules = Rules("grey", "bilinear", applies_exif=True, stretches=True, weigh=at_least(floor))
    concepts_file = Path(config["concept_file_name"])
    for concept in read_config(concepts_file):
        # Those of type PRIOR_PREDICTION are class images, trained whole.
        if not concept.get("enabled", True) or concept.get("type", "STANDARD") != "STANDARD":
            continue
        place = named_folder(concept["path"], "path", concepts_file)
        below = bool(concept.get("include_subdirectories"))
        photos = [
            path
            for path in pictures(place, _SUFFIXES, below=below)
            if not path.stem.endswith(ONETRAINER_SUFFIXES)
        ]
        reading.pairs.extend(Pair(photo, _mask_of(photo), rules) for photo in photos)
        if concept.get("text", {}).get("prompt_source") == "sample":
            note_captions(reading, photos, ".txt")
    return reading


def nan_problem(config: dict[str, Any], *, is_white: bool, is_black: bool) -> str | None:
    """Return why OneTrainer's loss becomes NaN on a mask, or None.

    It divides by the mean weight inside, and by the mean of what is outside, and guards neither against 0.

    Args:
        config: config.json.
        is_white: the mask is white all over.
        is_black: the mask is black all over.
    """
    if not config.get("normalize_masked_area_loss"):
        return None
    if is_white and config.get("masked_prior_preservation_weight", 0) > 0:
        return (
            "is white all over, which makes the loss NaN with normalize_masked_area_loss and "
            "masked_prior_preservation_weight; switch one of them off"
        )
    if is_black and config.get("unmasked_weight", _DEFAULT_FLOOR) == 0:
        return (
            "is black all over, which makes the loss NaN with normalize_masked_area_loss and "
            "unmasked_weight 0; remove the photo"
        )
    return None


def _check_settings(reading: Reading, config: dict[str, Any], path: Path) -> None:
    """Add what the settings do to all masks."""
    if not config.get("masked_training"):
        reading.problems.append(
            f"{path}: masked_training is not true, and without it OneTrainer trains whole photos; set it"
        )
    if config.get("unmasked_probability"):
        reading.notes.append("unmasked_probability has no effect except on inpainting models")
    if not config.get("clear_cache_before_training", True):
        reading.notes.append("clear_cache_before_training is off: changed masks are not seen")
    if not config.get("normalize_masked_area_loss"):
        reading.notes.append("normalize_masked_area_loss is off: a small subject is learnt slowly")


def _mask_of(photo: Path) -> Path | None:
    """Return the mask beside a photo, or None."""
    mask = photo.with_name(f"{photo.stem}{ONETRAINER_MASK}.png")
    return mask if mask.is_file() else None


def at_least(floor: float) -> Callable[[Values], Values]:
    """Return OneTrainer's weights: the mask's values, but never below a floor.

    Args:
        floor: unmasked_weight, 0 to 1.
    """
    return lambda values: np.clip(values, floor, 1)
