"""What a method computed for one photo, as arrays in a file: for people who check it, or build on it."""

from pathlib import Path

import numpy as np
from torch import Tensor

from persam_dreambooth.files import atomic_path
from persam_dreambooth.masks.passes import FoundMask
from persam_dreambooth.masks.subject import Target

NUM_PASSES = 3


def intermediates(found: FoundMask, target: Target) -> dict[str, np.ndarray]:
    """Return the arrays by name; those that the method does not have are empty.

    target_embedding      [c]      mean feature of the subject, not normalised
    target_feature        [c]      unit vector that features are compared with
    similarity            [H W]    cosine with it, at the photo's size
    point_coords          [n 2]    (x, y) in the photo's pixels
    point_labels          [n]      1 on the subject, 0 beside it
    attention_similarity  [gh gw]  guidance of the first pass; persam only
    low_res_logits_k      [m h w]  of pass k: 0 is the first, 1 and 2 are the refinements; m is 1 or 3
    iou_predictions_k     [m]      SAM's guess of each mask's IoU
    box_k                 [4]      XYXY that refinement k was prompted with; persam's first has none
    mask_weights          [3]      persam_f only

    Args:
        found: what the method itself found, with all its passes.
        target: what it looked for.
    """
    arrays = {
        "target_embedding": target.target_embedding,
        "target_feature": target.direction,
        "similarity": found.similarity,
        "point_coords": found.point_coords,
        "point_labels": found.point_labels,
        "attention_similarity": found.attention_similarity,
        "mask_weights": None if found.mask_weights is None else np.array(found.mask_weights, np.float32),
    }
    for k in range(NUM_PASSES):
        # A refinement without a mask that can be used ends the cascade early.
        one = found.passes[k] if k < len(found.passes) else None
        arrays[f"low_res_logits_{k}"] = one and one.low_res_logits
        arrays[f"iou_predictions_{k}"] = one and one.iou_predictions
        if k:
            arrays[f"box_{k}"] = one and one.box
    return {name: _array(value) for name, value in arrays.items()}


def write_intermediates(path: Path, found: FoundMask, target: Target) -> None:
    """Write the arrays as an .npz file, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **intermediates(found, target))


def _array(value: Tensor | np.ndarray | None) -> np.ndarray:
    """Return a tensor as an array, and nothing as an array without values."""
    if value is None:
        return np.zeros(0, np.float32)
    return value.cpu().numpy() if isinstance(value, Tensor) else value
