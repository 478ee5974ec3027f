"""Where the subject is in a generated picture, found as in the photos: PerSAM-F with the training target."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.album import Album
from persam_dreambooth.leakage.drawing import read_key, write_keyed
from persam_dreambooth.masks import persam_f
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.run import digest_of
from persam_dreambooth.sam.segmenter import Segmenter, model_digest

SubjectFinder = Callable[[UInt8[np.ndarray, "H W 3"]], Bool[np.ndarray, "H W"] | None]
"""Returns the subject's mask at the picture's size, or None where it is not found."""


def subject_finder(
    segmenter: Segmenter,
    photo: Photo,
    mask: Bool[np.ndarray, "H W"],
    more: Sequence[tuple[Photo, Bool[np.ndarray, "H W"]]] = (),
) -> SubjectFinder:
    """Return a function that finds the subject in pictures.

    Features are pooled and the weights of SAM's three masks fitted over all references, as for the photos'
    masks. What it finds is the likeliest place of this subject, however poorly it is drawn: another cat in
    its place is found too. How sure PerSAM-F is cannot be asked here, because its signs hold the picture
    against this individual, and the base model draws others.

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

    def find(pixels: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"] | None:
        try:
            found = persam_f.find(segmenter, segmenter.encode(pixels), target, "a generated picture")
        except UserError:
            # Its mask is empty or full. In a photo that is an error; here it is a result, and is counted.
            return None
        return found.mask.cpu().numpy()

    return find


def remembering(find: Callable[[], SubjectFinder], folder: Path, digest: str) -> SubjectFinder:
    """Return a finder that keeps what it found, so that a comparison that is run again goes on from there.

    Args:
        find: returns the finder; called with the first picture that is new.
        folder: of the masks, one a picture, named by digests; an empty mask says that nothing was found.
        digest: of everything that decides what is found: model, references.
    """
    made: list[SubjectFinder] = []

    def find_once(pixels: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"] | None:
        key = digest_of(digest, array_digest(pixels))
        path = folder / f"{key[:16]}.png"
        if read_key(path) == key:
            with Image.open(path) as image:
                mask = np.asarray(image) > 0
            return mask if mask.any() else None
        if not made:
            made.append(find())
        mask = made[0](pixels)
        kept = np.zeros(pixels.shape[:2], dtype=bool) if mask is None else mask
        write_keyed(Image.fromarray(np.where(kept, 255, 0).astype(np.uint8)), path, key)
        return mask

    return find_once


def finder_of(album: Album, sam: str, folder: Path, device: str) -> SubjectFinder:
    """Return a finder with the references that the photos' masks were found with, and a memory.

    Args:
        album: photos and masks.
        sam: name of the SAM.
        folder: of the memory.
        device: where SAM runs.
    """
    by_stem = {photo.stem: photo for photo in album.photos}
    references = [(by_stem[stem], album.masks[stem].mask) for stem in album.references]

    def load() -> SubjectFinder:
        (photo, mask), *more = references
        return subject_finder(Segmenter.load(sam, device), photo, mask, more)

    known = [(photo.digest, album.masks[photo.stem].digest) for photo, _ in references]
    return remembering(load, folder, digest_of(model_digest(sam), known))
