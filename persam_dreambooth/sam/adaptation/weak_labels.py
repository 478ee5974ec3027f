"""Weak labels from files: boxes and points as JSON, coarse masks as pictures; by the photo's file name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.photos import list_photos, read_mask, read_photo
from persam_dreambooth.sam.adaptation.prompts import Prompt


@dataclass(frozen=True, eq=False)
class Labelled:
    """A photo that is adapted to, and its prompts; the pixels are read when they are needed."""

    path: Path
    size: tuple[int, int]
    """(height, width) in pixels."""
    digest: str
    prompts: list[Prompt] = field(default_factory=list)
    automatic: bool = False
    """The prompts are SAM's own, not a person's."""

    def read_prompts(self) -> list[Prompt]:
        """Return the prompts, with the pixels of coarse masks: a thousand at once would not fit.

        Raises:
            UserError: a mask's file is not there any more, or another one.
        """
        return [
            one if one.mask_file is None else Prompt(mask=_read_coarse(one.mask_file, self))
            for one in self.prompts
        ]

    @property
    def stem(self) -> str:
        """The file name without folder and suffix."""
        return self.path.stem


def look_at(path: Path) -> Labelled:
    """Return a photo without labels; its pixels are not kept, for a thousand photos would not fit.

    Raises:
        UserError: it cannot be read.
    """
    photo = read_photo(path)
    return Labelled(photo.path, photo.size, photo.digest)


def read_labels(
    photos: Sequence[Labelled], *, boxes: Path | None, points: Path | None, masks: Path | None
) -> dict[str, list[Prompt]]:
    """Return the prompts of those photos that have labels, by stem.

    Args:
        photos: whose labels they are.
        boxes: JSON, {"00.jpg": [left, top, right, bottom]}, or a list of such boxes.
        points: JSON, {"00.jpg": [[x, y, 1], [x, y, 0]]}, or a list of such lists, one for each thing.
        masks: folder of coarse masks, each named after its photo.

    Raises:
        UserError: a file cannot be read; a label is of no photo, lies outside it, or there are two kinds.
    """
    by_name = {name: photo for photo in photos for name in (photo.stem, photo.path.name)}
    found: dict[str, list[Prompt]] = {}
    sources: dict[str, str] = {}
    for flag, path, read in (("boxes", boxes, _boxes), ("points", points, _points), ("masks", masks, _masks)):
        if path is None:
            continue
        for stem, prompts in read(path, by_name).items():
            if stem in found:
                raise UserError(
                    f"--{flag} {path}: {stem} has labels in --{sources[stem]} too; one kind for each photo "
                    "is needed. Remove one of the two."
                )
            found[stem], sources[stem] = prompts, flag
    return found


def _boxes(path: Path, photos: Mapping[str, Labelled]) -> dict[str, list[Prompt]]:
    """Return the prompts in a file of boxes."""
    found = {}
    for name, values in _read_json(path, "--boxes").items():
        where = f"--boxes {path}"
        photo = _photo(where, name, photos)
        _check_first(where, name, photo, found)
        array = _numbers(where, name, values, 4, "left, top, right, bottom")
        for left, top, right, bottom in array.tolist():
            text = f"{left:g} {top:g} {right:g} {bottom:g}"
            _check_inside(where, name, text, photo, [(left, top), (right, bottom)])
            if left >= right or top >= bottom:
                raise UserError(
                    f"{where}: box {text} of {name} is empty; left < right, top < bottom is needed."
                )
        found[photo.stem] = [Prompt(box=tuple(box)) for box in array.tolist()]
    return found


def _points(path: Path, photos: Mapping[str, Labelled]) -> dict[str, list[Prompt]]:
    """Return the prompts in a file of points."""
    found = {}
    for name, values in _read_json(path, "--points").items():
        where = f"--points {path}"
        photo = _photo(where, name, photos)
        _check_first(where, name, photo, found)
        things = values if _depth(values) == 3 else [values]
        found[photo.stem] = [_points_of_thing(where, name, thing, photo) for thing in things]
    return found


def _points_of_thing(where: str, name: str, values: object, photo: Labelled) -> Prompt:
    """Return the prompt that one list of points is."""
    array = _numbers(where, name, values, 3, "x, y, 1 or 0")
    for x, y, label in array.tolist():
        _check_inside(where, name, f"{x:g} {y:g}", photo, [(x, y)])
        if label not in (0, 1):
            raise UserError(
                f"{where}: label {label:g} of {name}; 1 for a point on the thing or 0 for one beside it is "
                "needed."
            )
    if not array[:, 2].any():
        raise UserError(f"{where}: no point of {name} is on the thing; at least one is needed.")
    return Prompt(points=array[:, :2], labels=array[:, 2].astype(np.int64))


def _masks(folder: Path, photos: Mapping[str, Labelled]) -> dict[str, list[Prompt]]:
    """Return the prompts in a folder of coarse masks."""
    if not Path(folder).is_dir():
        raise UserError(f"--masks {folder}: no such folder; one with a mask for each photo is needed.")
    found = {}
    for path in list_photos(folder):
        photo = _photo(f"--masks {folder}", path.name, photos, by_stem=True)
        _check_first(f"--masks {folder}", path.name, photo, found)
        # What is wrong with it is said now; its pixels are read again when they are needed.
        _read_coarse(path, photo)
        found[photo.stem] = [Prompt(mask_file=path)]
    return found


def _read_coarse(path: Path, photo: Labelled) -> Bool[np.ndarray, "H W"]:
    """Return the pixels of a photo's coarse mask."""
    return read_mask(path, photo.size, "--masks")


