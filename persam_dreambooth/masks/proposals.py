"""The subject where nobody marks it: the thing that is found again in every other photo of the album.

What SAM (or DiffSeg) sees in each photo is looked for in the others: two things match by the cosine of their
features and by their colours. Furniture matches too, in the photos of its room; the score therefore looks at
the photos where a thing is found worst, and weighs in how it stands out, where it is and how large.

On the toy world contrast says most, then how well it is found again; whether matches match back says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.candidates import Candidate, ThingSource, candidates_of
from persam_dreambooth.photos import Photo
from persam_dreambooth.sam.regions import without_small_regions
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

# So many things of each photo are compared with those of the others.
MAX_CANDIDATES = 24

# Photos, spread evenly over a larger album, that are looked at: the subject is in all of them anyway.
MAX_PHOTOS = 12

MAX_PROPOSALS = 8
"""Shown to a person."""

SAME_THING_IOU = 0.5
"""Masks that overlap by more show one thing."""

INSIDE_FRACTION = 0.8
"""A thing that lies so much inside another, or holds so much of it, is its part or its whole: no rival."""

LEAST_COSINE, LEAST_COLOUR_OVERLAP = 0.3, 0.55
"""For a thing to count as found. On the toy world more than 95 % of pairs of photos of one subject are above,
and two fifths of those of two subjects: an album is refused only if nothing in it looks alike."""

LEAST_MARGIN = 0.03
"""Share of the winner's score by which it must be ahead of every other thing."""

ONE_PHOTO_SCORE = 0.3
"""Factor on scores where there is no other photo to find anything in."""

# Loose pieces and holes below this share of the photo are not the subject's.
_SPECK_FRACTION = 1e-3

_MARK_IT = "Mark the subject in one photo, for example with --reference_box."


@dataclass(frozen=True, eq=False)
class Proposal:
    """A thing that could be the subject, in the photo where that is clearest."""

    photo_index: int
    """Which photo of the album, from 0."""
    mask: Bool[np.ndarray, "H W"]
    """True on the thing, at the photo's size."""
    score: float
    """How likely it is the subject, for comparison within an album; 0 to 1."""
    parts: dict[str, float]
    """What the score is the geometric mean of, each 0 to 1: consistency (how well it is found elsewhere;
    missing where there is no other photo), contrast, centre, size, quality; noun (from DiffSeg)."""
    reason: str
    """In words."""
    margin: float
    """By which share of its score it is ahead of every other thing, at most 1; 0 for all but the best."""
    num_found: int
    """In how many other photos it was found."""


@dataclass(frozen=True, eq=False)
class Scored:
    """A thing in one photo, and where it is in the others."""

    candidate: Candidate
    matches: dict[int, Candidate]
    """The most similar thing in each other photo in which SAM sees any."""
    parts: dict[str, float]
    score: float
    num_found: int
    """In how many other photos the match is near enough."""


def propose(
    segmenter: Segmenter,
    photos: list[Photo],
    embeddings: list[Embedding],
    *,
    max_candidates: int = MAX_CANDIDATES,
    source: ThingSource | None = None,
) -> list[Proposal]:
    """Return the things that could be the subject of an album, best first, each once.

    With one photo nothing can be found again; then what stands out in it is proposed, with low scores.

    Args:
        segmenter: the model that made the embeddings.
        photos: the album.
        embeddings: of the photos, in their order.
        max_candidates: things of each photo that are compared.
        source: what else sees things.

    Raises:
        UserError: SAM sees nothing in any photo, or nothing is found in more than one.
    """
    looked_at = _spread(len(photos), MAX_PHOTOS)
    candidates = candidates_of(
        segmenter,
        [photos[index] for index in looked_at],
        [embeddings[index] for index in looked_at],
        max_candidates=max_candidates,
        source=source,
    )
    scored = ranked(candidates, len(looked_at))
    things, margin = things_of(scored)
    return [
        _proposal(segmenter, one, looked_at, embeddings, margin if one is things[0] else 0.0)
        for one in things[:MAX_PROPOSALS]
    ]


def ranked(candidates: list[Candidate], num_photos: int) -> list[Scored]:
    """Return every candidate with its score, the best first; ties in the order of photos.

    Args:
        candidates: of all photos.
        num_photos: how many photos were looked at.

    Raises:
        UserError: there are none, or none is found in a second photo although there is one.
    """
    if not candidates:
        raise UserError(
            f"--reference_mask: missing, and SAM sees no thing in any of {num_photos} photos; the subject "
            f"must be known in one. {_MARK_IT}"
        )
    cosines, overlaps = (
        (vectors @ vectors.T).clamp(0, 1)
        for vectors in (
            torch.stack([candidate.feature for candidate in candidates]),
            torch.stack([candidate.colours for candidate in candidates]),
        )
    )
    owners = torch.tensor([candidate.photo_index for candidate in candidates])
    scored = [_score(candidates, row, cosines[row], overlaps[row], owners) for row in range(len(candidates))]
    if num_photos > 1 and not any(one.num_found for one in scored):
        raise UserError(
            f"--reference_mask: missing, and no thing is found in more than one of {num_photos} photos; a "
            f"subject is in all of them. {_MARK_IT}"
        )
    return sorted(scored, key=lambda one: -one.score)


