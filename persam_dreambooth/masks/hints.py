"""Masks from less than a mask: a box around the subject, points on it, or strokes drawn over it.

Each is a prompt to SAM on the photo that the hint is about; the mask that comes back is the reference for the
other photos.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.strokes import read_strokes, spread_pixels
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# SAM was trained with a few clicks at a time; more tell it nothing new.
SUBJECT_CLICKS = 5
BACKGROUND_CLICKS = 3

# Pixels of the strokes that judge SAM's masks, spread evenly over all of them.
_MOST_WITNESSES = 4096


def mask_from_box(
    segmenter: Segmenter, embedding: Embedding, box: Sequence[float | int] | Float[Tensor, " 4"], flag: str
) -> Bool[np.ndarray, "H W"]:
    """Return the mask of what a box encloses: SAM's single mask for it.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        box: left, top, right, bottom in the photo's pixels.
        flag: where the box comes from, for error texts.

    Raises:
        UserError: the box is inverted or reaches out of the photo, or SAM sees nothing in it.

    Source: the box references of PerSAM's table 6; its flags are unpublished, multimask_output is off here.
    """
    corners = torch.as_tensor(box, dtype=torch.float32)
    text = f"{flag} {_numbers(corners)}"
    height, width = embedding.size
    x0, y0, x1, y1 = corners.tolist()
    if x1 <= x0 or y1 <= y0:
        wrong = f"x1 {x1:g} is not above x0 {x0:g}" if x1 <= x0 else f"y1 {y1:g} is not above y0 {y0:g}"
        raise UserError(
            f"{text}: {wrong}; left, top, right, bottom are needed. Give the numbers in this order."
        )
    # Corners on the far edges are meant as the last pixels; the comparison is turned so that NaN is refused.
    if not (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):
        raise UserError(
            f"{text}: reaches out of the photo, which is {width} x {height}; pixels of the photo are needed. "
            "Measure the box in the photo at its full size."
        )
    decoded = segmenter.decode(embedding, box=corners, multimask_output=False)
    mask = (segmenter.mask_logits(decoded.low_res_logits, embedding)[0] > 0).cpu().numpy()
    if not mask.any() or mask.all():
        raise UserError(
            f"{text}: SAM finds {'the whole photo' if mask.any() else 'nothing'} in this box; one thing must "
            "fill most of it. Draw the box close around the subject, or give --reference_mask."
        )
    return mask


def mask_from_points(
    segmenter: Segmenter,
    embedding: Embedding,
    point_coords: Sequence[float | int] | Float[Tensor, "n 2"],
    point_labels: Sequence[int] | Int[Tensor, " n"] | None,
    flag: str,
) -> Bool[np.ndarray, "H W"]:
    """Return the mask of what lies under some points.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        point_coords: x and y of each point in the photo's pixels, as pairs or as x y x y ...
        point_labels: 1 for a point on the subject, 0 for one beside it; None if all are on it.
        flag: where the points come from, for error texts.

    Raises:
        UserError: a point lies outside the photo, labels do not fit the points, none is on the subject, or
            SAM sees nothing there.
    """
    numbers = torch.as_tensor(point_coords, dtype=torch.float32)
    text = f"{flag} {_numbers(numbers)}"
    if numbers.numel() == 0 or numbers.numel() % 2:
        raise UserError(f"{text}: {numbers.numel()} numbers; x and y of each point are needed. Give pairs.")
    coords = numbers.reshape(-1, 2)
    labels = torch.as_tensor([1] * len(coords) if point_labels is None else point_labels)
    _check_labels(labels, len(coords))
    height, width = embedding.size
    for x, y in coords.tolist():
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"{text}: the point {x:g} {y:g} lies outside the photo, which is {width} x {height}; points "
                "on the photo are needed. Measure them in the photo at its full size."
            )
    mask = _clicked(segmenter, embedding, (coords, labels), (coords, labels))
    if mask is None:
        raise UserError(
            f"{text}: SAM finds no thing under these points; at least one must lie on the subject. "
            "Click on its middle, or give --reference_box."
        )
    return mask


def mask_from_scribble(
    segmenter: Segmenter,
    embedding: Embedding,
    scribble_path: Path,
    pixels: UInt8[np.ndarray, "H W 3"],
    flag: str,
) -> Bool[np.ndarray, "H W"]:
    """Return the mask of what strokes were drawn on.

    A few pixels of the strokes, far apart, are the clicks; all of them judge which of SAM's masks is meant.
    The strokes' extent is not used as a box: strokes lie inside the subject, seldom along its outline.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        scribble_path: picture with the strokes; see `strokes.read_strokes` for its kinds.
        pixels: the photo, RGB, for strokes that were drawn on a copy of it.
        flag: where the picture comes from, for error texts.

    Raises:
        UserError: as `read_strokes`; also if SAM sees nothing under the strokes.
    """
    strokes = read_strokes(Path(scribble_path), pixels, flag)
    clicks = [spread_pixels(strokes.subject, SUBJECT_CLICKS)]
    if strokes.background.any():
        clicks.append(spread_pixels(strokes.background, BACKGROUND_CLICKS))
    witnesses = [_every_pixel(strokes.subject), _every_pixel(strokes.background)]
    mask = _clicked(segmenter, embedding, _labelled(clicks), _labelled(witnesses))
    if mask is None:
        raise UserError(
            f"{flag} {scribble_path}: SAM finds no thing under the strokes; they must lie on the subject. "
            "Draw along its middle, or give --reference_box."
        )
    return mask


def most_agreeing(
    masks: Bool[np.ndarray, "k H W"],
    iou_predictions: Sequence[float],
    witnesses: tuple[Float[Tensor, "m 2"], Int[Tensor, " m"]],
) -> int | None:
    """Return which mask holds most witnesses on the subject and fewest beside it; ties go to the likeliest.

    Masks that are full, or hold no witness on the subject (as empty ones do), are out; None if all are.
    """
    x, y = witnesses[0].long().numpy().T
    labels = witnesses[1].numpy()
    usable = []
    for number, mask in enumerate(masks):
        inside = mask[y, x]
        if inside[labels == 1].any() and not mask.all():
            usable.append((int((inside == labels).sum()), iou_predictions[number], -number))
    return -max(usable)[2] if usable else None


def _clicked(
    segmenter: Segmenter,
    embedding: Embedding,
    clicks: tuple[Float[Tensor, "n 2"], Int[Tensor, " n"]],
    witnesses: tuple[Float[Tensor, "m 2"], Int[Tensor, " m"]],
) -> Bool[np.ndarray, "H W"] | None:
    """Return the mask of two decoder passes, the second fed with the logits of the first; None for nothing.

    Each pass keeps, of SAM's three masks, the one that agrees with most witnesses and of those the likeliest.
    A click may mean a part or the whole, so that the single mask, trained on unambiguous prompts, is worse.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded photo.
        clicks: points (x, y) in pixels and their labels, for SAM.
        witnesses: points and labels that masks are judged by.
    """
    mask, logits = None, None
    for _ in range(2):
        decoded = segmenter.decode(
            embedding, point_coords=clicks[0], point_labels=clicks[1], mask_input=logits
        )
        masks = (segmenter.mask_logits(decoded.low_res_logits, embedding) > 0).cpu().numpy()
        best = most_agreeing(masks, decoded.iou_predictions.tolist(), witnesses)
        if best is None:
            break
        mask, logits = masks[best], decoded.low_res_logits[best : best + 1]
    return mask


def _check_labels(labels: Int[Tensor, " m"], num_points: int) -> None:
    """Raise UserError where labels do not fit their points."""
    text = f"--reference_labels {_numbers(labels)}"
    if len(labels) != num_points:
        raise UserError(
            f"{text}: {len(labels)} labels for {num_points} points; one for each is needed. "
            "Give 1 for a point on the subject, 0 for one beside it."
        )
    if not torch.isin(labels, torch.tensor([0, 1])).all():
        raise UserError(
            f"{text}: 1 and 0 are needed. Give 1 for a point on the subject, 0 for one beside it."
        )
    if not (labels == 1).any():
        raise UserError(f"{text}: no point is on the subject; at least one is needed. Add one with label 1.")


def _labelled(places: list[Int[np.ndarray, "_ 2"]]) -> tuple[Float[Tensor, "m 2"], Int[Tensor, " m"]]:
    """Return places on the subject and, second in the list, beside it as one set of labelled points."""
    labels = [1 - number for number, part in enumerate(places) for _ in part]
    return torch.from_numpy(np.concatenate(places)).float(), torch.tensor(labels)


def _every_pixel(mask: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "n 2"]:
    """Return (x, y) of a mask's pixels, or of every n-th where there are very many."""
    y, x = np.nonzero(mask)
    step = max(1, -(-len(x) // _MOST_WITNESSES))
    return np.stack([x, y], axis=1)[::step]


def _numbers(values: Tensor) -> str:
    """Return numbers as they were typed."""
    return " ".join(f"{value:g}" for value in values.flatten().tolist())
