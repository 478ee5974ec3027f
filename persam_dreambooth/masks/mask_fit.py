"""The two numbers of PerSAM-F: how much of each of SAM's three masks makes the subject.

The blend is z = (1 − a − b) L₀ + a L₁ + b L₂ of the three logit maps of the reference photo. `adamw` starts
at ⅓ each and takes 1000 steps of AdamW, with a cosine schedule, on dice + focal loss against the reference
mask at the photo's full size. 1000 steps do not converge (the learning rates sum to 0.5): what counts is
where the authors' trajectory ends, so its optimiser is repeated to the letter. `lbfgs` goes to the minimum of
the same loss, which is another place.

Source: Personalize-SAM, persam_f.py.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persam_dreambooth.masks.mask_fit_bins import in_bins
from persam_dreambooth.masks.mask_fit_loss import Pixels, loss_and_gradient, pixels_of
from persam_dreambooth.masks.mask_fit_minimum import least_loss

NUM_STEPS = 1000
LEARNING_RATE = 1e-3
# AdamW as in persam_f.py: eps is given there, the other three are torch's defaults.
EPSILON = 1e-4
WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.999)

# In logits. Bins of this width give a gradient that is off by a thousandth or so; what they miss is measured.
_BIN_WIDTH = 1.0
_MOST_BINS = 3000
# How far the weights travel, in sums of learning rates, from one measurement to the next; 0.5 in all.
_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.03
# Error of the continued gradient, as a share of its size.
_TOLERANCE = 1e-5
# So few pixels are not worth bins.
_FEW_PIXELS = 2**14

Solver = Literal["adamw", "lbfgs"]


def fit_mask_weights(
    mask_logits: Float[Tensor, "3 *pixels"],
    mask: Bool[Tensor, "*pixels"],
    *,
    solver: Solver = "adamw",
    num_steps: int = NUM_STEPS,
    learning_rate: float = LEARNING_RATE,
) -> Float[Tensor, " 3"]:
    """Return the weights (1 − a − b, a, b) of three logit maps; float32, CPU.

    Args:
        mask_logits: SAM's three masks of the reference at the photo's size, unthresholded; of several
            references all their pixels.
        mask: True on the subject.
        solver: `adamw` for the end of the authors' recipe, `lbfgs` for the minimum of its loss.
        num_steps: length of `adamw`'s schedule.
        learning_rate: its first.
    """
    pixels = pixels_of(mask_logits, mask)
    a, b = (
        least_loss(pixels)
        if solver == "lbfgs"
        else _adamw_end(pixels, learning_rates(num_steps, learning_rate))
    )
    return torch.tensor([1 - a - b, a, b], dtype=torch.float32)


def learning_rates(num_steps: int = NUM_STEPS, first: float = LEARNING_RATE) -> list[float]:
    """Return the learning rate of each step: a half cosine from the first one towards 0."""
    return [first * (1 + math.cos(math.pi * step / num_steps)) / 2 for step in range(num_steps)]


class _Slopes:
    """The gradient along a trajectory: that of bins, plus what bins miss.

    What they miss changes slowly. It is measured on all pixels now and then, and continued from the last
    three measurements by the parabola through them; how wrong that was at the next one decides how long
    to wait for the one after it.
    """

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        is_small = pixels.place.shape[1] <= _FEW_PIXELS
        self.bins = pixels if is_small else in_bins(pixels, _BIN_WIDTH, most=_MOST_BINS)
        self.missed: list[tuple[float, Float[Tensor, " 2"]]] = []
        self.pause = _FIRST_PAUSE

    def at(self, a: float, b: float, travelled: float) -> Float[Tensor, " 2"]:
        """Return the derivatives with respect to a and b; `travelled` is the sum of learning rates so far."""
        slopes = loss_and_gradient(self.bins, a, b)[1]
        if self.bins is self.pixels:
            return slopes
        if self.missed and travelled - self.missed[-1][0] < self.pause:
            return slopes + _continued(self.missed, travelled)
        exact = loss_and_gradient(self.pixels, a, b)[1]
        if self.missed:
            wrong = (slopes + _continued(self.missed, travelled) - exact).abs().max()
            wrong /= exact.abs().max() + EPSILON
            # The parabola's error grows with the third power of the way.
            change = float((_TOLERANCE / (wrong + 1e-12)) ** (1 / 3))
            self.pause = min(_LONGEST_PAUSE, self.pause * min(2.0, max(0.25, change)))
        self.missed = [*self.missed[-2:], (travelled, exact - slopes)]
        return exact


def _continued(measured: list[tuple[float, Float[Tensor, " 2"]]], travelled: float) -> Float[Tensor, " 2"]:
    """Return the polynomial through all (where, value), at another place."""
    value = torch.zeros_like(measured[0][1])
    for i, (place, known) in enumerate(measured):
        others = [other for j, (other, _) in enumerate(measured) if j != i]
        value = value + known * math.prod((travelled - other) / (place - other) for other in others)
    return value


def _adamw_end(pixels: Pixels, rates: list[float]) -> tuple[float, float]:
    """Return (a, b) after a step with each learning rate: AdamW for two numbers needs no tensors."""
    gradient, travelled = _Slopes(pixels), 0.0
    weights = [1 / 3, 1 / 3]
    first, second = [0.0, 0.0], [0.0, 0.0]
    for step, learning_rate in enumerate(rates, start=1):
        slopes = gradient.at(*weights, travelled).tolist()
        travelled += learning_rate
        for k, slope in enumerate(slopes):
            first[k] = BETAS[0] * first[k] + (1 - BETAS[0]) * slope
            second[k] = BETAS[1] * second[k] + (1 - BETAS[1]) * slope**2
            direction = first[k] / (1 - BETAS[0] ** step)
            size = math.sqrt(second[k] / (1 - BETAS[1] ** step)) + EPSILON
            weights[k] -= learning_rate * (WEIGHT_DECAY * weights[k] + direction / size)
    return weights[0], weights[1]