def things_of(scored: list[Scored]) -> tuple[list[Scored], float]:
    """Return each thing once, in the photo where its score is best, and how far ahead the first one is.

    That is the share of its score that it has more than the next which is not itself, its part or its whole;
    1 if there is no other.

    Args:
        scored: from `ranked`.
    """
    things: list[Scored] = []
    for one in scored:
        if not any(_overlap(one, known)[0] > SAME_THING_IOU for known in things):
            things.append(one)
    best = things[0]
    for rival in things[1:]:
        if _overlap(rival, best)[1] < INSIDE_FRACTION:
            return things, 1 - rival.score / best.score if best.score > 0 else 0.0
    return things, 1.0


def chosen(proposals: Sequence[Proposal], choice: int | None) -> Proposal:
    """Return the proposal that becomes the reference.

    Args:
        proposals: from `propose`; at least one.
        choice: the one that a person picked, 1 is the best; None to take the best if it is clear.

    Raises:
        UserError: there are fewer proposals; or nobody picked and the best is no better than another, or was
            not found in another photo.
    """
    best = proposals[0]
    if choice is not None:
        if not 1 <= choice <= len(proposals):
            raise UserError(
                f"--reference_choice {choice}: there are {len(proposals)} proposals; a number from 1 to "
                f"{len(proposals)} is needed. Look at their picture."
            )
        return proposals[choice - 1]
    pick = f"Pick one with --reference_choice (1 to {len(proposals)}), or mark it, as with --reference_box."
    if best.num_found == 0:
        raise UserError(
            "--reference_mask: missing, and the likeliest thing is in no other photo; one photo cannot tell "
            f"a subject from its surroundings. {pick}"
        )
    if best.margin < LEAST_MARGIN:
        raise UserError(
            f"--reference_mask: missing, and two things are in the photos equally often (scores "
            f"{best.score:.3f} and {best.score * (1 - best.margin):.3f}); one must be clearer. {pick}"
        )
    return best


def _spread(number: int, most: int) -> list[int]:
    """Return at most so many of 0 ... number - 1, evenly spread, the first and the last among them."""
    if number <= most:
        return list(range(number))
    return [round(k * (number - 1) / (most - 1)) for k in range(most)]


def _score(
    candidates: list[Candidate],
    row: int,
    cosines: Float[Tensor, " n"],
    overlaps: Float[Tensor, " n"],
    owners: Int[Tensor, " n"],
) -> Scored:
    """Return one candidate with its score.

    Consistency is the similarity of its match (the geometric mean of cosine and colour overlap), averaged
    over the worse half of the other photos: what belongs to one place is missing where that place is not.
    Photos in which SAM sees no thing at all say nothing.
    """
    own = candidates[row]
    similarity = (cosines * overlaps).sqrt()
    matches, values, num_found = {}, [], 0
    for photo in sorted(set(owners.tolist()) - {own.photo_index}):
        there = torch.nonzero(owners == photo).flatten()
        best = int(there[similarity[there].argmax()])
        matches[photo] = candidates[best]
        values.append(float(similarity[best]))
        num_found += bool(cosines[best] >= LEAST_COSINE and overlaps[best] >= LEAST_COLOUR_OVERLAP)
    if not values:
        return Scored(own, matches, own.prior, ONE_PHOTO_SCORE * _geometric_mean(own.prior), num_found)
    worse = sorted(values)[: max(1, len(values) // 2)]
    parts = {"consistency": sum(worse) / len(worse), **own.prior}
    return Scored(own, matches, parts, _geometric_mean(parts), num_found)


def _geometric_mean(parts: dict[str, float]) -> float:
    """Return the geometric mean: nothing that is 0 is made up for by the rest."""
    return float(np.prod(list(parts.values())) ** (1 / len(parts)))


def _overlap(one: Scored, other: Scored) -> tuple[float, float]:
    """Return how two things overlap in the photo of one or of the other, whichever is more.

    The IoU, and the overlap as a share of the smaller of the two.
    """
    pairs = [
        _overlap_there(thing.candidate, other_thing) for thing, other_thing in ((one, other), (other, one))
    ]
    return max(iou for iou, _ in pairs), max(inside for _, inside in pairs)


def _overlap_there(candidate: Candidate, thing: Scored) -> tuple[float, float]:
    """Return IoU and share of the smaller in the candidate's photo; zeros where the thing is not in it."""
    photo = candidate.photo_index
    there = thing.candidate if photo == thing.candidate.photo_index else thing.matches.get(photo)
    if there is None:
        return 0.0, 0.0
    both = float((candidate.mask & there.mask).sum())
    areas = float(candidate.mask.sum()), float(there.mask.sum())
    return both / (sum(areas) - both), both / min(areas)


def _proposal(
    segmenter: Segmenter,
    one: Scored,
    looked_at: list[int],
    embeddings: list[Embedding],
    margin: float,
) -> Proposal:
    """Return a thing as a proposal, its mask at the photo's size."""
    candidate = one.candidate
    index = looked_at[candidate.photo_index]
    embedding = embeddings[index]
    logits = candidate.low_res_logits[None].to(embedding.features.device)
    rough = (segmenter.mask_logits(logits, embedding)[0] > 0).cpu().numpy()
    mask, _ = without_small_regions(rough, round(_SPECK_FRACTION * rough.size))
    others = len(looked_at) - 1
    found = f"found in {one.num_found} of {others} other photos" if others else "there is no other photo"
    weakest = min(one.parts, key=one.parts.get)
    return Proposal(
        photo_index=index,
        mask=mask,
        score=one.score,
        parts=one.parts,
        reason=f"{found}; {mask.mean():.0%} of its photo; weakest in {weakest} ({one.parts[weakest]:.2f})",
        margin=margin,
        num_found=one.num_found,
    )
