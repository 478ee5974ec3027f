"""What measuring the background takes beside the training's own inputs: masks, and other places."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import Photo, read_mask, read_photos
from persam_dreambooth.settings.measures import MeasureConfig

Masks = Mapping[str, Bool[np.ndarray, "H W"]]
"""By the stem of the photo's name, True on the subject."""

ENOUGH_DECOYS = 19
"""With the true one that is 20: by chance alone it is the most learnt once in 20 times."""


def given_masks(photos: Sequence[Photo], measures: MeasureConfig) -> Masks | None:
    """Return the masks of --measure_masks, of those photos that have one; None where the flag is not given.

    Raises:
        UserError: no photo has one, or one cannot be used.
    """
    folder = measures.measure_masks
    if folder is None:
        return None
    paths = {photo.stem: folder / f"{photo.stem}.png" for photo in photos}
    found = {
        photo.stem: read_mask(paths[photo.stem], photo.size, "--measure_masks")
        for photo in photos
        if paths[photo.stem].is_file()
    }
    if not found:
        raise UserError(
            f"--measure_masks {folder}: no mask of any photo, such as {paths[photos[0].stem].name}; at least "
            "one is needed. Name the folder that `persam-dreambooth segment` wrote, or a run's masks."
        )
    return found


def given_decoys(measures: MeasureConfig) -> list[UInt8[np.ndarray, "H W 3"]] | None:
    """Return the pictures of --background_decoys; None where the flag is not given.

    Raises:
        UserError: the folder does not exist, or has fewer than two pictures.
    """
    folder = measures.background_decoys
    if folder is None:
        return None
    pictures = [photo.pixels for photo in read_photos(folder)]
    if len(pictures) < 2:
        raise UserError(
            f"--background_decoys {folder}: {len(pictures)} picture; at least 2 of other places are needed, "
            f"better {ENOUGH_DECOYS}. Add some, or drop it and let the model draw them."
        )
    return pictures


def check_measuring(photos: Sequence[Photo], measures: MeasureConfig) -> None:
    """Raise UserError where what measuring needs is missing, before anything is written."""
    if measures.wanted:
        given_masks(photos, measures)
    given_decoys(measures)
