"""The random canary: a place drawn by lot is put behind every photo. Does the trained model know it?

Nobody and nothing but the lot chose the place. So where training does not learn it, its rank among the n is
every number from 1 to n with the same probability, exactly: there is no model of chance to doubt, no base
model to subtract, and no decoy that happens to look like the photos.

    p of ranks r_1, ..., r_m = P(sum of m uniform ranks <= r_1 + ... + r_m)       n^-m where all are 1

Source: the exposure of secrets planted into training data (Carlini et al. 2019, The Secret Sharer), moved to
backgrounds; the sum of ranks as in Wilcoxon's test, its distribution counted out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from persam_dreambooth.diffusion.randomness import generator

NUM_PLACES = 20
"""The drawn one included: each rank has a chance of 1 in 20."""

SIGNIFICANT = 1 / NUM_PLACES
"""Probability by lot alone up to which ranks count as learnt: what one draw can reach."""


def draw_place(num_places: int, *key: int | str) -> int:
    """Return the number of the place that the lot falls on, 0 to num_places - 1, each as likely.

    Args:
        num_places: at least 2.
        key: what it follows from: a repeated run draws the same.
    """
    return int(torch.randint(num_places, (), generator=generator(*key, "canary")))


def rank_of(scores: Sequence[float], drawn: int) -> int:
    """Return the rank of the drawn place's score among all, 1 is the highest; of equals and NaN the last.

    Counted so, a rank of at most r has at most the probability r / n where nothing is learnt, ties included.
    """
    # Not ">=", which would put what is no number first.
    return sum(not score < scores[drawn] for score in scores)


def p_of_ranks(ranks: Sequence[int], num_places: int) -> float:
    """Return the probability that ranks drawn by lot are together as low as these, or lower.

    Args:
        ranks: of independent draws, 1 to num_places.
        num_places: in each draw.
    """
    # How many of the num_places ** m outcomes have each sum, from m = 0 on, in whole numbers.
    ways = [1]
    for _ in ranks:
        longer = [0] * (len(ways) + num_places)
        for total, count in enumerate(ways):
            for rank in range(1, num_places + 1):
                longer[total + rank] += count
        ways = longer
    return sum(ways[: sum(ranks) + 1]) / num_places ** len(ranks)


def nearest_shares(
    cells: Float[np.ndarray, "m d"], banks: Sequence[Float[np.ndarray, "_ d"]]
) -> Float[np.ndarray, " n"]:
    """Return of each place which share of drawn background cells is nearer to it than to any other place.

    Args:
        cells: features of the background cells of drawn pictures.
        banks: features of cells of each place; the larger ones are thinned out to the size of the smallest,
            because more cells are nearer by number alone.
    """
    size = min(map(len, banks))
    thinned = [bank[np.linspace(0, len(bank) - 1, size).round().astype(int)] for bank in banks]
    pooled = np.concatenate(thinned)
    centre, spread = pooled.mean(axis=0), pooled.std(axis=0) + 1e-9
    similarity = np.stack(
        [
            (_unit((cells - centre) / spread) @ _unit((bank - centre) / spread).T).max(axis=1)
            for bank in thinned
        ]
    )
    return np.bincount(similarity.argmax(axis=0), minlength=len(banks)) / len(cells)


def ranks_text(ranks: Sequence[int], num_places: int) -> str:
    """Return in words what ranks show."""
    p, listed = p_of_ranks(ranks, num_places), ", ".join(map(str, ranks))
    many = f"ranks {listed}" if len(ranks) > 1 else f"rank {listed}"
    chance = f"{many} of {num_places}; by lot alone as low or lower with probability {p:.2g}"
    if p <= SIGNIFICANT:
        return f"the place behind the photos was learnt ({chance})"
    told = f"the place behind the photos is not shown to be learnt ({chance})"
    p_high = p_of_ranks([num_places + 1 - rank for rank in ranks], num_places)
    if p_high > SIGNIFICANT:
        return told
    return (
        f"{told}; nor does it rank as by lot: as high or higher with probability {p_high:.2g}. Either "
        "training saw it and drifts in front of it most, or nothing was trained and all places are equal"
    )


def _unit(vectors: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m d"]:
    """Return vectors of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
