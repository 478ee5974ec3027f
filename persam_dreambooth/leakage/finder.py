"""Where the subject is in a generated picture, found as in the photos: PerSAM-F with the training target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.album import Album
from persam_dreambooth.leakage.drawing import read_key, write_keyed
from persam_dreambooth.leakage.pictures import NO_SUBJECT, Picture
from persam_dreambooth.leakage.presence import Presence, evenly, presence_of
from persam_dreambooth.masks import persam_f
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.run import digest_of
from persam_dreambooth.sam.segmenter import Segmenter, model_digest

Pixels = UInt8[np.ndarray, "H W 3"]

_RESEMBLANCE = "resemblance"
"""Name of the PNG text beside a mask that is kept."""
_VERSION = "persam_f with resemblance"
"""What is kept of a picture: masks of earlier versions, which were kept alone, do not count."""


@dataclass(frozen=True, eq=False)
class Found:
    """The likeliest place of the subject in a picture, whether it is there or not."""

    mask: Bool[np.ndarray, "H W"]
    """At the picture's size; neither empty nor full."""
    resemblance: float
    """Mean cosine of its pixels with the subject's features in the photos, -1 to 1."""


Look = Callable[[Pixels], Found | None]
"""Returns the likeliest place of the subject, or None where no mask can be used."""
SubjectFinder = Callable[[Pixels], Bool[np.ndarray, "H W"] | None]
"""Returns the subject's mask at the picture's size, or None where it is not found."""


def subject_look(
    segmenter: Segmenter,
    photo: Photo,
    mask: Bool[np.ndarray, "H W"],
    more: Sequence[tuple[Photo, Bool[np.ndarray, "H W"]]] = (),
) -> Look:
    """Return a function that looks for the subject in pictures.

    Features are pooled and the weights of SAM's three masks fitted over all references, as for the photos'
    masks. What it finds is the likeliest place of this subject, however poorly it is drawn: another cat in
    its place is found too, and something in a picture without any. How sure PerSAM-F is of a photo's mask
    cannot be asked here, because its signs hold the picture against this individual, and the base model draws
    others.

    Args:
        segmenter: the model that also found the photos' masks.
        photo: the reference photo.
        mask: True on the subject in it.
        more: further references.

    Raises:
        UserError: the subject is too small in a reference for this model.
    """
    references = [
        Reference(segmenter.encode(one.pixels), own, str(one.path)) for one, own in ((photo, mask), *more)
    ]
    target = persam_f.fit(segmenter, references)

    def look(pixels: Pixels) -> Found | None:
        embedding = segmenter.encode(pixels)
        try:
            found = persam_f.find(segmenter, embedding, target, "a generated picture")
        except UserError:
            # Its mask is empty or full. In a photo that is an error; here it is a result, and is counted.
            return None
        return Found(found.mask.cpu().numpy(), mean_inside(found.similarity, found.mask))

    return look


def subject_finder(
    segmenter: Segmenter,
    photo: Photo,
    mask: Bool[np.ndarray, "H W"],
    more: Sequence[tuple[Photo, Bool[np.ndarray, "H W"]]] = (),
) -> SubjectFinder:
    """Return a finder for which whatever is marked is the subject; arguments as for `subject_look`."""
    return masks_of(subject_look(segmenter, photo, mask, more))


def masks_of(look: Look, presence: Presence | None = None) -> SubjectFinder:
    """Return a finder of masks.

    Args:
        look: what looks.
        presence: from which resemblance on it is the subject; without it, always.
    """

    def find(pixels: Pixels) -> Bool[np.ndarray, "H W"] | None:
        found = look(pixels)
        if found is None or (presence is not None and not presence.is_there(found.resemblance)):
            return None
        return found.mask

    return find


def presence_in(look: Look, base: Sequence[Pixels], places: Sequence[Pixels]) -> Presence:
    """Return from which resemblance on a subject counts as there.

    Args:
        look: what looks.
        base: pictures of the class by the base model.
        places: decoys, without any such subject; some of them are looked at.
    """
    # What is drawn once for two prompts counts once.
    drawn = {array_digest(pixels): pixels for pixels in base}
    known = _resemblances(look, list(drawn.values()), "look at base")
    return presence_of(known, _resemblances(look, evenly(places), "look at decoys"))


def mean_inside(similarity: Float[Tensor, "H W"], mask: Bool[Tensor, "H W"]) -> float:
    """Return the mean similarity of a mask's pixels."""
    return float(similarity[mask].float().mean())


def remembering(look: Callable[[], Look], folder: Path, digest: str) -> Look:
    """Return what looks and keeps what it found, so that a comparison that is run again goes on from there.

    Args:
        look: returns what looks; called with the first picture that is new.
        folder: of the masks, one a picture, named by digests; an empty mask says that nothing was found.
        digest: of everything that decides what is found: model, references.
    """
    made: list[Look] = []

    def look_once(pixels: Pixels) -> Found | None:
        key = digest_of(_VERSION, digest, array_digest(pixels))
        path = folder / f"{key[:16]}.png"
        if read_key(path) == key:
            with Image.open(path) as image:
                mask, told = np.asarray(image) > 0, image.info[_RESEMBLANCE]
            return Found(mask, float(told)) if mask.any() else None
        if not made:
            made.append(look())
        found = made[0](pixels)
        kept = np.zeros(pixels.shape[:2], dtype=bool) if found is None else found.mask
        told = "" if found is None else repr(found.resemblance)
        write_keyed(
            Image.fromarray(np.where(kept, 255, 0).astype(np.uint8)), path, key, **{_RESEMBLANCE: told}
        )
        return found

    return look_once


def finder_of(
    album: Album, sam: str, folder: Path, device: str, *, base: Sequence[Picture], places: Sequence[Pixels]
) -> tuple[SubjectFinder, Presence]:
    """Return a finder with the references that the photos' masks were found with, and what it calls missing.

    It has a memory.

    Args:
        album: photos and masks.
        sam: name of the SAM.
        folder: of the memory.
        device: where SAM runs.
        base: the base model's pictures; those of prompts for the class are known to show a subject.
        places: decoys, known to show none.
    """
    by_stem = {photo.stem: photo for photo in album.photos}
    references = [(by_stem[stem], album.masks[stem].mask) for stem in album.references]

    def load() -> Look:
        (photo, mask), *more = references
        return subject_look(Segmenter.load(sam, device, album.sam_adapter), photo, mask, more)

    known = [(photo.digest, album.masks[photo.stem].digest) for photo, _ in references]
    look = remembering(load, folder, digest_of(model_digest(sam, album.sam_adapter), known))
    of_class = [one.pixels for one in base if one.family != NO_SUBJECT and one.step is None]
    presence = presence_in(look, of_class, places)
    return masks_of(look, presence), presence


def _resemblances(look: Look, pictures: Sequence[Pixels], what: str) -> list[float | None]:
    """Return how much what is marked in each picture resembles the subject."""
    bar = tqdm(pictures, desc=what, unit="picture", disable=None)
    return [None if found is None else found.resemblance for found in map(look, bar)]
