"""Which objects a person marked on a clip's first frame: by a label map, masks, a box, points or strokes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import hints
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.clip import Frame
from persam_dreambooth.masks.sighting import PRESENCE_THRESHOLD
from persam_dreambooth.photos import read_mask
from persam_dreambooth.picture_files import open_picture
from persam_dreambooth.sam.segmenter import Embedding, Segmenter
from persam_dreambooth.settings import SearchConfig

# A record that cannot change.
_DEFAULTS = SearchConfig()

UNKNOWN = 255
"""In a label map: may be anything."""
MAX_OBJECTS = 50
"""Larger numbers are grey values: the picture is no label map."""


@dataclass(frozen=True, eq=False)
class MarkedObject:
    """One object on the first frame."""

    name: str
    """What it is called in folders and records; its number, where nobody named it."""
    reference: Reference


def marked_objects(
    segmenter: Segmenter,
    frame: Frame,
    embedding: Embedding,
    search: SearchConfig,
    subjects: Sequence[str] = (),
) -> dict[int, MarkedObject]:
    """Return the objects that are marked on the first frame, by number.

    Args:
        segmenter: the model that made the embedding.
        frame: the first frame.
        embedding: the same, encoded.
        search: the hint: a label map, a mask for each object, or a box, points or strokes on one.
        subjects: instead of it, `name=mask` of each object.

    Raises:
        UserError: nothing is marked, or in two ways; a flag makes no sense for a clip; a mask cannot be used.
    """
    check_flags(search, subjects)
    size = embedding.size
    if subjects:
        return _named_objects(subjects, embedding)
    if search.reference_mask is not None:
        paths = [Path(path) for path in search.reference_mask]
        masks = label_map_objects(paths[0], size) if len(paths) == 1 else {}
        masks = masks or {
            number: read_mask(path, size, "--reference_mask") for number, path in enumerate(paths, start=1)
        }
        files = {number: str(paths[0] if len(paths) == 1 else paths[number - 1]) for number in masks}
    else:
        masks = {1: _drawn_mask(segmenter, frame, embedding, search)}
        files = {1: "--video: the first frame"}
    return {
        number: MarkedObject(str(number), Reference(embedding, mask, files[number]))
        for number, mask in masks.items()
    }


def label_map_objects(path: Path, size: tuple[int, int]) -> dict[int, Bool[np.ndarray, "H W"]]:
    """Return a label map's objects by number, True on the object; none where the file is an ordinary mask.

    A label map is a picture with a palette, or a grey one, whose values, besides 255, are at most
    `MAX_OBJECTS`.

    Args:
        path: the file.
        size: (height, width) of the frame.

    Raises:
        UserError: the file cannot be read, or the label map has another size.
    """
    image = open_picture(path, "--reference_mask")
    if image.mode not in ("P", "L") or "transparency" in image.info:
        return {}
    labels = np.asarray(image)
    numbers = [int(number) for number in np.unique(labels) if number not in (0, UNKNOWN)]
    if not numbers or numbers[-1] > MAX_OBJECTS:
        return {}
    if labels.shape != tuple(size):
        raise UserError(
            f"--reference_mask {path}: the label map is {image.width} x {image.height} pixels and the first "
            f"frame {size[1]} x {size[0]}; the two must have one size. Save it at the frame's size."
        )
    return {number: labels == number for number in numbers}


def _named_objects(subjects: Sequence[str], embedding: Embedding) -> dict[int, MarkedObject]:
    """Return the objects of `name=mask` texts, numbered from 1."""
    found: dict[str, MarkedObject] = {}
    for text in subjects:
        name, _, path = text.partition("=")
        if not path or not name or Path(name).name != name or name in (".", "..", *found):
            raise UserError(
                f"--subjects {text}: is not name=mask, or the name occurs twice; a name for the object's "
                "folder and a mask of the first frame are needed. For example --subjects cat=cat.png "
                "dog=dog.png."
            )
        mask = read_mask(Path(path), embedding.size, "--subjects")
        found[name] = MarkedObject(name, Reference(embedding, mask, path))
    return dict(enumerate(found.values(), start=1))


def _drawn_mask(
    segmenter: Segmenter, frame: Frame, embedding: Embedding, search: SearchConfig
) -> Bool[np.ndarray, "H W"]:
    """Return the mask that a box, points or strokes stand for, or raise UserError where there is no hint."""
    if search.reference_box is not None:
        return hints.mask_from_box(segmenter, embedding, search.reference_box, "--reference_box")
    if search.reference_points is not None:
        return hints.mask_from_points(
            segmenter, embedding, search.reference_points, search.reference_labels, "--reference_points"
        )
    if search.reference_scribble is not None:
        return hints.mask_from_scribble(
            segmenter, embedding, search.reference_scribble, frame.pixels, "--reference_scribble"
        )
    raise UserError(
        "--video: nothing marks the subject on the first frame; a hint is needed. Give --reference_mask (of "
        "several objects: a label map), --reference_box, --reference_points or --reference_scribble."
    )


def check_flags(search: SearchConfig, subjects: Sequence[str]) -> None:
    """Raise UserError where flags say what a clip has no use for; this needs no model."""
    has_mark = any(
        value is not None
        for value in (
            search.reference_mask,
            search.reference_box,
            search.reference_points,
            search.reference_scribble,
        )
    )
    if subjects and has_mark:
        raise UserError(
            "--subjects: goes with none of --reference_...; each object's mask is its hint. Leave the "
            "others out."
        )
    of_photos = {
        "reference_photo": "with --video the reference is the first frame",
        "reference_choice": "with --video a person marks the first frame",
        "save_intermediates": "with --video video.json tells how objects were found",
        "min_confidence": "with --video an object is there where its presence is at least "
        f"{PRESENCE_THRESHOLD}",
    }
    for flag, instead in of_photos.items():
        value = getattr(search, flag)
        if value != getattr(_DEFAULTS, flag):
            text = f"--{flag}" if value is True else f"--{flag} {value}"
            raise UserError(f"{text}: is for photos; {instead}. Leave it out.")
