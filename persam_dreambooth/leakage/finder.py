"""Where the subject is in a generated picture, found as in the photos: PerSAM-F with the training target."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, UInt8

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam_f
from persam_dreambooth.masks.persam import Reference
from persam_dreambooth.photos import Photo
from persam_dreambooth.sam.segmenter import Segmenter

SubjectFinder = Callable[[UInt8[np.ndarray, "H W 3"]], Bool[np.ndarray, "H W"] | None]
"""Returns the subject's mask at the picture's size, or None where it is not found."""


def subject_finder(segmenter: Segmenter, photo: Photo, mask: Bool[np.ndarray, "H W"]) -> SubjectFinder:
    """Return a function that finds the subject in pictures.

    Args:
        segmenter: the model that also found the photos' masks.
        photo: the reference photo.
        mask: True on the subject in it.

    Raises:
        UserError: the subject is too small in the reference for this model.
    """
    target = persam_f.fit(segmenter, [Reference(segmenter.encode(photo.pixels), mask, str(photo.path))])

    def find(pixels: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"] | None:
        try:
            found = persam_f.find(segmenter, segmenter.encode(pixels), target, "a generated picture")
        except UserError:
            # Its mask is empty or full. In a photo that is an error; here it is a result, and is counted.
            return None
        return found.mask.cpu().numpy()

    return find
