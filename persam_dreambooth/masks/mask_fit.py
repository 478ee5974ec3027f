"""The two numbers of PerSAM-F: how much of each of SAM's three masks makes the subject.

The blend is z = (1 − a − b) L₀ + a L₁ + b L₂ of the three logit maps of the reference photo; a and b start at
⅓ and take 1000 steps of AdamW, with a cosine schedule, on dice + focal loss against the reference mask at the
photo's full size. 1000 steps do not converge (the learning rates sum to 0.5): what counts is where the
authors' trajectory ends, so its optimiser is repeated to the letter.

Two things make it fast without moving the end by more than 1e-5. The gradient has a closed form, and two
scalars need no tensor optimiser. And pixels whose three logits and truth nearly agree are gathered in bins,
each with its count, mean and covariance: the loss over a bin is expanded to second order around the mean, so
bins may be wide.

Source: Personalize-SAM, persam_f.py.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

NUM_STEPS = 1000
LEARNING_RATE = 1e-3
# AdamW as in persam_f.py: eps is given there, the other three are torch's defaults.
EPSILON = 1e-4
WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.999)

# Focal loss of the subject's pixels is weighted 0.25, of the others 0.75.
FOCAL_ALPHA = 0.25

# In logits. Against a loop over all pixels the weights differ by at most 1.5e-6, while a photo of 1024 x 1024
# pixels has a fiftieth of the points.
BIN_WIDTH = 0.5


@dataclass(frozen=True, eq=False)
class LogitBins:
    """The reference's pixels, gathered where (L₀, L₁ − L₀, L₂ − L₀) and truth are nearly equal; float64."""

    count: Float[Tensor, " m"]
    """Pixels in each bin."""
    mean: Float[Tensor, "m 3"]
    """Mean over the bin's pixels, so that z = mean · (1, a, b)."""
    covariance: Float[Tensor, "m 3 3"]
    """Covariance over the bin's pixels (divided by their number)."""
    is_subject: Bool[Tensor, " m"]
    """What the reference mask says; a bin never mixes the two."""


def fit_mask_weights(
    mask_logits: Float[Tensor, "3 H W"], mask: Bool[Tensor, "H W"], *, num_steps: int = NUM_STEPS
) -> Float[Tensor, " 3"]:
    """Return the weights (1 − a − b, a, b) of three logit maps after the authors' AdamW recipe; float32, CPU.

    Args:
        mask_logits: SAM's three masks of the reference at the photo's size, unthresholded.
        mask: True on the subject.
        num_steps: length of the schedule.
    """
    bins = gather(mask_logits, mask)
    weights = [1 / 3, 1 / 3]
    first, second = [0.0, 0.0], [0.0, 0.0]
    for step in range(1, num_steps + 1):
        learning_rate = LEARNING_RATE * (1 + math.cos(math.pi * (step - 1) / num_steps)) / 2
        slopes = loss_gradient(bins, *weights).tolist()
        for k, slope in enumerate(slopes):
            first[k] = BETAS[0] * first[k] + (1 - BETAS[0]) * slope
            second[k] = BETAS[1] * second[k] + (1 - BETAS[1]) * slope**2
            direction = first[k] / (1 - BETAS[0] ** step)
            size = math.sqrt(second[k] / (1 - BETAS[1] ** step)) + EPSILON
            weights[k] -= learning_rate * (WEIGHT_DECAY * weights[k] + direction / size)
    a, b = weights
    return torch.tensor([1 - a - b, a, b], dtype=torch.float32)


def gather(
    mask_logits: Float[Tensor, "3 H W"], mask: Bool[Tensor, "H W"], *, bin_width: float = BIN_WIDTH
) -> LogitBins:
    """Return the pixels gathered in cubes of logits.

    Args:
        mask_logits: three maps, unthresholded.
        mask: True on the subject.
        bin_width: side of a cube, in logits.
    """
    logits = mask_logits.detach().cpu().double().flatten(1).T
    is_subject = mask.cpu().flatten()
    cube = (logits / bin_width).floor().long()
    cube -= cube.amin(dim=0)
    spans = (cube.amax(dim=0) + 1).tolist()
    number = ((cube[:, 0] * spans[1] + cube[:, 1]) * spans[2] + cube[:, 2]) * 2 + is_subject
    numbers, owner, count = number.unique(return_inverse=True, return_counts=True)

    def mean_of(values: Tensor) -> Tensor:
        total = values.new_zeros(len(numbers), *values.shape[1:]).index_add_(0, owner, values)
        return total / count.reshape(-1, *[1] * (values.dim() - 1))

    differences = torch.stack([logits[:, 0], logits[:, 1] - logits[:, 0], logits[:, 2] - logits[:, 0]], dim=1)
    mean = mean_of(differences)
    apart = differences - mean[owner]
    # One entry of the symmetric matrix at a time: nine columns for every pixel of a photo are much memory.
    covariance = torch.stack([mean_of(apart[:, i] * apart[:, j]) for i in range(3) for j in range(3)], dim=1)
    return LogitBins(count.double(), mean, covariance.reshape(-1, 3, 3), numbers % 2 == 1)


def loss_gradient(bins: LogitBins, a: float, b: float) -> Float[Tensor, " 2"]:
    """Return the derivatives of dice + focal with respect to a and b, in closed form.

    With p = σ(z), g the truth, s = Σp + Σg and i = Σpg: dice = 1 − (2i + 1)/(s + 1), so that ∂dice/∂p =
    −(2g(s + 1) − (2i + 1))/(s + 1)². With y = z on the background and −z on the subject, focal is the mean of
    α h(y), h(y) = σ(y)² softplus(y). A bin of n pixels contributes n (f(z) + ½ f″(z) var z) to a sum of f.
    """
    blend = torch.tensor([1.0, a, b], dtype=torch.float64)
    z = bins.mean @ blend
    half_slope = bins.covariance @ blend  # half of ∂(var z)/∂(1, a, b)
    variance = half_slope @ blend
    p, pq = torch.sigmoid(z), torch.sigmoid(z) * torch.sigmoid(-z)
    p1, p2, p3 = pq, pq * (1 - 2 * p), pq * (1 - 6 * pq)

    expected = bins.count * (p + p2 * variance / 2)
    truth = bins.is_subject.double()
    total = (expected + bins.count * truth).sum() + 1
    overlap = 2 * (expected * truth).sum() + 1
    dice = -(2 * truth * total - overlap) / total**2

    sign = 1 - 2 * truth
    focal = (truth * FOCAL_ALPHA + (1 - truth) * (1 - FOCAL_ALPHA)) / bins.count.sum()
    h1, h2, h3 = _focal_derivatives(sign * z)

    slope = dice * (p1 + p3 * variance / 2) + focal * sign * (h1 + h3 * variance / 2)
    curvature = dice * p2 + focal * h2
    return ((bins.count * slope) @ bins.mean + (bins.count * curvature) @ half_slope)[1:]


def _focal_derivatives(
    y: Float[Tensor, " m"],
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Return the first three derivatives of h(y) = σ(y)² softplus(y)."""
    p, q = torch.sigmoid(y), torch.sigmoid(-y)
    # Above its threshold, 20 by default, torch takes softplus(y) for y, which float64 can still tell apart.
    loss = softplus(y, threshold=50)
    h1 = p**2 * (2 * q * loss + p)
    h2 = p**2 * q * ((4 * q - 2 * p) * loss + 5 * p)
    h3 = p**2 * q * ((8 * q**2 - 14 * p * q + 2 * p**2) * loss + 19 * p * q - 7 * p**2)
    return h1, h2, h3
