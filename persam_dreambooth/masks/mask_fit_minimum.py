"""The weights of SAM's three masks at which PerSAM-F's loss is least.

Where the authors' 1000 steps stop on the way, this goes to the end. The minimum need not be finite: where
some blend separates all pixels, doubling its logits lowers the loss again, for ever. So a and b are searched
from −1 to 2. That holds each mask alone, their averages, everything that 1000 steps can reach (about −0.2 to
0.8), and one mask subtracted from the others or counted twice.

The loss has more than one valley. A grid of points finds them on coarse bins of a sample of the pixels; from
the deepest ones BFGS goes down (two numbers need no limited memory), first on the sample, then on all pixels
with the curvature known, so that few passes over the photo remain. Nothing is random.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from persam_dreambooth.masks.mask_fit_bins import in_bins, thinned
from persam_dreambooth.masks.mask_fit_loss import Bins, Pixels, loss_and_gradient, loss_at

LOWER, UPPER = -1.0, 2.0
"""Bounds of a and of b."""
# Of the gradient, whose size away from the minimum is about 0.01 to 1.
FLAT = 1e-7

_GRID_POINTS = 19
_NUM_VALLEYS = 4
_SAMPLE = 2**16
_BIN_WIDTH = 1.5
_MOST_BINS = 2000
# Ends on the sample are tried on all pixels if no more than this worse than the best, and this far apart.
_CLOSE = 0.02
_APART = 0.02
_MAX_STEPS = 60
_SHORTEST = 2.0**-20
# Rounding of a loss.
_ROUNDING = 1e-13


def least_loss(pixels: Pixels) -> tuple[float, float]:
    """Return (a, b) in the bounds where dice + focal of (1 − a − b) L₀ + a L₁ + b L₂ is least.

    Args:
        pixels: all of them, with their logits and their truth.
    """
    sample = in_bins(thinned(pixels, _SAMPLE), _BIN_WIDTH, most=_MOST_BINS)
    starts = torch.stack([_descended(sample, place) for place in _valleys(sample)])
    losses = loss_at(sample, starts)
    found: list[tuple[float, Float[Tensor, " 2"]]] = []
    for number in losses.argsort(stable=True).tolist():
        # Valleys that meet lower down, and those that all pixels cannot make the deepest.
        is_new = all((starts[number] - end).abs().max() > _APART for _, end in found)
        if is_new and losses[number] < losses.min() + _CLOSE:
            found.append(_descended_to(pixels, starts[number], _curvature(sample, starts[number])))
    a, b = min(found, key=lambda end: end[0])[1].tolist()
    return a, b


def _valleys(bins: Bins) -> Float[Tensor, "n 2"]:
    """Return the deepest points of a grid over the bounds that no neighbour lies below."""
    axis = torch.linspace(LOWER, UPPER, _GRID_POINTS, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    height = -loss_at(bins, points).reshape(1, _GRID_POINTS, _GRID_POINTS)
    is_valley = (height >= max_pool2d(height, 3, stride=1, padding=1)).flatten()
    deepest = height.flatten()[is_valley].argsort(descending=True, stable=True)
    return points[is_valley][deepest[:_NUM_VALLEYS]]


def _descended(bins: Bins, start: Float[Tensor, " 2"]) -> Float[Tensor, " 2"]:
    """Return where the descent on bins ends."""
    return _descended_to(bins, start, _curvature(bins, start))[1]


def _descended_to(
    points: Pixels | Bins, start: Float[Tensor, " 2"], curvature: Float[Tensor, "2 2"]
) -> tuple[float, Float[Tensor, " 2"]]:
    """Return the loss and (a, b) where BFGS within the bounds ends: gradient zero, or outwards at a bound.

    Args:
        points: all pixels, or bins.
        start: (a, b).
        curvature: a guess of the loss's second derivatives, positive definite.
    """
    place = start
    loss, gradient = loss_and_gradient(points, *place.tolist())
    for _ in range(_MAX_STEPS):
        is_free = ~(((place <= LOWER) & (gradient > 0)) | ((place >= UPPER) & (gradient < 0)))
        if (gradient * is_free).abs().max() < FLAT:
            break
        step, length = _newton_step(curvature, gradient, is_free), 1.0
        while length > _SHORTEST:
            tried = (place + length * step).clamp(LOWER, UPPER)
            new_loss, new_gradient = loss_and_gradient(points, *tried.tolist())
            if new_loss <= loss + 1e-4 * float(gradient @ (tried - place)) + _ROUNDING:
                break
            length /= 2
        else:
            break
        curvature = _updated(curvature, tried - place, new_gradient - gradient)
        place, loss, gradient = tried, new_loss, new_gradient
    return loss, place


def _newton_step(
    curvature: Float[Tensor, "2 2"], gradient: Float[Tensor, " 2"], is_free: Bool[Tensor, " 2"]
) -> Float[Tensor, " 2"]:
    """Return Newton's step in the numbers that no bound holds."""
    step = torch.zeros_like(gradient)
    free = is_free.nonzero().flatten()
    step[free] = -torch.linalg.solve(curvature[free][:, free], gradient[free])
    return step


def _curvature(bins: Bins, place: Float[Tensor, " 2"]) -> Float[Tensor, "2 2"]:
    """Return the second derivatives by differences of the gradient, made positive definite."""
    width = 1e-4
    columns = [
        loss_and_gradient(bins, *(place + shift).tolist())[1]
        - loss_and_gradient(bins, *(place - shift).tolist())[1]
        for shift in width * torch.eye(2, dtype=torch.float64)
    ]
    matrix = torch.stack(columns) / (2 * width)
    values, directions = torch.linalg.eigh((matrix + matrix.T) / 2)
    # Below this the loss is flat, and a longer step would leave the bounds anyway.
    return directions @ torch.diag(values.abs().clamp_min(1e-4)) @ directions.T


def _updated(
    curvature: Float[Tensor, "2 2"], step: Float[Tensor, " 2"], change: Float[Tensor, " 2"]
) -> Float[Tensor, "2 2"]:
    """Return BFGS's next guess of the curvature, which explains the gradient's change along the step."""
    bent = curvature @ step
    if step @ change <= 1e-12 * (step @ step):
        return curvature
    return curvature + torch.outer(change, change) / (step @ change) - torch.outer(bent, bent) / (step @ bent)
