"""Pixels gathered in bins: a hundredth of the points, and nearly the same loss.

Pixels whose three logits nearly agree share a bin, which keeps their number, mean and covariance. The loss
over a bin is expanded to second order around the mean, so that bins may be wide.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from persam_dreambooth.masks.mask_fit_loss import FOCAL_ALPHA, Bins, Pixels

# Keys up to this many are renumbered by a table, more of them by sorting.
_LARGEST_TABLE = 2**23


def in_bins(pixels: Pixels, width: float, *, most: int | None = None) -> Bins:
    """Return the pixels in bins.

    Args:
        pixels: all of them, or a sample.
        width: side of the cubes, in logits.
        most: double the width until there are no more bins than this.
    """
    owner, num_bins = _owners(pixels, width)
    while most is not None and num_bins > most:
        width *= 2
        owner, num_bins = _owners(pixels, width)
    count = _total(owner, None, num_bins)
    # From the corner of its cube on, so that squares are small and their difference is exact enough.
    corners = (pixels.place / width).floor_().mul_(width)
    offsets = pixels.place - corners
    corner = pixels.place.new_empty(3, num_bins)
    corner[:, owner] = corners
    mean = torch.stack([_total(owner, offset, num_bins) for offset in offsets]) / count
    covariance = pixels.place.new_empty(3, 3, num_bins)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        square = _total(owner, offsets[i] * offsets[j], num_bins) / count
        covariance[i, j] = covariance[j, i] = square - mean[i] * mean[j]
    is_subject = torch.zeros(num_bins, dtype=torch.float64)
    is_subject[owner[pixels.num_background :]] = 1
    focal = FOCAL_ALPHA * is_subject + (1 - FOCAL_ALPHA) * (1 - is_subject)
    weights = torch.stack([1 - is_subject, is_subject, focal / pixels.place.shape[1]]) * count
    return Bins(corner + mean, covariance, weights)


def thinned(pixels: Pixels, most: int) -> Pixels:
    """Return every k-th pixel of each kind, at most about this many; k is odd, to take no whole columns."""
    every = -(-pixels.place.shape[1] // most) // 2 * 2 + 1
    if pixels.place.shape[1] <= most:
        return pixels
    split = pixels.num_background
    background, subject = pixels.place[:, :split:every], pixels.place[:, split::every]
    return Pixels(torch.cat([background, subject], dim=1), background.shape[1])


def _owners(pixels: Pixels, width: float) -> tuple[Int[Tensor, " n"], int]:
    """Return the number of each pixel's bin, and the number of bins."""
    owner, num_bins = torch.zeros(pixels.place.shape[1], dtype=torch.long), 2
    owner[pixels.num_background :] = 1
    for values in pixels.place:
        cell = (values / width).floor_()
        cell = cell.sub_(cell.min()).long()
        span = int(cell.max()) + 1
        owner, num_bins = _renumbered(cell.add_(owner, alpha=span), num_bins * span)
    return owner, num_bins


def _renumbered(keys: Int[Tensor, " n"], num_keys: int) -> tuple[Int[Tensor, " n"], int]:
    """Return the keys numbered without gaps, in their order, and how many different ones there are.

    Args:
        keys: from 0 to num_keys − 1.
        num_keys: how many there could be.
    """
    if num_keys > _LARGEST_TABLE:
        found, numbers = keys.unique(return_inverse=True)
        return numbers, len(found)
    is_used = torch.zeros(num_keys, dtype=torch.long)
    is_used[keys] = 1
    table = is_used.cumsum(0) - 1
    return table[keys], int(table[-1]) + 1


def _total(
    owner: Int[Tensor, " n"], values: Float[Tensor, " n"] | None, num_bins: int
) -> Float[Tensor, " m"]:
    """Return the sum of values over each bin; without values the number of its pixels."""
    return owner.bincount(values, minlength=num_bins).double()
