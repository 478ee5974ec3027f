"""What each photo is called in training: by its own caption, or by the one prompt for all.

--instance_data_dir PHOTOS    00.jpg and, where it has a caption of its own, 00.txt beside it
--dataset_name FOLDER         photos and metadata.jsonl, a line a photo, as the `imagefolder` of datasets:
                              {"file_name": "00.jpg", "text": "a photo of sks cat asleep"}
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.photos import Photo, read_photo, read_photos

CAPTION_SUFFIX = ".txt"
METADATA_FILE = "metadata.jsonl"
PHOTO_COLUMN = "image"
"""What datasets calls the column of the photos that `file_name` names."""


@dataclass(frozen=True)
class Caption:
    """What a photo is called, and where that is written: for error texts."""

    text: str
    source: str


@dataclass(frozen=True, eq=False)
class Album:
    """Photos and what each is called."""

    photos: tuple[Photo, ...]
    captions: tuple[Caption, ...]

    @property
    def prompts(self) -> list[str]:
        """The captions alone."""
        return [caption.text for caption in self.captions]

    @property
    def own_captions(self) -> dict[str, str]:
        """Captions of the photos that have one of their own, by where it is written."""
        own = (caption for caption in self.captions if not caption.source.startswith("--"))
        return {caption.source: caption.text for caption in own}

    def only(self, stems: Iterable[str]) -> "Album":
        """Return the photos of these names, with their captions."""
        wanted = set(stems)
        pairs = zip(self.photos, self.captions, strict=True)
        kept = [(photo, caption) for photo, caption in pairs if photo.stem in wanted]
        return Album(tuple(photo for photo, _ in kept), tuple(caption for _, caption in kept))


def read_folder(folder: Path, instance_prompt: str) -> Album:
    """Return the photos of a folder; without a caption beside it, a photo is called by the prompt.

    Raises:
        UserError: a photo cannot be read, or a caption is empty or no text.
    """
    photos = read_photos(folder)
    return Album(tuple(photos), tuple(_caption_beside(photo.path, instance_prompt) for photo in photos))


def read_dataset(
    name: str, *, image_column: str = PHOTO_COLUMN, caption_column: str | None = None, instance_prompt: str
) -> Album:
    """Return the photos of a data set that lies in a folder, and what each is called.

    Args:
        name: the folder, or one with a folder `train` in it.
        image_column: "image", or a column of metadata.jsonl with the names of the files.
        caption_column: a column of metadata.jsonl; None calls every photo by the prompt, and so is a photo
            called whose caption is empty.
        instance_prompt: the prompt.

    Raises:
        UserError: there is no such folder, its metadata cannot be read, or it has no such column or photo.
    """
    folder = _dataset_folder(name)
    path = folder / METADATA_FILE
    if caption_column is None and image_column == PHOTO_COLUMN and not path.is_file():
        return read_folder(folder, instance_prompt)
    file_column = "file_name" if image_column == PHOTO_COLUMN else image_column
    photos, captions = [], []
    records = _read_metadata(path)
    for flag, column in (("--image_column", file_column), ("--caption_column", caption_column)):
        _check_column(flag, column, records, path)
    for number, record in records.items():
        where = f"{path} line {number}"
        photos.append(read_photo(_inside(folder, _text_in(record, file_column, where), where)))
        text = _text_in(record, caption_column, where)
        captions.append(Caption(text, where) if text else Caption(instance_prompt, "--instance_prompt"))
    _check_names(photos, path)
    return Album(tuple(photos), tuple(captions))


def _caption_beside(path: Path, instance_prompt: str) -> Caption:
    """Return the caption beside a photo, or the prompt."""
    file = path.with_suffix(CAPTION_SUFFIX)
    if not file.is_file():
        return Caption(instance_prompt, "--instance_prompt")
    try:
        # utf-8-sig: some editors put an invisible mark first.
        text = " ".join(file.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: no UTF-8 text ({error.reason}); a caption is needed. Save it anew."
        ) from error
    if not text:
        raise UserError(
            f"{file}: empty; a caption is needed. Write one, or remove the file to use --instance_prompt."
        )
    return Caption(text, str(file))


def _dataset_folder(name: str) -> Path:
    """Return the folder of a data set, or raise UserError where the name is none."""
    path = Path(name).expanduser()
    if path.is_dir():
        inner = path / "train"
        return inner if inner.is_dir() and not (path / METADATA_FILE).is_file() else path
    needed = "a folder with photos and metadata.jsonl is needed"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"--dataset_name {name}: no such folder; {needed}. Check the path.")
    raise UserError(
        f"--dataset_name {name}: no such folder, and data sets are not read from the hub, so that a run can "
        f"be repeated without it; {needed}. Fetch it once: hf download {name} --repo-type dataset "
        "--local-dir FOLDER, and name that folder."
    )


def _read_metadata(path: Path) -> dict[int, dict[str, Any]]:
    """Return the records of a metadata file by their line's number."""
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; --image_column and --caption_column are columns of it. Add it."
        )
    records = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        try:
            record = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise UserError(
                f"{path} line {number}: no JSON ({error}); a record is needed. Mend it."
            ) from error
        if not isinstance(record, dict | None):
            raise UserError(f"{path} line {number}: {line[:40]!r}; a JSON object is needed. Mend it.")
        if record:
            records[number] = record
    if not records:
        raise UserError(f"{path}: empty; a line for each photo is needed. Add them.")
    return records


def _check_column(flag: str, column: str | None, records: dict[int, dict[str, Any]], path: Path) -> None:
    """Raise UserError for a column that no record has."""
    known = list(dict.fromkeys(name for record in records.values() for name in record))
    if column is not None and column not in known:
        raise UserError(
            f"{flag} {column}: not in {path}, which has {', '.join(known)}; one of those is needed."
            f"{did_you_mean(column, known)}"
        )


def _text_in(record: dict[str, Any], column: str | None, where: str) -> str:
    """Return a text of a record; an empty one where there is none."""
    value = record.get(column)
    if not isinstance(value, str | None):
        raise UserError(f"{where}: {column} is {value!r}; a text is needed. Mend it.")
    return (value or "").strip()


def _inside(folder: Path, file_name: str, where: str) -> Path:
    """Return the path of a file of a data set, if it lies in the folder."""
    path = folder / file_name
    if not file_name or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{where}: file {file_name!r}; one inside {folder} is needed. Mend the line.")
    return path


def _check_names(photos: Sequence[Photo], path: Path) -> None:
    """Raise UserError where two photos have one name: masks are named after the photo."""
    seen: dict[str, Photo] = {}
    for photo in photos:
        other = seen.setdefault(photo.stem.casefold(), photo)
        if other is not photo:
            raise UserError(
                f"{path}: {photo.path} has the same name as {other.path} but for folder, suffix or case; "
                "masks are named after the photo, so every name may occur once. Rename one of the two."
            )
