"""Objects that are marked on a clip's first frame, found in all others; each frame is encoded once.

Every object is looked for by itself; then the masks of all compete for every pixel, against a score of 0 for
none of them.

Different from the authors' programs, which `compat` restores: objects keep their numbers when one vanishes
(theirs: all later ones take over the places and features of others), areas are counted exactly (modulo 256),
an object that does not look like itself is not there (no such answer), and the margin of a box grows with
large frames (always 10 px). Where theirs stop with an error, an empty mask, an object counts as not seen.

Source: Personalize-SAM, persam_video.py and persam_video_f.py.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.clip import Frame
from persam_dreambooth.masks.failures import Noting
from persam_dreambooth.masks.mask_fit import Solver
from persam_dreambooth.masks.passes import tight_box
from persam_dreambooth.masks.sighting import Sighting, find, fit, nearest_cells
from persam_dreambooth.sam.segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class Tracked:
    """One frame and the objects on it."""

    name: str
    labels: UInt8[np.ndarray, "H W"]
    """The number of the object that each pixel belongs to; 0 where none."""
    sightings: dict[int, Sighting]
    """How the objects were found that are there, by number."""


def track(
    segmenter: Segmenter,
    references: Mapping[int, Reference],
    frames: Iterable[Frame],
    *,
    method: str,
    solver: Solver = "adamw",
    compat: bool = False,
) -> Iterator[Tracked]:
    """Yield frames with the objects on them, one by one.

    Args:
        segmenter: the SAM.
        references: by number (1 to 255), each object on the first frame, which is encoded once for all.
        frames: those after the first, of its size.
        method: `persam_f` or `persam`.
        solver: of PerSAM-F's weights.
        compat: compute as the authors' programs do.

    Raises:
        UserError: an object is smaller than a cell of the feature grid.
    """
    first = next(iter(references.values())).embedding
    targets = {
        number: fit(segmenter, each, method, solver=solver, compat=compat)
        for number, each in references.items()
    }
    boxes = {number: tight_box(torch.from_numpy(each.mask)) for number, each in references.items()}
    for frame in frames:
        with Noting(f"This happened at frame {frame.name}."):
            embedding = segmenter.encode(frame.pixels)
            nearest = nearest_cells(embedding, first)
            found = {
                number: find(segmenter, embedding, targets[number], box, nearest, compat=compat)
                for number, box in boxes.items()
            }
        sightings = {number: sighting for number, sighting in found.items() if sighting is not None}
        labels = label_map({number: each.logits for number, each in sightings.items()}, embedding.size)
        yield Tracked(frame.name, labels, sightings)
        boxes = next_boxes(labels, boxes, list(targets), compat=compat)


def given_labels(references: Mapping[int, Reference]) -> UInt8[np.ndarray, "H W"]:
    """Return the label map of the first frame; a pixel of several objects belongs to the last."""
    labels = np.zeros(next(iter(references.values())).mask.shape, dtype=np.uint8)
    for number, each in references.items():
        labels[each.mask] = number
    return labels


def label_map(logits: Mapping[int, Float[Tensor, "H W"]], size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """Return for each pixel the object with the highest logit, 0 where none is above 0.

    Args:
        logits: by number, at the frame's size; of equal ones the earlier wins.
        size: (height, width) of the frame.
    """
    numbers = np.array([0, *logits], dtype=np.uint8)
    planes = np.stack([np.zeros(size, np.float32), *(plane.cpu().numpy() for plane in logits.values())])
    return numbers[planes.argmax(axis=0)]


def next_boxes(
    labels: UInt8[np.ndarray, "H W"],
    boxes: Mapping[int, Float[Tensor, " 4"]],
    numbers: list[int],
    *,
    compat: bool = False,
) -> dict[int, Float[Tensor, " 4"]]:
    """Return where to look for the objects on the next frame: where they are, or were last seen.

    Args:
        labels: of this frame.
        boxes: where they were looked for on this frame, XYXY in pixels.
        numbers: of all objects.
        compat: forget, as the authors do, which object a mask belongs to: the objects that are there are
            numbered anew from the first, and as many as have vanished are given up from the end.
    """
    seen = {
        number: tight_box(torch.from_numpy(labels == number))
        for number in numbers
        if (labels == number).any()
    }
    return dict(zip(numbers, seen.values(), strict=False)) if compat else {**boxes, **seen}