def _read_json(path: Path, flag: str) -> dict[str, object]:
    """Return what a file of labels holds.

    Raises:
        UserError: it cannot be read, or is no JSON object.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{flag} {path}: cannot be read ({reason}); a JSON file is needed.") from error
    except ValueError as error:
        raise UserError(f"{flag} {path}: no valid JSON ({error}); labels by photo are needed.") from error
    if not isinstance(values, dict) or not values:
        raise UserError(f'{flag} {path}: no labels by photo; for example {{"00.jpg": [...]}} is needed.')
    return values


def _photo(where: str, name: str, photos: Mapping[str, Labelled], *, by_stem: bool = False) -> Labelled:
    """Return the photo that a label is about.

    Raises:
        UserError: there is none.
    """
    photo = photos.get(Path(name).stem if by_stem else name)
    if photo is None:
        names = sorted({photo.path.name for photo in photos.values()})
        raise UserError(
            f"{where}: {name} is none of the {len(names)} photos; labels of photos in --photos are needed."
            f"{did_you_mean(name, names)}"
        )
    return photo


def _check_first(where: str, name: str, photo: Labelled, found: Mapping[str, object]) -> None:
    """Raise UserError where a photo has labels already, under its name with or without the suffix."""
    if photo.stem in found:
        raise UserError(
            f"{where}: {name} is the second label of {photo.path.name}; one for each photo is needed. Write "
            "several things as a list, or remove one of the two."
        )


def _depth(values: object) -> int:
    """Return how many lists lie within each other."""
    return 1 + _depth(values[0]) if isinstance(values, list) and values else 0


def _numbers(where: str, name: str, values: object, width: int, meaning: str) -> np.ndarray:
    """Return rows of so many numbers.

    Raises:
        UserError: they are none.
    """
    rows = [values] if _depth(values) == 1 else values
    right = isinstance(rows, list) and rows
    if not right or not all(_is_row(row, width) for row in rows):
        raise UserError(f"{where}: the label of {name} is {json.dumps(values)[:60]}; {meaning} is needed.")
    return np.array(rows, dtype=np.float64)


def _is_row(row: object, width: int) -> bool:
    """Return whether a value is a list of so many finite numbers."""
    return (
        isinstance(row, list)
        and len(row) == width
        and all(isinstance(value, int | float) and np.isfinite(value) for value in row)
    )


def _check_inside(
    where: str, name: str, text: str, photo: Labelled, corners: Sequence[tuple[float, float]]
) -> None:
    """Raise UserError where a point is outside its photo."""
    height, width = photo.size
    for x, y in corners:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"{where}: {text} of {name} reaches outside the photo, which is {width} x {height} pixels; "
                "labels inside it are needed."
            )
