"""What kohya's sd-scripts make of photos with masks in a folder of their own, or in the alpha channel.

Source: docs/masked_loss_README.md and docs/config_README-en.md of kohya-ss/sd-scripts (Apache-2.0).
"""

from pathlib import Path
from typing import Any

from persam_dreambooth.masks.export.pixels import Rules
from persam_dreambooth.masks.export.reading import (
    Pair,
    Reading,
    named_folder,
    note_captions,
    pictures,
    read_config,
)

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FILE_RULES = Rules(channel="red", resize="area", applies_exif=False, stretches=False)
ALPHA_RULES = Rules(channel="alpha", resize="area", applies_exif=False, stretches=False)


def read(folder: Path) -> Reading:
    """Return what kohya makes of train.toml and the dataset that it names.

    Args:
        folder: of the export.

    Raises:
        UserError: the settings, or a folder that they name, are not there.
        KeyError, TypeError, AttributeError, ValueError: the settings are of another shape.
    """
    reading = Reading("kohya stops")
    train = _flat(read_config(folder / "train.toml"))
    config = Path(train["dataset_config"])
    settings = read_config(config)
    for dataset in settings["datasets"]:
        subsets = [
            {**settings.get("general", {}), **_own(dataset), **subset} for subset in dataset["subsets"]
        ]
        masked = ["conditioning_data_dir" in subset for subset in subsets]
        if any(masked) and not all(masked):
            reading.problems.append(
                f"{config}: only some subsets of a dataset have conditioning_data_dir, and kohya uses masks "
                "only where all have; give the others a dataset of their own"
            )
        for subset, has_masks in zip(subsets, masked, strict=True):
            if has_masks:
                _read_masks(reading, subset, config, masked_loss=bool(train.get("masked_loss")))
            else:
                _read_alpha(reading, subset, config, alpha=bool(train.get("alpha_mask")))
    return reading


def _flat(train: dict[str, Any]) -> dict[str, Any]:
    """Return the options of train.toml; kohya ignores the names of sections."""
    flat: dict[str, Any] = {}
    for key, value in train.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def _own(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a dataset hands on to its subsets."""
    return {key: value for key, value in dataset.items() if key != "subsets"}


def _read_masks(reading: Reading, subset: dict[str, Any], config: Path, *, masked_loss: bool) -> None:
    """Follow a subset with a folder of masks."""
    if not masked_loss:
        reading.problems.append(
            f"{config.parent / 'train.toml'}: masked_loss is not true, and without it kohya trains whole "
            "photos, without a message; set it"
        )
    reading.problems.extend(
        f"{config}: {key} is set beside conditioning_data_dir, which kohya refuses; remove it"
        for key in ("is_reg", "alpha_mask", "random_crop")
        if subset.get(key)
    )
    photos = pictures(named_folder(subset["image_dir"], "image_dir", config), _SUFFIXES)
    folder = named_folder(subset["conditioning_data_dir"], "conditioning_data_dir", config)
    masks = {path.stem: path for path in pictures(folder, _SUFFIXES)}
    reading.pairs.extend(Pair(photo, masks.get(photo.stem), FILE_RULES) for photo in photos)
    extra = sorted(masks.keys() - {photo.stem for photo in photos})
    if extra:
        reading.problems.append(
            f"{masks[extra[0]]}: belongs to no photo, and kohya stops at extra masks; remove it"
        )
    note_captions(reading, photos, _caption_suffix(subset))


def _read_alpha(reading: Reading, subset: dict[str, Any], config: Path, *, alpha: bool) -> None:
    """Follow a subset whose photos may carry their mask in the alpha channel."""
    # Class images are meant to be trained whole.
    if subset.get("is_reg"):
        return
    photos = pictures(named_folder(subset["image_dir"], "image_dir", config), _SUFFIXES)
    if not (alpha or subset.get("alpha_mask")):
        reading.problems.append(
            f"{config}: neither alpha_mask nor conditioning_data_dir is set, and kohya trains whole "
            "photos without a message; set the one that the masks are made for"
        )
        reading.pairs.extend(Pair(photo, None, ALPHA_RULES) for photo in photos)
        return
    reading.pairs.extend(Pair(photo, photo, ALPHA_RULES) for photo in photos)
    for photo in photos:
        changed = photo.stat().st_mtime_ns
        old = [path for path in photo.parent.glob("*.npz") if _is_cache(path, photo)]
        reading.problems.extend(
            f"{path}: latents cached before {photo.name} changed, and kohya keeps the mask in them; delete it"
            for path in sorted(old)
            if path.stat().st_mtime_ns < changed
        )
    note_captions(reading, photos, _caption_suffix(subset))


def _is_cache(path: Path, photo: Path) -> bool:
    """Return whether an .npz holds a photo's latents: `00.npz`, `00_0512x0512_sd.npz`."""
    return path.stem == photo.stem or path.stem.startswith(f"{photo.stem}_")


def _caption_suffix(subset: dict[str, Any]) -> str:
    """Return the suffix of caption files; kohya's own default is not .txt."""
    return subset.get("caption_extension", ".caption")
