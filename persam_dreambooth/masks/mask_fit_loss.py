"""The loss of PerSAM-F's fit as a function of its two numbers, with its gradient in closed form.

The blend is z = (1 − a − b) L₀ + a L₁ + b L₂ of three constant logit maps; the loss is dice + focal of σ(z)
against the reference mask, over all N pixels of it.

Subject and background become alike by a sign: with y = z on the background and y = −z on the subject, u =
σ(y) is the probability that is given to the wrong answer. With s the sum of u over the subject's n pixels and
r that over the background,

    dice = 1 − (2(n − s) + 1) / (2n − s + r + 1),    focal = mean of α h(y),    h(y) = u² softplus(y).

The same formulas serve bins of pixels: k pixels around a mean add k (f(y) + ½ f″(y) var y) to a sum of f.

Source: Personalize-SAM, persam_f.py.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

# Focal loss of the subject's pixels is weighted 0.25, of the others 0.75.
FOCAL_ALPHA = 0.25

# Pixels in one go: what is computed on the way stays in the processor's cache.
_CHUNK = 2**15


@dataclass(frozen=True, eq=False)
class Pixels:
    """Everything that the loss depends on but a and b; float64, on the CPU."""

    place: Float[Tensor, "3 n"]
    """(L₀, L₁ − L₀, L₂ − L₀), times −1 for the subject, so that y = (1, a, b) · place; background first."""
    num_background: int
    """How many of the pixels are background; the others are subject."""


@dataclass(frozen=True, eq=False)
class Bins:
    """The same for groups of pixels; each is all background or all subject."""

    place: Float[Tensor, "3 m"]
    """Mean over the bin's pixels."""
    covariance: Float[Tensor, "3 3 m"]
    """Covariance over the bin's pixels (divided by their number)."""
    weights: Float[Tensor, "3 m"]
    """Pixels in each bin, if they are background; if they are subject; and α / N times their number."""


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of u over the background, of u over the subject, and of α h / N over all."""

    values: Float[Tensor, "3"]
    slopes: Float[Tensor, "3 2"]
    """Derivatives with respect to a and b."""


def pixels_of(mask_logits: Float[Tensor, "3 *pixels"], mask: Bool[Tensor, "*pixels"]) -> Pixels:
    """Return the pixels of three logit maps, parted by what the mask says of them.

    Args:
        mask_logits: three maps, unthresholded.
        mask: True on the subject.
    """
    is_subject = mask.cpu().reshape(-1)
    background, subject = (~is_subject).nonzero().flatten(), is_subject.nonzero().flatten()
    order = torch.cat([background, subject])
    place = mask_logits.detach().cpu().reshape(3, -1)[:, order].double()
    place[1:] -= place[0]
    place[:, len(background) :] *= -1
    return Pixels(place, len(background))


def loss_and_gradient(points: Pixels | Bins, a: float, b: float) -> tuple[float, Float[Tensor, " 2"]]:
    """Return dice + focal, and its derivatives with respect to a and b."""
    blend = torch.tensor([1.0, a, b], dtype=torch.float64)
    sums = _sums_of_bins(points, blend) if isinstance(points, Bins) else _sums_of_pixels(points, blend)
    background, subject, focal = sums.values.tolist()
    num_subject = _num_subject(points)
    overlap, total = 2 * (num_subject - subject) + 1, 2 * num_subject - subject + background + 1
    dice_slope = (overlap * sums.slopes[0] + (2 * total - overlap) * sums.slopes[1]) / total**2
    return 1 - overlap / total + focal, dice_slope + sums.slopes[2]


def loss_at(bins: Bins, places: Float[Tensor, "k 2"]) -> Float[Tensor, " k"]:
    """Return dice + focal at several (a, b)."""
    blends = torch.cat([places.new_ones(len(places), 1), places], dim=1)
    products = (blends[:, :, None] * blends[:, None, :]).reshape(-1, 9)
    half_variance = products @ bins.covariance.reshape(9, -1) / 2
    y = blends @ bins.place
    u, cross_entropy = torch.sigmoid(y), _softplus(y)
    v = 1 - u
    wrong = u + u * v * (v - u) * half_variance
    focal = u * u * (cross_entropy + v * ((4 * v - 2 * u) * cross_entropy + 5 * u) * half_variance)
    background, subject = (wrong @ bins.weights[:2].T).T
    num_subject = _num_subject(bins)
    overlap, total = 2 * (num_subject - subject) + 1, 2 * num_subject - subject + background + 1
    return 1 - overlap / total + focal @ bins.weights[2]


def focal_derivatives(
    u: Float[Tensor, "*m"], v: Float[Tensor, "*m"], cross_entropy: Float[Tensor, "*m"]
) -> tuple[Float[Tensor, "*m"], Float[Tensor, "*m"], Float[Tensor, "*m"]]:
    """Return the first three derivatives of h(y) = σ(y)² softplus(y).

    Args:
        u: σ(y).
        v: 1 − u.
        cross_entropy: softplus(y).
    """
    uu, uv = u * u, u * v
    h1 = u * (2 * uv * cross_entropy + uu)
    h2 = u * uv * ((4 * v - 2 * u) * cross_entropy + 5 * u)
    h3 = u * uv * ((8 * v * v - 14 * uv + 2 * uu) * cross_entropy + 19 * uv - 7 * uu)
    return h1, h2, h3


def _sums_of_pixels(pixels: Pixels, blend: Float[Tensor, " 3"]) -> _Sums:
    """Return the sums over all pixels."""
    split, num_pixels = pixels.num_background, pixels.place.shape[1]
    values, slopes = blend.new_zeros(3), blend.new_zeros(3, 2)
    parts = ((slice(0, split), 0, 1 - FOCAL_ALPHA), (slice(split, num_pixels), 1, FOCAL_ALPHA))
    for part, kind, alpha in parts:
        for place in pixels.place[:, part].split(_CHUNK, dim=1):
            y = blend @ place
            u, cross_entropy = torch.sigmoid(y), _softplus(y)
            uu = u * u
            u1 = u - uu
            h1 = (u1 * cross_entropy).mul_(2).add_(uu).mul_(u)
            wrong_slope, focal_slope = torch.stack([u1, h1]) @ place[1:].T
            values[kind] += u.sum()
            slopes[kind] += wrong_slope
            values[2] += alpha / num_pixels * (uu @ cross_entropy)
            slopes[2] += alpha / num_pixels * focal_slope
    return _Sums(values, slopes)


def _sums_of_bins(bins: Bins, blend: Float[Tensor, " 3"]) -> _Sums:
    """Return the sums over the pixels of all bins."""
    half_slope = (blend @ bins.covariance.reshape(3, -1)).reshape(3, -1)  # half of ∂(var y)/∂(1, a, b)
    half_variance = blend @ half_slope / 2
    y = blend @ bins.place
    u, cross_entropy = torch.sigmoid(y), _softplus(y)
    v = 1 - u
    u1 = u * v
    u2, u3 = u1 * (v - u), u1 * (1 - 6 * u1)
    h1, h2, h3 = focal_derivatives(u, v, cross_entropy)
    wrong, focal = u + u2 * half_variance, u * u * cross_entropy + h2 * half_variance
    wrong_slope, focal_slope = u1 + u3 * half_variance, h1 + h3 * half_variance
    slopes = (
        bins.weights * torch.stack([wrong_slope, wrong_slope, focal_slope]) @ bins.place[1:].T
        + bins.weights * torch.stack([u2, u2, h2]) @ half_slope[1:].T
    )
    return _Sums((bins.weights * torch.stack([wrong, wrong, focal])).sum(dim=1), slopes)


def _num_subject(points: Pixels | Bins) -> float:
    """Return how many pixels are subject."""
    if isinstance(points, Bins):
        return float(points.weights[1].sum())
    return float(points.place.shape[1] - points.num_background)


def _softplus(y: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return log(1 + exp y); above its threshold, 20 by default, torch gives y, which float64 tells apart."""
    return softplus(y, threshold=50)
