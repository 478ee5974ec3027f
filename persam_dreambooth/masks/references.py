"""Which photos show what the subject is, and how each is marked: mask, box, points, strokes, or nothing.

Reading the hints needs no model, so that a run whose masks are all there can stop after it. What turns them
into masks needs one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from tqdm import tqdm

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.masks import hints
from persam_dreambooth.masks.candidates import ThingSource
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.failures import naming
from persam_dreambooth.masks.folder import MaskFolder
from persam_dreambooth.masks.proposals import Proposal, propose
from persam_dreambooth.photos import MASK_SUFFIX, Photo, array_digest, file_digest, mask_beside, read_mask
from persam_dreambooth.sam.segmenter import Embedding, Segmenter
from persam_dreambooth.settings import SearchConfig


@dataclass(frozen=True, eq=False)
class Hint:
    """What a person said about one photo."""

    photo: Photo
    kind: str
    """given (a mask), box, points, scribble; edited (a mask that took the place of one of them)."""
    name: str
    """The file or the flag, for error texts."""
    digest: str
    """Changes when the hint does."""
    mask: Bool[np.ndarray, "H W"] | None = None
    """True on the subject, at the photo's size; None where a model has to make it from the hint."""

    @property
    def told(self) -> dict[str, Any]:
        """What masks.json says of it."""
        return {"photo": self.photo.path.name, "source": self.kind, "hint": Path(self.name).name}


@dataclass(frozen=True, eq=False)
class Hints:
    """Everything that was said about an album."""

    by_stem: dict[str, Hint]
    """Every photo that somebody marked."""
    references: tuple[Hint, ...]
    """Those of them that say what the subject is; none where it has to be proposed."""


def read_hints(photos: list[Photo], search: SearchConfig) -> Hints:
    """Return the marks that people made: those of the flags, and masks that lie beside their photos.

    The flags name the references; without one, every photo that has a mask beside it is a reference.

    Raises:
        UserError: a named photo does not exist or has no mask; a mask or a scribble cannot be read.
    """
    chosen = None if search.reference_photo is None else _photo_named(search.reference_photo, photos)
    by_stem = {
        photo.stem: mask_hint(photo, path) for photo in photos if (path := mask_beside(photo.path)).is_file()
    }
    typed = _typed(photos, search, chosen)
    by_stem |= {hint.photo.stem: hint for hint in typed}
    if not typed and chosen is not None:
        if chosen.stem not in by_stem:
            raise UserError(
                f"--reference_photo {search.reference_photo}: has no mask; a reference needs one. Give it "
                f"with --reference_mask, or save it as {mask_beside(chosen.path)}."
            )
        typed = [by_stem[chosen.stem]]
    references = tuple(typed or by_stem.values())
    if references and search.reference_choice is not None:
        raise UserError(
            f"--reference_choice {search.reference_choice}: chooses among proposals, but "
            f"{references[0].name} marks the subject; one of the two is needed. Drop the flag, or the mark."
        )
    return Hints(by_stem, references)


def with_corrections(
    marked: Hints, photos: list[Photo], folder: MaskFolder, proposed: Sequence[Mapping[str, str]] = ()
) -> Hints:
    """Return the marks with the masks of reference photos that a person edited in place of what was there.

    What a person painted after seeing the first mask is the best that is known of the subject. The screen
    tells of each.

    Args:
        marked: what `read_hints` returned.
        photos: of the album.
        folder: where the edited masks are.
        proposed: what an earlier run told of its proposal, which is the reference where nothing is marked.
    """
    replaced = {hint.photo.stem: hint.name for hint in marked.references} or {
        photo.stem: "the proposal"
        for photo in photos
        for told in proposed
        if told["photo"] == photo.path.name
    }
    corrected = {}
    for photo in photos:
        mask = folder.edited.get(photo.stem)
        if mask is not None and photo.stem in replaced:
            path = folder.path / f"{photo.stem}.png"
            corrected[photo.stem] = Hint(photo, "edited", str(path), array_digest(mask), mask)
            tqdm.write(f"{path}, edited by hand, is the reference in place of {replaced[photo.stem]}")
    references = [corrected.get(hint.photo.stem, hint) for hint in marked.references]
    return Hints(marked.by_stem | corrected, tuple(references or corrected.values()))


def mask_hint(photo: Photo, path: Path, flag: str = "") -> Hint:
    """Return a mask file as the hint that it is.

    Raises:
        UserError: it cannot be read or has another size than its photo.
    """
    mask = read_mask(path, photo.size, flag)
    return Hint(photo, "given", str(path), array_digest(mask), mask)


def owner_of(path: Path, photos: list[Photo]) -> Photo:
    """Return the photo that a mask is named after (`02.png`, `02.mask.png`, `02.cat.png`), or the first."""
    stem = path.name.removesuffix(MASK_SUFFIX) if path.name.endswith(MASK_SUFFIX) else path.stem
    named = [photo for photo in photos if f"{stem}.".startswith(f"{photo.stem}.")]
    return max(named, key=lambda photo: len(photo.stem), default=photos[0])


