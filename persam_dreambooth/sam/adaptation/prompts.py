"""Weak labels as prompts: a box, points or a coarse mask of each thing, mirrored and moved with the photo."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persam_dreambooth.sam.adaptation.augmentations import flipped
from persam_dreambooth.sam.adaptation.frames import Frame, mask_prompt, to_square

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is known of one thing in a photo: one of the three, a mask as pixels or as a file."""

    box: Box | None = None
    """XYXY in the photo's pixels, both corners inside."""
    points: Float[np.ndarray, "n 2"] | None = None
    """(x, y) in the photo's pixels."""
    labels: Int[np.ndarray, " n"] | None = None
    """For each point: 1 on the thing, 0 beside it."""
    mask: Bool[np.ndarray, "H W"] | None = None
    """Roughly the thing, at the photo's size."""
    mask_file: Path | None = None
    """Where the mask is, before it is read."""


def mask_box(mask: Bool[np.ndarray, "H W"]) -> Box:
    """Return the smallest box around a mask that is not empty, both corners inside."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def flipped_prompt(prompt: Prompt, size: tuple[int, int], flips: tuple[bool, bool]) -> Prompt:
    """Return the prompt in a photo of this (height, width) after it was mirrored."""
    height, width = size
    if prompt.mask is not None:
        return replace(prompt, mask=flipped(prompt.mask, flips))
    if prompt.box is not None:
        left, top, right, bottom = prompt.box
        if flips[0]:
            left, right = width - 1 - right, width - 1 - left
        if flips[1]:
            top, bottom = height - 1 - bottom, height - 1 - top
        return replace(prompt, box=(left, top, right, bottom))
    points = prompt.points.astype(np.float64)
    if flips[0]:
        points[:, 0] = width - 1 - points[:, 0]
    if flips[1]:
        points[:, 1] = height - 1 - points[:, 1]
    return replace(prompt, points=points)


def jittered(prompt: Prompt, size: tuple[int, int], spread: float, rng: np.random.Generator) -> Prompt:
    """Return a prompt whose points have moved a little, and stay inside the photo; others as they are.

    The authors draw new points from the true mask in each step. There is none here.

    Args:
        prompt: any.
        size: (height, width) of the photo.
        spread: the most that a coordinate moves, as a share of the longer side.
        rng: of this step and photo.
    """
    if prompt.points is None or spread == 0:
        return prompt
    reach = spread * max(size)
    moved = prompt.points + rng.uniform(-reach, reach, prompt.points.shape)
    return replace(prompt, points=moved.clip(0, np.array([size[1] - 1, size[0] - 1])))


def decoder_prompts(
    prompts: Sequence[Prompt], frame: Frame, side: int, coarse: Literal["mask", "box"], device: torch.device
) -> list[dict[str, Tensor]]:
    """Return prompts as the model's keyword arguments: all in one call where they have one shape.

    Args:
        prompts: of one photo, at least one.
        frame: where the photo lies in the square.
        side: of the masks that the prompt encoder takes.
        coarse: what a coarse mask says: itself and its box, or its box alone.
        device: where the model is.
    """
    singles = [_arguments(prompt, frame, side, coarse) for prompt in prompts]
    shapes = {tuple((name, value.shape) for name, value in single.items()) for single in singles}
    # A mask is added to the photo's features, which all prompts of a call share.
    if len(shapes) == 1 and "input_masks" not in singles[0]:
        singles = [{name: torch.cat([one[name] for one in singles], dim=1) for name in singles[0]}]
    return [{name: value.to(device) for name, value in single.items()} for single in singles]


def _arguments(prompt: Prompt, frame: Frame, side: int, coarse: Literal["mask", "box"]) -> dict[str, Tensor]:
    """Return one prompt as keyword arguments, for one photo and one thing."""
    if prompt.points is not None:
        return {
            "input_points": to_square(prompt.points, frame)[None, None],
            "input_labels": torch.from_numpy(np.asarray(prompt.labels, dtype=np.int64))[None, None],
        }
    box = prompt.box if prompt.mask is None else mask_box(prompt.mask)
    corners = to_square(np.array(box).reshape(2, 2), frame)
    arguments = {"input_boxes": corners.reshape(1, 1, 4)}
    if prompt.mask is not None and coarse == "mask":
        arguments["input_masks"] = mask_prompt(prompt.mask, frame, side)[None]
    return arguments
