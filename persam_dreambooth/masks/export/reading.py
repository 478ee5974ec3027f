"""What a trainer makes of a folder: which mask goes with which photo, and what goes wrong without a word."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.masks.export.pixels import Rules


@dataclass(frozen=True)
class Pair:
    """A photo that the trainer trains on, and the mask that it finds for it."""

    photo: Path
    mask: Path | None
    """The photo itself where its alpha channel is the mask; None where the trainer finds none."""
    rules: Rules


@dataclass(frozen=True)
class Reading:
    """What one trainer finds; its lists grow while its settings are followed."""

    missing: str
    """What it does with a photo that has no mask, as the end of a sentence."""
    pairs: list[Pair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Sentences: why masks are ignored, or the training stops or goes wrong."""
    notes: list[str] = field(default_factory=list)
    """Sentences: what is as it is set, but good to know."""


def read_config(path: Path) -> Any:  # noqa: ANN401 -- what a file of JSON, TOML or YAML holds
    """Return what a trainer's settings file holds.

    Raises:
        UserError: it is missing, or is no TOML, JSON or YAML as its suffix says.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; the trainer's settings are needed. Export again.")
    parse = {".toml": tomllib.loads, ".json": json.loads, ".yaml": yaml.safe_load}[path.suffix]
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: cannot be read ({one_line(error)}); {path.suffix[1:].upper()} is needed. Export again."
        ) from error


def named_folder(value: str, key: str, config: Path) -> Path:
    """Return a folder that settings name.

    Raises:
        UserError: there is no such folder.
    """
    if not Path(value).is_dir():
        raise UserError(
            f"{config}: {key} {value}: no such folder; the trainer looks there. Export again where the "
            "folder is now, or correct the path."
        )
    return Path(value)


def pictures(folder: Path, suffixes: tuple[str, ...], *, below: bool = False) -> list[Path]:
    """Return the files with these suffixes in a folder, and below it if asked, sorted."""
    paths = folder.rglob("*") if below else folder.iterdir()
    return sorted(path for path in paths if path.is_file() and path.suffix.lower() in suffixes)


def first_of(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    """Return the first file of this stem in the order of the suffixes, or None."""
    paths = [folder / f"{stem}{suffix}" for suffix in suffixes]
    return next((path for path in paths if path.is_file()), None)


def note_captions(reading: Reading, photos: list[Path], suffix: str) -> None:
    """Note how many photos have no caption beside them."""
    bare = [path.name for path in photos if not path.with_suffix(suffix).is_file()]
    if bare:
        reading.notes.append(f"{len(bare)} of {len(photos)} photos have no caption, the first is {bare[0]}")
