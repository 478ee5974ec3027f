"""report.json, report.html and two pictures: written after a comparison, or again from report.json.

report.json names every picture by its path from the report's folder, so that the folder can be moved as a
whole. The masks that were measured are kept in report_masks/: the ones of the run may be edited later.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam_dreambooth import __version__
from persam_dreambooth.errors import UserError
from persam_dreambooth.files import atomic_path, write_text
from persam_dreambooth.leakage.report.material import Key, Material, ShownPhoto, key_of
from persam_dreambooth.leakage.report.page import page
from persam_dreambooth.leakage.report.posters import bars_poster, grid_poster
from persam_dreambooth.leakage.report.reading import JSON_FILE, read_report
from persam_dreambooth.photos import Photo, read_mask, read_photo, write_mask

if TYPE_CHECKING:
    # Imported for their names alone: masks bring torch along, which a page does not need.
    from persam_dreambooth.leakage.pictures import Picture
    from persam_dreambooth.masks.record import SubjectMask

HTML_FILE = "report.html"
GRID_FILE = "grid.png"
BARS_FILE = "bars.png"
MASKS_FOLDER = "report_masks"


def write_report(
    result: dict[str, Any],
    out_dir: Path,
    *,
    photos: Sequence[Photo],
    masks: "Mapping[str, SubjectMask]",
    pictures: "Mapping[str, Sequence[Picture]]",
    losses: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    settings: Mapping[str, object] | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write report.json, report.html, grid.png and bars.png; return the page's path.

    Args:
        result: from `comparison.compare`; what is known besides (training, proof, ...) may already be in it.
        out_dir: where the files go.
        photos: the training photos.
        masks: the mask of each, by stem.
        pictures: the arms' pictures that were compared. Those without a path are shown, but cannot be found
            again by `re_render`.
        losses: (step, loss) of each training, by arm, where `result` does not hold them.
        settings: what the reader needs to judge or repeat the run, by name.
        commands: the exact command lines, in order.
    """
    out_dir = Path(out_dir)
    for photo in photos:
        write_mask(out_dir / MASKS_FOLDER / f"{photo.stem}.png", masks[photo.stem].mask)
    told = _complete(result, out_dir, photos, masks, pictures)
    if losses:
        told["training"] = _with_losses(told.get("training") or {}, losses)
    if settings:
        told["settings"] = {name: _plain(value) for name, value in settings.items()}
    if commands:
        told["commands"] = list(commands)
    write_text(out_dir / JSON_FILE, json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    material = Material(
        [ShownPhoto(photo.path.name, photo.pixels, masks[photo.stem].mask) for photo in photos],
        {
            (arm, picture.family, picture.prompt, picture.seed): picture.pixels
            for arm, own in pictures.items()
            for picture in own
            if picture.step is None
        },
    )
    return _render(told, material, out_dir / HTML_FILE)


def re_render(path: Path, out: Path | None = None) -> Path:
    """Write the page and its two pictures again from a report.json; return the page's path.

    Args:
        path: the report.json; the pictures, photos and masks that it names are found from its folder.
        out: the page's file; None is report.html beside the report.json. The two pictures go beside it.

    Raises:
        UserError: as `read_report`; also a picture, photo or mask that is not there, or rows that name none.
    """
    path = Path(path)
    told = read_report(path)
    photos = [_photo(path, entry) for entry in told["inputs"]["photos"]]
    out = Path(out or path.with_name(HTML_FILE))
    return _render(told, Material(photos, _pictures(path, told["rows"])), out)


def _complete(
    result: Mapping[str, Any],
    out_dir: Path,
    photos: Sequence[Photo],
    masks: "Mapping[str, SubjectMask]",
    pictures: "Mapping[str, Sequence[Picture]]",
) -> dict[str, Any]:
    """Return the result with its version, its photos, and every file's path from the report's folder."""
    inputs = dict(result.get("inputs") or {})
    known = list(inputs.get("photos") or []) or [{} for _ in photos]
    inputs["photos"] = [
        {
            "digest": photo.digest,
            "mask_digest": masks[photo.stem].digest,
            "mask_source": masks[photo.stem].source,
            "area_fraction": masks[photo.stem].area_fraction,
            **entry,
            "file": _relative(photo.path, out_dir),
            "mask": f"{MASKS_FOLDER}/{photo.stem}.png",
        }
        for photo, entry in zip(photos, known, strict=True)
    ]
    paths = {
        (arm, picture.family, picture.prompt, picture.seed, picture.step): picture.path
        for arm, own in pictures.items()
        for picture in own
        if picture.path is not None
    }
    rows = []
    for row in result["rows"]:
        found = paths.get((*key_of(row), row.get("step")))
        rows.append({**row, "picture": _relative(found, out_dir)} if found else row)
    return {"version": __version__, **result, "inputs": inputs, "rows": rows}


def _with_losses(
    training: Mapping[str, Mapping[str, Any]], losses: Mapping[str, Iterable[tuple[int, float]]]
) -> dict[str, dict[str, Any]]:
    """Return what is known of the trainings, with their losses."""
    told = {arm: dict(own) for arm, own in training.items()}
    for arm, points in losses.items():
        told.setdefault(arm, {})["losses"] = [list(point) for point in points]
    return told


def _render(told: Mapping[str, Any], material: Material, out: Path) -> Path:
    """Write the page, and the two pictures beside it, once all of them are there."""
    html, posters = (
        page(told, material),
        {GRID_FILE: grid_poster(told, material), BARS_FILE: bars_poster(told)},
    )
    write_text(out, html)
    for name, poster in posters.items():
        if poster is None:
            continue
        with atomic_path(out.with_name(name)) as temporary:
            poster.save(temporary)
    return out


def _photo(path: Path, entry: Mapping[str, Any]) -> ShownPhoto:
    """Return a photo with its mask."""
    photo = read_photo(_found(path, entry.get("file"), "a photo"))
    return ShownPhoto(
        photo.path.name, photo.pixels, read_mask(_found(path, entry.get("mask"), "a mask"), photo.size)
    )


def _pictures(path: Path, rows: Iterable[Mapping[str, Any]]) -> dict[Key, Any]:
    """Return the pictures of the finished models."""
    return {
        key_of(row): read_photo(
            _found(path, row.get("picture"), f"{row['arm']}, {row['prompt']!r}, seed {row['seed']}")
        ).pixels
        for row in rows
        if row.get("step") is None
    }


def _found(report: Path, name: str | None, what: str) -> Path:
    """Return a file that a report names.

    Raises:
        UserError: the report names none, or it is not there.
    """
    if not name:
        raise UserError(
            f"{report}: no file is named for {what}; a page needs its pictures. Run the comparison again, "
            "with pictures in files."
        )
    path = report.parent / name
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; {report} names it for {what}. Put it back, or run the comparison again."
        )
    return path


def _relative(path: Path, folder: Path) -> str:
    """Return the path from a folder to a file, with slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _plain(value: object) -> object:
    """Return a setting as JSON holds it; what JSON does not know, as its text."""
    return value if isinstance(value, bool | int | float | str | None) else str(value)
