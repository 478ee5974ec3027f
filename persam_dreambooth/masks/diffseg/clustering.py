"""k-means on the maps of all places, started at the proposals: the reference's optional refinement.

Source: google/diffseg, segmentor.py, generate_masks (scikit-learn's KMeans with init and n_init=1; Lloyd's
algorithm, Euclidean).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_ROUNDS = 300
"""As scikit-learn's."""


def k_means(maps: Float[Tensor, "p p"], centres: Float[Tensor, "k p"]) -> Float[Tensor, "k p"]:
    """Return the mean map of each cluster; one that no place is nearest to keeps its centre.

    Args:
        maps: of all places.
        centres: where to start.
    """
    owners = nearest(maps, centres)
    for _ in range(MAX_ROUNDS):
        centres = _means(maps, owners, centres)
        found = nearest(maps, centres)
        if torch.equal(found, owners):
            break
        owners = found
    return centres


def nearest(maps: Float[Tensor, "p p"], centres: Float[Tensor, "k p"]) -> Int[Tensor, " p"]:
    """Return the number of the centre nearest to each map; of equals the first."""
    # |a - c|^2 without |a|^2, which is the same for all centres.
    return (centres.square().sum(dim=1) - 2 * maps @ centres.T).argmin(dim=1)


def _means(
    maps: Float[Tensor, "p p"], owners: Int[Tensor, " p"], centres: Float[Tensor, "k p"]
) -> Float[Tensor, "k p"]:
    """Return the mean of each cluster, or its centre where it is empty."""
    member = (owners == torch.arange(len(centres), device=owners.device)[:, None]).to(maps.dtype)
    count = member.sum(dim=1, keepdim=True)
    return torch.where(count > 0, member @ maps / count.clamp_min(1), centres)
