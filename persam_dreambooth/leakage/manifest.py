"""Pictures that were made elsewhere: which model drew them, and what it was asked for.

A manifest says it, a CSV file with a header or a JSON list of records:

    arm        name of the model; `base` is the one before training
    file       the picture, from the manifest's folder
    prompt     what the trained models were asked for, the same text for all arms
    seed       a whole number; pictures of equal prompt and seed started from the same noise
    family     recontext (also without this column), bare, class or none
    step       steps of a checkpoint; empty for the finished model

Without a manifest every folder is an arm. In it lies what `persam-dreambooth generate` wrote, with its
prompts.json; else the names tell: `a photo of sks cat on a beach_0.png` is a prompt and a seed, in a folder
named after the family where that is not recontext.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persam_dreambooth.diffusion.generate import PROMPTS_FILE
from persam_dreambooth.errors import UserError, did_you_mean, one_line
from persam_dreambooth.leakage.pictures import FAMILIES, Family, Picture
from persam_dreambooth.leakage.rows import RECONTEXT
from persam_dreambooth.photos import list_photos, read_photo
from persam_dreambooth.picture_files import nearest_path

COLUMNS = ("arm", "file", "prompt", "seed")
OPTIONAL = ("family", "step")


@dataclass(frozen=True)
class Entry:
    """One picture of an arm."""

    arm: str
    path: Path
    prompt: str
    seed: int
    family: Family = "recontext"
    step: int | None = None


def read_entries(folder: Path, manifest: Path | None) -> list[Entry]:
    """Return what pictures there are.

    Args:
        folder: with a folder for each arm; not looked at where there is a manifest.
        manifest: .csv or .json.

    Raises:
        UserError: nothing is there, or it does not say what is needed.
    """
    if manifest is not None:
        return [_entry(manifest, number, line) for number, line in enumerate(_lines(manifest), start=1)]
    if not folder.is_dir():
        raise UserError(
            f"--pictures {folder}: no such folder; one with a folder of pictures for each model is needed."
            f"{nearest_path(folder)}"
        )
    arms = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not arms:
        raise UserError(
            f"--pictures {folder}: no folders in it; a folder of pictures for each model is needed, named "
            "after it. Or give --manifest."
        )
    return [entry for arm in arms for entry in _of_folder(arm)]


def read_arms(entries: Iterable[Entry]) -> dict[str, list[Picture]]:
    """Return the pictures by arm, the base first.

    Raises:
        UserError: a picture cannot be read, or the arms' pictures of one prompt differ in size.
    """
    arms: dict[str, list[Picture]] = {}
    for entry in sorted(entries, key=lambda entry: entry.arm != "base"):
        pixels = read_photo(entry.path).pixels
        picture = Picture(
            entry.prompt, None, entry.seed, pixels, family=entry.family, step=entry.step, path=entry.path
        )
        arms.setdefault(entry.arm, []).append(picture)
    check_sizes(arms)
    return arms


def check_sizes(arms: Mapping[str, Sequence[Picture]]) -> None:
    """Raise UserError where pictures that are compared have different sizes."""
    first: dict[tuple[str, int], tuple[str, Picture]] = {}
    for arm, pictures in arms.items():
        for picture in pictures:
            other_arm, other = first.setdefault(picture.key, (arm, picture))
            if picture.pixels.shape != other.pixels.shape:
                raise UserError(
                    f"{picture.path}: {_size(picture)} pixels, where {other_arm} has {_size(other)} for the "
                    f"same prompt and seed ({other.path}); pictures that are compared need one size. Draw it "
                    "again."
                )


def _of_folder(arm: Path) -> list[Entry]:
    """Return the pictures of an arm's folder."""
    if (arm / PROMPTS_FILE).is_file():
        record = _json(arm / PROMPTS_FILE)
        lines = record.get("images", []) if isinstance(record, dict) else []
        told = [{"arm": arm.name, **line} for line in lines if isinstance(line, dict)]
        return [_entry(arm / PROMPTS_FILE, number, line) for number, line in enumerate(told, start=1)]
    entries = []
    for family in FAMILIES:
        place = arm / family
        if place.is_dir():
            entries += [_named(arm.name, path, family) for path in list_photos(place)]
    loose = [path for path in arm.iterdir() if path.is_file() and not path.name.startswith(".")]
    if loose or not entries:
        entries += [_named(arm.name, path, RECONTEXT) for path in list_photos(arm)]
    return entries


def _named(arm: str, path: Path, family: Family) -> Entry:
    """Return what a file's name says."""
    prompt, _, seed = path.stem.rpartition("_")
    if not prompt.strip() or not seed.strip().isdecimal():
        raise UserError(
            f"{path}: its name is not `prompt_seed{path.suffix}`; a prompt and a whole number are needed. "
            "Rename it, or give --manifest."
        )
    return Entry(arm, path, prompt.strip(), int(seed), family)


def _lines(path: Path) -> list[Mapping[str, Any]]:
    """Return the records of a manifest."""
    if not path.is_file():
        raise UserError(
            f"--manifest {path}: no such file; CSV or JSON with {', '.join(COLUMNS)} is needed."
            f"{nearest_path(path)}"
        )
    if path.suffix.lower() == ".json":
        record = _json(path)
        record = record.get("pictures") if isinstance(record, dict) else record
        if not isinstance(record, list) or not all(isinstance(line, dict) for line in record):
            raise UserError(f"--manifest {path}: no list of records; one for each picture is needed.")
        lines = record
    else:
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                lines = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"--manifest {path}: no CSV in UTF-8 ({one_line(error)}); a table with "
                f"{', '.join(COLUMNS)} is needed. Save it again as such."
            ) from error
    if not lines:
        raise UserError(f"--manifest {path}: no pictures in it; a record for each is needed.")
    return lines


def _entry(path: Path, number: int, line: Mapping[str, Any]) -> Entry:
    """Return one record of a manifest, checked."""
    where = f"{path}, picture {number}"
    lacking = [name for name in COLUMNS if line.get(name) in (None, "")]
    if lacking:
        unknown = [name for name in line if name and name not in (*COLUMNS, *OPTIONAL)]
        hint = did_you_mean(unknown[0], lacking) if unknown else ""
        raise UserError(f"{where}: no {lacking[0]}; {', '.join(COLUMNS)} are needed.{hint}")
    family = str(line.get("family") or RECONTEXT)
    if family not in FAMILIES:
        raise UserError(
            f"{where}: family {family!r}; one of {', '.join(FAMILIES)} is needed."
            f"{did_you_mean(family, FAMILIES)}"
        )
    numbers = {}
    for name in ("seed", "step"):
        value = line.get(name)
        try:
            numbers[name] = None if value in (None, "") else int(str(value))
        except ValueError as error:
            raise UserError(f"{where}: {name} {value!r}; a whole number is needed.") from error
    return Entry(
        str(line["arm"]).strip(),
        path.parent / str(line["file"]),
        one_line(line["prompt"]),
        numbers["seed"],
        family,
        numbers["step"],
    )


def _json(path: Path) -> Any:  # noqa: ANN401 -- what a JSON file holds
    """Return a JSON file's content."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: no valid JSON ({one_line(error)}); correct it, or write it anew."
        ) from error


def _size(picture: Picture) -> str:
    """Return a picture's size in words."""
    height, width = picture.pixels.shape[:2]
    return f"{width} x {height}"
