"""The subject in one photo: found and trusted, looked for again, or not there.

A mask that is not trusted enough is looked for in other ways: from more points, from a box around what is
most similar, in a crop of the photo. Of all answers the most trusted one counts, and if that is still not
enough, the photo is left out: a mask of something else would teach something else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.cells import pixel_of, similarity_map
from persam_dreambooth.masks.confidence import IDENTITY, Confidence, confidence, reduced
from persam_dreambooth.masks.passes import FoundMask, likeliest_usable, not_found, refine, tight_box
from persam_dreambooth.masks.subject import Subject, look_for
from persam_dreambooth.sam.regions import connected_regions
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# Below this likelihood, what was found is rather something else than a poor mask of the subject.
_SAME_SUBJECT = 0.5

_NUM_POINTS = 3
# A crop shows so many times the most similar region's width and height ...
_CROP_MARGIN = 2.0
# ... and is worth a look only where it is clearly less than the photo.
_CROP_MAX_FRACTION = 0.7


@dataclass(frozen=True, eq=False)
class Attempt:
    """One answer to the question where the subject is."""

    found: FoundMask
    """Coordinates and mask are the photo's; the passes are those of the window."""
    confidence: Confidence
    how: str
    """Empty for the method itself, else which other way led to it."""
    window: tuple[int, int, int, int]
    """XYXY of the part of the photo that SAM saw, the second corner outside."""
    embedding: Embedding
    """Of the window."""

    def logits(self, segmenter: Segmenter) -> Float[Tensor, "H W"]:
        """Return the mask's logits at the photo's size; minus infinity where SAM did not look."""
        left, top, right, bottom = self.window
        last = self.found.passes[-1]
        seen = segmenter.mask_logits(last.low_res_logits[last.chosen][None], self.embedding)[0]
        everywhere = torch.full(self.found.mask.shape, -torch.inf, dtype=seen.dtype, device=seen.device)
        everywhere[top:bottom, left:right] = seen
        return everywhere


@dataclass(frozen=True, eq=False)
class Finding:
    """What is known of the subject in one photo."""

    best: Attempt | None
    """The most trusted answer; None where there is none at all."""
    first: FoundMask | None
    """What the method itself found, whether trusted or not."""
    reason: str | None
    """Why the photo is left out; None where it is not."""


def search(
    segmenter: Segmenter,
    pixels: UInt8[np.ndarray, "H W 3"],
    embedding: Embedding,
    subject: Subject,
    *,
    photo_name: str,
    min_confidence: float,
) -> Finding:
    """Return where the subject is in a photo, how sure that is, or why the photo is left out.

    Args:
        segmenter: the model.
        pixels: the photo.
        embedding: the encoded photo.
        subject: what is looked for.
        photo_name: the photo's file, for error texts.
        min_confidence: what is less sure is looked for again, and then left out.
    """
    attempts: list[Attempt] = []
    for way in _ways(segmenter, pixels, embedding, subject):
        try:
            attempts.append(way(photo_name))
        except UserError:
            # SAM has no mask that is neither empty nor full: an answer too, but one without a mask.
            continue
        if attempts[-1].confidence.value >= min_confidence:
            break
    best = max(attempts, key=lambda attempt: attempt.confidence.value, default=None)
    first = next((attempt.found for attempt in attempts if not attempt.how), None)
    return Finding(best, first, why_left_out(best, min_confidence))


def why_left_out(best: Attempt | None, min_confidence: float) -> str | None:
    """Return why a photo is left out, or None where it is not."""
    if best is None:
        return "subject not found: every mask is empty or covers the whole photo"
    value, parts = best.confidence.value, best.confidence.parts
    if value >= min_confidence:
        return None
    told = f"confidence {value:.2f} is below {min_confidence:g}"
    if IDENTITY(parts) < _SAME_SUBJECT:
        return f"subject not in this photo, as it seems: the likeliest mask is of something else ({told})"
    return f"unsure where the subject ends ({told})"


Way = Callable[[str], Attempt]


def _ways(
    segmenter: Segmenter, pixels: UInt8[np.ndarray, "H W 3"], embedding: Embedding, subject: Subject
) -> Iterator[Way]:
    """Yield the ways to look for the subject, the method's own first; each returns its attempt."""
    height, width = embedding.size
    whole = (0, 0, width, height)

    def judged(found: FoundMask, how: str) -> Attempt:
        trust = confidence(segmenter, pixels, embedding, found, subject)
        return Attempt(found, trust, how, whole, embedding)

    yield lambda name: judged(look_for(segmenter, embedding, subject, name), "")
    # The authors' programs have one way.
    if subject.compat:
        return
    similarity = similarity_map(segmenter, reduced(embedding), subject.target.direction)
    box = similar_box(similarity, embedding.size)
    points = similar_points(similarity, embedding)
    yield lambda name: judged(prompted(segmenter, embedding, points, None, name), "more points")
    yield lambda name: judged(prompted(segmenter, embedding, points[:1], box, name), "box")
    window = crop_around(box, embedding.size)
    if (window[2] - window[0]) * (window[3] - window[1]) <= _CROP_MAX_FRACTION * height * width:
        yield lambda name: _in_crop(segmenter, pixels, window, subject, name)


