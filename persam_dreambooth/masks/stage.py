"""Stage 1, photos to masks: a mask of the subject for every photo, from one that is given.

In: photos, and a mask of at least one of them (`--reference_mask`, or `<photo>.mask.png` beside it).
Out, in one folder: `<photo>.png` (white on black, at the photo's size), `masks.json`, `contact_sheet.png`.

Masks are found again only where something changed that they depend on. One that a person has edited in the
folder is theirs: it stays as it is until they delete it or replace the photo.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.record import SubjectMask, kept_masks, subject_mask, write_record
from persam_dreambooth.photos import MASK_SUFFIX, Photo, array_digest, mask_beside, read_mask
from persam_dreambooth.sam.segmenter import Segmenter, model_digest

METHODS: dict[str, ModuleType] = {"persam_f": persam_f, "persam": persam}

# Raise it when the same photos, hint and model give other masks than before: kept ones are then found again.
ALGORITHM = 1


@dataclass(frozen=True, eq=False)
class _Given:
    """A mask that a person made."""

    photo: Photo
    mask: Bool[np.ndarray, "H W"]
    path: Path


def find_masks(
    photos: list[Photo],
    *,
    reference_mask: Path | None,
    sam: str,
    method: str,
    out_dir: Path,
    device: str = "cpu",
    reference_photo: str | None = None,
    latent_size: tuple[int, int] | None = None,
) -> dict[str, SubjectMask]:
    """Return the subject's mask in every photo, by the photo's stem, and write them to a folder.

    Args:
        photos: at least one, with different stems.
        reference_mask: a mask file. It belongs to `reference_photo`; without that to the photo of its name
            (`02.mask.png` or `02.png` to photo 02), or else to the first photo.
        sam: `toy`, a folder, or a hub id.
        method: `persam_f` or `persam`.
        out_dir: folder of the results.
        device: where SAM runs.
        reference_photo: stem or file name of the photo whose mask is the reference.
        latent_size: (rows, columns) of the latents, for the contact sheet.

    Raises:
        UserError: no mask is given, or not the one asked for; a given mask cannot be used; SAM cannot be
            loaded; the subject is not found in a photo.
    """
    out_dir = Path(out_dir)
    given, reference = _given_masks(photos, reference_mask, reference_photo)
    inputs = _inputs(photos, given, reference, f"{method} {ALGORITHM}", sam)
    kept = kept_masks(photos, inputs, out_dir)
    new = {stem: subject_mask(stem, hint.mask, "given") for stem, hint in given.items() if stem not in kept}
    unknown = [photo for photo in photos if photo.stem not in kept and photo.stem not in new]
    if unknown:
        new |= _segmented(unknown, _reference(reference, photos), Segmenter.load(sam, device), method)
    masks = {photo.stem: kept.get(photo.stem) or new[photo.stem] for photo in photos}
    settings = {
        "algorithm": ALGORITHM,
        "latent_size": latent_size,
        "method": method,
        "reference": reference and {"mask": reference.path.name, "photo": reference.photo.path.name},
        "sam": sam,
    }
    write_record(photos, masks, set(new), inputs=inputs, settings=settings, folder=out_dir)
    return masks


def _given_masks(
    photos: list[Photo], reference_mask: Path | None, reference_photo: str | None
) -> tuple[dict[str, _Given], _Given | None]:
    """Return the masks that people made, by stem, and the one that is the reference.

    Raises:
        UserError: a named photo does not exist or has no mask; a mask cannot be read.
    """
    chosen = None if reference_photo is None else _photo_named(reference_photo, photos)
    given = {
        photo.stem: _Given(photo, read_mask(path, photo.size), path)
        for photo in photos
        if (path := mask_beside(photo.path)).is_file()
    }
    if reference_mask is not None:
        path = Path(reference_mask)
        chosen = chosen or _owner(path, photos)
        given[chosen.stem] = _Given(chosen, read_mask(path, chosen.size, "--reference_mask"), path)
    if chosen is not None and chosen.stem not in given:
        raise UserError(
            f"--reference_photo {reference_photo}: has no mask; a reference needs one. Give it with "
            f"--reference_mask, or save it as {mask_beside(chosen.path)}."
        )
    return given, given[chosen.stem] if chosen else next(iter(given.values()), None)


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


def _owner(path: Path, photos: list[Photo]) -> Photo:
    """Return the photo that a mask file is named after, or the first."""
    stem = path.name.removesuffix(MASK_SUFFIX) if path.name.endswith(MASK_SUFFIX) else path.stem
    return next((photo for photo in photos if photo.stem == stem), photos[0])


def _reference(reference: _Given | None, photos: list[Photo]) -> _Given:
    """Return the reference, or raise UserError where none was given."""
    if reference is None:
        raise UserError(
            "--reference_mask: missing, and no photo has a mask beside it; the subject must be marked on one "
            f"photo. Give a mask file, or save one as {mask_beside(photos[0].path)}."
        )
    return reference


def _inputs(
    photos: list[Photo], given: dict[str, _Given], reference: _Given | None, algorithm: str, sam: str
) -> dict[str, str]:
    """Return, by stem, a digest of everything that a photo's mask depends on."""
    common = [algorithm]
    if reference is not None and len(given) < len(photos):
        common += [reference.photo.digest, array_digest(reference.mask), model_digest(sam)]

    def digest_for(photo: Photo) -> str:
        hint = given.get(photo.stem)
        parts = [photo.digest, *(["given", array_digest(hint.mask)] if hint else common)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    return {photo.stem: digest_for(photo) for photo in photos}


def _segmented(
    photos: list[Photo], reference: _Given, segmenter: Segmenter, method: str
) -> dict[str, SubjectMask]:
    """Return the masks that the method finds in these photos, by stem."""
    stage = METHODS[method]
    embedding = segmenter.encode(reference.photo.pixels)
    target = stage.fit(segmenter, embedding, reference.mask, str(reference.path))
    masks = {}
    for photo in tqdm(photos, desc="masks", unit="photo", disable=None):
        found = stage.find(segmenter, segmenter.encode(photo.pixels), target, str(photo.path))
        masks[photo.stem] = subject_mask(photo.stem, found.mask.cpu().numpy(), method, found)
    return masks
