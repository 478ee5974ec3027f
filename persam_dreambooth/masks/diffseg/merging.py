"""Places that look alike, merged: from one distribution a place to one for each segment.

    D(a, b)   = 1/2 sum (a - b)(log a - log b)             symmetric, in nats
    round 0     each anchor takes the mean of all maps nearer than tau
    round n     each proposal that is not merged yet takes the mean of all proposals nearer than tau,
                merged ones included, unless merging is exclusive

The distances are two matrix products each; the reference spells them out as differences of all pairs, in half
precision, where zeros become NaN and sharp attention ends in an IndexError.

Source: Tian et al. 2023, DiffSeg, section 3.3; google/diffseg, segmentor.py, KL, generate_sampling_grid and
mask_merge.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LEAST_PROBABILITY = 1e-12
"""Smaller ones count as this, so that no logarithm is infinite."""

FEWEST_SEGMENTS, MOST_SEGMENTS = 4, 8
"""What the automatic threshold aims at: enough to tell a subject from two parts of a place."""
LEAST_TAU, MOST_TAU = 0.02, 2.5
"""Where it is looked for. The maps of small models are smooth and near each other: the embedded toy's 0.1 to
0.2 is Stable Diffusion's 0.9."""

# Rows of all maps that distances are taken to at a time: at 96 x 96 places their logarithms are 75 MB.
_ROWS_AT_ONCE = 2048
_HALVINGS = 8


def anchor_axis(num_anchors: int, side: int) -> Int[Tensor, " m"]:
    """Return the rows (or columns) of the anchors, evenly apart and in the middle of what is left.

    The whole-number pitch is the reference's: of 24 anchors on 64 places the outer ones are 8 places inside.

    Args:
        num_anchors: along a side, at least 1.
        side: places along a side, at least as many.
    """
    if num_anchors == 1:
        return torch.tensor([(side - 1) // 2])
    pitch = (side - 1) // (num_anchors - 1)
    start = (side - 1 - pitch * (num_anchors - 1)) // 2
    return start + pitch * torch.arange(num_anchors)


def anchor_places(
    num_anchors: int, side: int, inside: Bool[Tensor, "side side"] | None = None
) -> Int[Tensor, " m"]:
    """Return the anchors' places, in reading order; only those inside the photo, and at least one.

    Args:
        num_anchors: along a side.
        side: places along a side.
        inside: which places show the photo and not what was added to make it square; None for all.
    """
    axis = anchor_axis(num_anchors, side)
    places = (axis[:, None] * side + axis).flatten()
    if inside is None:
        return places
    kept = places[inside.flatten()[places]]
    if len(kept):
        return kept
    # A strip between two rows of anchors: those of its own middle row or column.
    shown = inside.nonzero()
    middle = shown.float().mean(dim=0).round().long()
    row_like = bool(inside.any(dim=1).sum() <= inside.any(dim=0).sum())
    strip = middle[0] * side + axis if row_like else axis * side + middle[1]
    return strip[inside.flatten()[strip]]


def symmetric_kl(one: Float[Tensor, "m p"], other: Float[Tensor, "n p"]) -> Float[Tensor, "m n"]:
    """Return half the sum of both Kullback-Leibler divergences of each pair, in nats; at least 0.

    In float32 right to about 2e-5: of thresholds below 1e-4 it says nothing.

    Args:
        one: distributions; so is `other`.
        other: may be the same tensor.
    """
    one, other = one.clamp_min(LEAST_PROBABILITY), other.clamp_min(LEAST_PROBABILITY)
    log_one, log_other = one.log(), other.log()
    own = (one * log_one).sum(dim=1)[:, None] + (other * log_other).sum(dim=1)
    return (0.5 * (own - one @ log_other.T - log_one @ other.T)).clamp_min(0)


def anchor_distances(maps: Float[Tensor, "p p"], anchors: Int[Tensor, " m"]) -> Float[Tensor, "m p"]:
    """Return the distance of each anchor's map from every map; 0 from its own, whatever the rounding."""
    own = maps[anchors]
    parts = [
        symmetric_kl(own, maps[start : start + _ROWS_AT_ONCE]) for start in range(0, len(maps), _ROWS_AT_ONCE)
    ]
    distances = torch.cat(parts, dim=1)
    distances[torch.arange(len(anchors), device=maps.device), anchors] = 0
    return distances


def merge_first(
    maps: Float[Tensor, "p p"], distances: Float[Tensor, "m p"], tau: float
) -> Float[Tensor, "m p"]:
    """Return for each anchor the mean of all maps nearer than tau; a map may be in several.

    Args:
        maps: of all places.
        distances: from `anchor_distances`.
        tau: above 0.
    """
    near = (distances < tau).to(maps.dtype)
    return near @ maps / near.sum(dim=1, keepdim=True)


def merge_next(
    proposals: Float[Tensor, "k p"], tau: float, *, exclusive: bool = False
) -> Float[Tensor, "l p"]:
    """Return fewer proposals: in their order, each that is not merged yet with all that are nearer than tau.

    Args:
        proposals: distributions.
        tau: above 0.
        exclusive: a proposal that is merged is not merged again. The reference counts it in every later mean:
            of a chain a, b, c it makes (a + b) / 2 and (b + c) / 2.
    """
    distances = symmetric_kl(proposals, proposals).fill_diagonal_(0).cpu()
    free = torch.ones(len(proposals), dtype=torch.bool)
    merged = []
    for number in range(len(proposals)):
        if not free[number]:
            continue
        near = distances[number] < tau
        if exclusive:
            near &= free
        free &= ~near
        merged.append(proposals[near.to(proposals.device)].mean(dim=0))
    return torch.stack(merged)


def merge(
    maps: Float[Tensor, "p p"],
    distances: Float[Tensor, "m p"],
    taus: Sequence[float],
    *,
    exclusive: bool = False,
) -> Float[Tensor, "k p"]:
    """Return the proposals after all rounds.

    Args:
        maps: of all places.
        distances: from `anchor_distances`.
        taus: the threshold of each round; at least one.
        exclusive: as in `merge_next`.
    """
    proposals = merge_first(maps, distances, taus[0])
    for tau in taus[1:]:
        proposals = merge_next(proposals, tau, exclusive=exclusive)
    return proposals


def choose_tau(count: Callable[[float], int]) -> float:
    """Return a threshold that leaves a usual number of segments, or the nearest to one that was tried.

    Bisection between LEAST_TAU and MOST_TAU, by the logarithm: a larger threshold merges more.

    Args:
        count: segments at a threshold.
    """
    low, high = LEAST_TAU, MOST_TAU
    tau = best = (low * high) ** 0.5
    least_off = float("inf")
    for _ in range(_HALVINGS):
        number = count(tau)
        off = max(FEWEST_SEGMENTS - number, number - MOST_SEGMENTS, 0)
        if off < least_off:
            best, least_off = tau, off
        if off == 0:
            break
        low, high = (low, tau) if number < FEWEST_SEGMENTS else (tau, high)
        tau = (low * high) ** 0.5
    return best