def prompted(
    segmenter: Segmenter,
    embedding: Embedding,
    points: Float[Tensor, "n 2"],
    box: Float[Tensor, " 4"] | None,
    photo_name: str,
) -> FoundMask:
    """Return the mask that SAM finds for points on the subject and a box around it, after two refinements.

    Raises:
        UserError: no mask can be used.
    """
    labels = torch.ones(len(points), dtype=torch.int64)
    decoded = segmenter.decode(embedding, point_coords=points, point_labels=labels, box=box)
    best = likeliest_usable(segmenter, embedding, decoded)
    if best is None:
        raise not_found(photo_name)
    return refine(
        segmenter,
        embedding,
        points,
        labels,
        box=box,
        mask_input=decoded.low_res_logits[best : best + 1],
        photo_name=photo_name,
    )


def similar_points(similarity: Float[Tensor, "h w"], embedding: Embedding) -> Float[Tensor, "n 2"]:
    """Return (x, y) in the photo of the most similar place and up to two more that are nearly as similar.

    Nearly: in the upper tenth of the range. Two points are at least an eighth of the longer side apart.

    Args:
        similarity: over the whole photo, at any size.
        embedding: the encoded photo.
    """
    left = similarity.clone()
    lowest = similarity.min() + 0.9 * (similarity.max() - similarity.min())
    apart = max(1, max(similarity.shape) // 8)
    scale = torch.tensor(embedding.size[::-1]) / torch.tensor(similarity.shape[::-1])
    points = []
    while len(points) < _NUM_POINTS and (not points or left.max() >= lowest):
        point = pixel_of(left.argmax(), left)
        points.append((point + 0.5) * scale - 0.5)
        x, y = (int(value) for value in point)
        left[max(0, y - apart) : y + apart + 1, max(0, x - apart) : x + apart + 1] = -torch.inf
    return torch.stack(points)


def similar_box(similarity: Float[Tensor, "h w"], size: tuple[int, int]) -> Float[Tensor, " 4"]:
    """Return XYXY in the photo's pixels of the region around the most similar place.

    The region ends where the similarity has fallen half-way to its mean over the photo.

    Args:
        similarity: over the whole photo, at any size.
        size: (height, width) of the photo.
    """
    similar = (similarity >= (similarity.max() + similarity.mean()) / 2).cpu()
    regions, _ = connected_regions(similar.numpy())
    peak = int(similarity.argmax())
    region = torch.from_numpy(regions == regions.flat[peak])
    scale = torch.tensor([size[1] / similarity.shape[1], size[0] / similarity.shape[0]]).repeat(2)
    # From the first pixel's outer edge to the last one's, as pixels of the photo.
    return (tight_box(region) + torch.tensor([0, 0, 1, 1])) * scale - torch.tensor([0, 0, 1, 1])


def crop_around(box: Float[Tensor, " 4"], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return XYXY of the part of a photo around a box, twice as wide and high, inside the photo."""
    left, top, right, bottom = box.tolist()
    half = torch.tensor([right - left + 1, bottom - top + 1]) * _CROP_MARGIN / 2
    x, y = (left + right + 1) / 2, (top + bottom + 1) / 2
    height, width = size
    return (
        max(0, int(x - half[0])),
        max(0, int(y - half[1])),
        min(width, int(x + half[0]) + 1),
        min(height, int(y + half[1]) + 1),
    )


def _in_crop(
    segmenter: Segmenter,
    pixels: UInt8[np.ndarray, "H W 3"],
    window: tuple[int, int, int, int],
    subject: Subject,
    photo_name: str,
) -> Attempt:
    """Return what the method finds in a part of the photo, where the subject is larger.

    Raises:
        UserError: nothing.
    """
    left, top, right, bottom = window
    crop = np.ascontiguousarray(pixels[top:bottom, left:right])
    embedding = segmenter.encode(crop)
    found = look_for(segmenter, embedding, subject, photo_name)
    trust = confidence(segmenter, crop, embedding, found, subject)
    mask = torch.zeros(pixels.shape[:2], dtype=torch.bool)
    mask[top:bottom, left:right] = found.mask.cpu()
    offset = torch.tensor([left, top], dtype=torch.float32)
    moved = replace(
        found,
        mask=mask,
        point_coords=found.point_coords.cpu() + offset,
        box=found.box.cpu() + offset.repeat(2),
    )
    return Attempt(moved, trust, "crop", window, embedding)
