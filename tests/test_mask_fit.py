"""PerSAM-F's fit: the same end as a plain loop over all pixels, from bins, in closed form."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from persam_dreambooth.masks.mask_fit import _focal_derivatives, fit_mask_weights, gather, loss_gradient


def nested_logits(size, radius, seed=0):
    """Return the logits of three nested discs on noise [3 H W], and the mask of a disc of this radius."""
    height, width = size
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    distance = (x**2 + 1.5 * y**2).sqrt()
    discs = torch.stack([((edge - distance) * 40).clamp(-15, 12) for edge in (0.25, 0.5, 0.75)])
    noise = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    return discs + 2 * interpolate(noise, size, mode="bilinear")[0], distance < radius


def plain_loss(mask_logits, mask, weights):
    """Return dice + focal of the blend, as in the authors' program."""
    z, g = (mask_logits * weights[:, None, None]).sum(0).flatten(), mask.flatten().to(mask_logits)
    p = z.sigmoid()
    dice = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
    cross_entropy = binary_cross_entropy_with_logits(z, g, reduction="none")
    p_true = p * g + (1 - p) * (1 - g)
    focal = (0.25 * g + 0.75 * (1 - g)) * (1 - p_true) ** 2 * cross_entropy
    return dice + focal.mean()


def plain_fit(mask_logits, mask, num_steps=1000, *, residual_last=False, **options):
    """Return the weights after torch's own AdamW and cosine schedule on all pixels."""
    free = torch.nn.Parameter(torch.ones(2, dtype=mask_logits.dtype) / 3)

    def weights():
        parts = [1 - free.sum(0, keepdim=True), free]
        return torch.cat(parts[::-1] if residual_last else parts)

    optimizer = torch.optim.AdamW([free], **{"lr": 1e-3, "eps": 1e-4, **options})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        optimizer.zero_grad()
        plain_loss(mask_logits, mask, weights()).backward()
        optimizer.step()
        schedule.step()
    return weights().detach().float()


@pytest.mark.parametrize("radius", [0.26, 0.52, 0.8])
def test_the_end_is_that_of_the_plain_loop(radius):
    mask_logits, mask = nested_logits((80, 64), radius)
    weights = fit_mask_weights(mask_logits, mask)
    torch.testing.assert_close(weights, plain_fit(mask_logits, mask), rtol=0, atol=1e-5)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)


def test_the_end_is_that_of_the_plain_loop_for_large_photos():
    mask_logits, mask = nested_logits((512, 512), 0.52)
    weights = fit_mask_weights(mask_logits, mask, num_steps=40)
    torch.testing.assert_close(weights, plain_fit(mask_logits, mask, 40), rtol=0, atol=1e-5)
    assert len(gather(mask_logits, mask).count) < mask.numel() / 15


@pytest.mark.parametrize("num_steps", [1, 10, 200])
def test_every_length_of_schedule_agrees(num_steps):
    mask_logits, mask = nested_logits((64, 64), 0.52)
    weights = fit_mask_weights(mask_logits, mask, num_steps=num_steps)
    torch.testing.assert_close(weights, plain_fit(mask_logits, mask, num_steps), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("mistake", "at_least"),
    [({"eps": 1e-8}, 3e-5), ({"weight_decay": 0.0}, 1e-4), ({"residual_last": True}, 1e-2)],
    ids=str,
)
def test_other_recipes_end_elsewhere(mistake, at_least):
    mask_logits, mask = nested_logits((64, 64), 0.8)
    difference = (fit_mask_weights(mask_logits, mask) - plain_fit(mask_logits, mask, **mistake)).abs().max()
    assert difference > at_least


@pytest.mark.parametrize(("a", "b"), [(1 / 3, 1 / 3), (0.8, -0.15), (-0.1, 0.7)])
def test_the_gradient_is_autograds(a, b):
    mask_logits, mask = nested_logits((40, 50), 0.52)
    free = torch.tensor([a, b], dtype=torch.float64, requires_grad=True)
    plain_loss(mask_logits.double(), mask, torch.cat([1 - free.sum(0, keepdim=True), free])).backward()
    every_pixel = gather(mask_logits, mask, bin_width=1e-6)
    torch.testing.assert_close(loss_gradient(every_pixel, a, b), free.grad, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(
        loss_gradient(gather(mask_logits, mask), a, b), free.grad, rtol=1e-3, atol=1e-5
    )


def test_the_focal_derivatives_are_autograds():
    y = torch.linspace(-30, 30, 601, dtype=torch.float64, requires_grad=True)
    derivative = y.sigmoid() ** 2 * torch.nn.functional.softplus(y, threshold=50)
    for ours in _focal_derivatives(y.detach()):
        (derivative,) = torch.autograd.grad(derivative.sum(), y, create_graph=True)
        torch.testing.assert_close(ours, derivative.detach(), rtol=1e-6, atol=1e-9)


def test_bins_keep_count_mean_and_covariance():
    mask_logits = torch.tensor([[0.1, 0.3, 7.0, 0.2], [1.1, 1.2, 7.0, 1.4], [-2.9, -2.6, 7.0, -2.8]])[:, None]
    bins = gather(mask_logits, torch.tensor([[False, False, True, True]]))
    assert bins.count.tolist() == [2, 1, 1]
    assert bins.is_subject.tolist() == [False, True, True]
    torch.testing.assert_close(bins.mean[0].float(), torch.tensor([0.2, 0.95, -2.95]))
    apart = torch.tensor([0.1, -0.05, 0.05], dtype=torch.float64)
    torch.testing.assert_close(bins.covariance[0], apart[:, None] * apart, rtol=0, atol=1e-6)
    assert bins.covariance[1:].abs().max() == 0
