"""Photos with known masks in PerSeg's layout, and masks to be compared with them: read, or found here.

    data/Images/<object>/NN.jpg         photos; 00 is the reference
    data/Annotations/<object>/NN.png    true masks of the same names
    predictions/<object>/NN.png         masks to be evaluated; the reference's may be missing

A pixel belongs to a mask where it is not black: its grey value, 0 to 255, is above 0 after rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.evaluation import Case
from persam_dreambooth.masks.subject import look_for, remember
from persam_dreambooth.photos import Photo, photo_paths, read_mask, read_photo
from persam_dreambooth.picture_files import open_picture
from persam_dreambooth.sam.segmenter import Segmenter

PHOTO_FOLDER, TRUTH_FOLDER = "Images", "Annotations"
REFERENCE = "00"

# Lies beside the masks that `segment` writes.
_SHEET = "contact_sheet.png"
_LAYOUT = f"{PHOTO_FOLDER}/<object>/NN.jpg and {TRUTH_FOLDER}/<object>/NN.png"


@dataclass(frozen=True)
class ObjectFiles:
    """The files of one object, by stem, in order."""

    name: str
    photos: dict[str, Path]
    truths: dict[str, Path]


def read_layout(data: Path) -> list[ObjectFiles]:
    """Return the objects of a data set, sorted by name; every photo has its mask and every mask its photo.

    Raises:
        UserError: a folder or a file is missing, or there is no object.
    """
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"--data {data}: no such folder; a folder with {_LAYOUT} is needed.")
    for name in (PHOTO_FOLDER, TRUTH_FOLDER):
        if not (data / name).is_dir():
            raise UserError(f"--data {data}: has no folder {name}; {_LAYOUT} are needed.")
    names = sorted(
        path.name for path in (data / TRUTH_FOLDER).iterdir() if path.is_dir() and path.name[0] != "."
    )
    if not names:
        raise UserError(f"--data {data}: {TRUTH_FOLDER} holds no object; {_LAYOUT} are needed.")
    return [_object_files(data, name) for name in names]


def scored_stems(files: ObjectFiles, *, legacy: bool = False) -> list[str]:
    """Return the stems of the photos that count: all but the reference.

    Args:
        files: one object.
        legacy: leave out, as the authors' script does, every mask with "00" anywhere in its path as it was
            given: also `100.png`, and everything in a folder named `run_2004`.

    Raises:
        UserError: there is no reference, or nothing besides (not with `legacy`).
    """
    if legacy:
        return [stem for stem, path in files.truths.items() if REFERENCE not in str(path)]
    folder = next(iter(files.truths.values())).parent
    if REFERENCE not in files.truths:
        raise UserError(
            f"{folder}: has no {REFERENCE}.png; the reference's mask is needed. Number from 00 on."
        )
    stems = [stem for stem in files.truths if stem != REFERENCE]
    if not stems:
        raise UserError(f"{folder}: only the reference; at least one more mask is needed to compare with.")
    return stems


def read_cases(objects: list[ObjectFiles], predictions: Path, *, legacy: bool = False) -> Iterator[Case]:
    """Yield the photos that count with their masks, true and predicted.

    Raises:
        UserError: a predicted mask is missing, has no truth or another size than it; a file cannot be read;
            the true masks of an object are all empty.
    """
    predictions = Path(predictions)
    for files in objects:
        stems = scored_stems(files, legacy=legacy)
        found = _predicted_files(files, predictions)
        for stem, truth in _truths(files, stems):
            if stem not in found:
                raise UserError(
                    f"--predictions {predictions}: {files.name}/{stem}.png is missing; "
                    f"{files.truths[stem]} needs a mask to be compared with."
                )
            prediction = read_binary(found[stem])
            _check_size(found[stem], prediction.shape, files.truths[stem], truth.shape)
            yield Case(files.name, stem, files.photos[stem], truth, prediction)


def find_cases(
    objects: list[ObjectFiles],
    segmenter: Segmenter,
    method: str,
    *,
    persam_compat: bool = False,
    legacy: bool = False,
    on_failure: Callable[[UserError], None],
) -> Iterator[Case]:
    """Yield the photos that count with their true masks and those that PerSAM finds from the reference.

    Where the subject is not found, the predicted mask is empty: the photo scores 0 and the others go on.

    Args:
        objects: what to segment.
        segmenter: the SAM.
        method: `persam_f` or `persam`.
        persam_compat: compute as the authors' program does where ours differs.
        legacy: which photos count, as for `scored_stems`.
        on_failure: is told why a subject was not found.

    Raises:
        UserError: a file is missing, cannot be read, or has another size than its photo; the true masks of an
            object are all empty.
    """
    for files in objects:
        stems = scored_stems(files, legacy=legacy)
        if not stems:
            continue
        find = _finder(files, segmenter, method, persam_compat, on_failure)
        for stem, truth in _truths(files, stems):
            photo = read_photo(files.photos[stem])
            _check_size(files.truths[stem], truth.shape, photo.path, photo.size)
            yield Case(files.name, stem, photo.path, truth, find(photo))


def read_binary(path: Path) -> Bool[np.ndarray, "H W"]:
    """Return where a picture is not black, as the authors' script sees it; transparency is ignored.

    Raises:
        UserError: the file cannot be read.
    """
    image = open_picture(path)
    # Pillow would clip 16-bit grey to 255; above 0 is above 0 without that.
    grey = image if image.mode.startswith("I") else image.convert("L")
    return np.asarray(grey) > 0


def _finder(
    files: ObjectFiles,
    segmenter: Segmenter,
    method: str,
    persam_compat: bool,
    on_failure: Callable[[UserError], None],
) -> Callable[[Photo], Bool[np.ndarray, "H W"]]:
    """Return what finds the object of this reference in a photo; an empty mask where it is not found."""
    if not {REFERENCE} <= files.photos.keys() & files.truths.keys():
        raise UserError(f"{files.name}: has no photo and mask {REFERENCE}; a reference is needed. Add them.")
    photo, path = read_photo(files.photos[REFERENCE]), files.truths[REFERENCE]
    reference = Reference(segmenter.encode(photo.pixels), read_mask(path, photo.size), str(path))
    try:
        subject = remember(segmenter, [reference], method=method, compat=persam_compat)
    except UserError as error:
        on_failure(error)
        return lambda photo: np.zeros(photo.size, dtype=bool)

    def find(photo: Photo) -> Bool[np.ndarray, "H W"]:
        embedding = segmenter.encode(photo.pixels)
        try:
            found = look_for(segmenter, embedding, subject, str(photo.path))
        except UserError as error:
            on_failure(error)
            return np.zeros(photo.size, dtype=bool)
        return found.mask.cpu().numpy()

    return find


def _object_files(data: Path, name: str) -> ObjectFiles:
    """Return the files of one object, or raise UserError where they do not match."""
    folder = data / TRUTH_FOLDER / name
    photo_folder = data / PHOTO_FOLDER / name
    truths = _pictures(folder)
    if not truths:
        raise UserError(
            f"{folder}: no masks in this folder; at least {REFERENCE}.png and one more are needed."
        )
    photos = {path.stem: path for path in photo_paths(photo_folder)}
    unmatched = sorted(photos.keys() ^ truths.keys())
    if unmatched:
        stem = unmatched[0]
        path, missing = (photos[stem], folder) if stem in photos else (truths[stem], photo_folder)
        raise UserError(
            f"{path}: nothing of this name in {missing}; every photo needs a mask and every mask a photo. "
            "Add it, or remove this file."
        )
    return ObjectFiles(name, photos, truths)


def _predicted_files(files: ObjectFiles, predictions: Path) -> dict[str, Path]:
    """Return the predicted masks of an object by stem, or raise UserError where they do not match."""
    folder = predictions / files.name
    if not predictions.is_dir():
        raise UserError(f"--predictions {predictions}: no such folder; <object>/NN.png are needed in it.")
    if not folder.is_dir():
        known = [path.name for path in predictions.iterdir() if path.is_dir()]
        raise UserError(
            f"--predictions {predictions}: has no folder {files.name}; one for every object is needed."
            f"{did_you_mean(files.name, known)}"
        )
    found = _pictures(folder)
    extra = sorted(found.keys() - files.truths.keys())
    if extra:
        raise UserError(
            f"{found[extra[0]]}: no true mask has this name; every prediction needs one. "
            "Add it, or remove this file."
        )
    return found


def _pictures(folder: Path) -> dict[str, Path]:
    """Return the PNG files of a folder by stem, sorted; hidden files and contact sheets are not masks."""
    paths = sorted(path for path in folder.glob("*.png") if path.name[0] != "." and path.name != _SHEET)
    return {path.stem: path for path in paths}


def _truths(files: ObjectFiles, stems: list[str]) -> Iterator[tuple[str, Bool[np.ndarray, "H W"]]]:
    """Yield the true masks with their stems; raise UserError after the last if all were empty."""
    is_visible = False
    for stem in stems:
        truth = read_binary(files.truths[stem])
        is_visible = is_visible or bool(truth.any())
        yield stem, truth
    if stems and not is_visible:
        raise UserError(
            f"{files.truths[stems[0]].parent}: no object in any mask; some pixels must not be black. "
            "Paint the object in, or remove the folder."
        )


def _check_size(path: Path, size: tuple[int, ...], other: Path, other_size: tuple[int, ...]) -> None:
    """Raise UserError unless two pictures have one (height, width)."""
    if tuple(size) != tuple(other_size):
        raise UserError(
            f"{path}: {size[1]} x {size[0]} pixels, and {other} {other_size[1]} x {other_size[0]}; "
            "the two must have one size. Save the mask at the photo's size."
        )
