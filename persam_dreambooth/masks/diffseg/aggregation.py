"""Attention maps of all resolutions as one distribution over the picture for each place of the finest one.

    U_s[q] = bilinear(P_s[q], R x R) / its sum             the map of a place of resolution s, R wide
    A[I,J] = sum_s r_s U_s[floor(I s/R), floor(J s/R)]     places are not interpolated, they share a map

Source: Tian et al. 2023, DiffSeg, section 3.2; google/diffseg, segmentor.py, aggregate_weights and
get_weight_rato.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from persam_dreambooth.errors import UserError


def aggregate(
    maps: Mapping[int, Float[Tensor, "_n _n"]], weights: Sequence[float] | None = None
) -> Float[Tensor, "p p"]:
    """Return for each of the p = R^2 places of the finest resolution where it looks; rows sum to 1.

    Args:
        maps: by side, how each place looks at each of the same resolution; rows sum to 1.
        weights: of each resolution, from the finest on; None weighs them by their side, as the paper does.

    Raises:
        UserError: another number of weights than of resolutions.
    """
    sides = sorted(maps, reverse=True)
    finest = sides[0]
    total = torch.zeros(finest, finest, finest, finest, device=maps[finest].device)
    for side, weight in zip(sides, shares(sides, weights), strict=True):
        if weight == 0:
            continue
        rows = maps[side].view(side, side, side * side)
        # The place of this resolution that holds each place of the finest; R need be no multiple of s.
        owner = torch.arange(finest, device=total.device) * side // finest
        # Row by row: at 128 x 128 places all maps of a resolution are a gigabyte.
        for row in range(finest):
            enlarged = enlarged_maps(rows[row * side // finest], side, finest).mul_(weight)
            total[row] += enlarged.index_select(0, owner)
    return total.view(finest * finest, finest * finest)


def shares(sides: Sequence[int], weights: Sequence[float] | None) -> list[float]:
    """Return the weight of each resolution; they sum to 1.

    Args:
        sides: from the finest on.
        weights: what was asked for, None for the paper's.

    Raises:
        UserError: another number of weights than of resolutions.
    """
    given = list(sides if weights is None else weights)
    if len(given) != len(sides):
        raise UserError(
            f"--diffseg_weights {' '.join(f'{weight:g}' for weight in given)}: {len(given)} weights for "
            f"{len(sides)} resolutions of attention ({', '.join(map(str, sides))}); one for each is needed, "
            "the finest first. Drop the flag for weights by side."
        )
    return [weight / sum(given) for weight in given]


def enlarged_maps(maps: Float[Tensor, "n p"], side: int, finest: int) -> Float[Tensor, "n f f"]:
    """Return maps over p = side x side places on the finest grid, each a distribution again."""
    grid = maps.view(-1, 1, side, side)
    if side != finest:
        grid = interpolate(grid, (finest, finest), mode="bilinear", align_corners=False)
    return (grid / grid.sum(dim=(2, 3), keepdim=True))[:, 0]