def references_of(
    marked: Hints,
    segmenter: Segmenter,
    embeddings: dict[str, Embedding],
    search: SearchConfig,
    folder: Path,
) -> tuple[list[Reference], dict[str, Bool[np.ndarray, "H W"]]]:
    """Return the references for the method, and the mask of every photo that somebody marked, by stem.

    Args:
        marked: from `read_hints`, with at least one reference.
        segmenter: the model that turns boxes, points and strokes into masks.
        embeddings: by stem; those of photos that are encoded here are added.
        search: what the flags say.
        folder: where masks are written, for error texts.

    Raises:
        UserError: a hint marks nothing that SAM can tell apart.
    """
    masks = {}
    for stem, hint in marked.by_stem.items():
        with naming([hint.photo], folder):
            if stem not in embeddings and (hint.mask is None or hint in marked.references):
                embeddings[stem] = segmenter.encode(hint.photo.pixels)
            is_mask = hint.mask is not None
            masks[stem] = hint.mask if is_mask else _mask_of(hint, segmenter, embeddings[stem], search)
    references = [
        Reference(embeddings[hint.photo.stem], masks[hint.photo.stem], hint.name, hint.photo.pixels)
        for hint in marked.references
    ]
    return references, masks


def proposals_of(
    photos: list[Photo],
    segmenter: Segmenter,
    embeddings: dict[str, Embedding],
    folder: Path,
    source: ThingSource | None = None,
) -> list[Proposal]:
    """Return what could be the subject where nobody marked anything, best first.

    Args:
        photos: of the album; every one of them is encoded.
        segmenter: the model.
        embeddings: by stem; those of photos that are encoded here are added.
        folder: where masks are written, for error texts.
        source: what else sees things, beside SAM or instead of it.

    Raises:
        UserError: nothing is found in more than one photo.
    """
    for photo in tqdm(photos, desc="encode", unit="photo", disable=None):
        if photo.stem not in embeddings:
            with naming([photo], folder):
                embeddings[photo.stem] = segmenter.encode(photo.pixels)
    return propose(segmenter, photos, [embeddings[photo.stem] for photo in photos], source=source)


def _typed(photos: list[Photo], search: SearchConfig, chosen: Photo | None) -> list[Hint]:
    """Return the hints of the flags; the photo they are about is the chosen one, or as a mask's name says."""
    if search.reference_mask is not None:
        paths = [Path(path) for path in search.reference_mask]
        if chosen is not None and len(paths) > 1:
            raise UserError(
                f"--reference_photo {search.reference_photo}: one photo, but {len(paths)} of "
                "--reference_mask; each mask belongs to a photo. Name the masks after their photos and leave "
                "the flag out."
            )
        found = [mask_hint(chosen or owner_of(path, photos), path, "--reference_mask") for path in paths]
        check_distinct(found, "--reference_mask")
        return found
    photo = chosen or photos[0]
    flags = ("reference_box", "reference_points", "reference_scribble")
    flag = next((flag for flag in flags if getattr(search, flag) is not None), None)
    if flag is None:
        return []
    value = getattr(search, flag)
    if flag == "reference_scribble":
        content = file_digest(value) if Path(value).is_file() else ""
    else:
        content = f"{value} {search.reference_labels}"
    digest = hashlib.sha256(f"{flag} {photo.digest} {content}".encode()).hexdigest()
    return [Hint(photo, flag.removeprefix("reference_"), f"--{flag}", digest)]


def check_distinct(found: list[Hint], flag: str) -> None:
    """Raise UserError where two masks of a subject, which the flag named, are of one photo."""
    owners: dict[str, Hint] = {}
    for hint in found:
        other = owners.setdefault(hint.photo.stem, hint)
        if other is not hint:
            raise UserError(
                f"{flag} {hint.name}: belongs to {hint.photo.path.name}, as {other.name} does; "
                "each mask needs a photo of its own. Name the masks after their photos."
            )


def _mask_of(
    hint: Hint, segmenter: Segmenter, embedding: Embedding, search: SearchConfig
) -> Bool[np.ndarray, "H W"]:
    """Return the mask that a box, points or strokes stand for."""
    if hint.kind == "box":
        return hints.mask_from_box(segmenter, embedding, search.reference_box, hint.name)
    if hint.kind == "points":
        points = torch.tensor(search.reference_points).reshape(-1, 2)
        return hints.mask_from_points(segmenter, embedding, points, search.reference_labels, hint.name)
    return hints.mask_from_scribble(
        segmenter, embedding, search.reference_scribble, hint.photo.pixels, hint.name
    )


def _photo_named(name: str, photos: list[Photo]) -> Photo:
    """Return the photo of this stem or file name, or raise UserError."""
    for photo in photos:
        if name in (photo.stem, photo.path.name):
            return photo
    names = [photo.path.name for photo in photos]
    raise UserError(
        f"--reference_photo {name}: no such photo; one of {', '.join(names)} is needed."
        f"{did_you_mean(name, names)}"
    )
