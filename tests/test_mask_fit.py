"""PerSAM-F's fit by AdamW: the same end as a plain loop over all pixels, from bins, in closed form."""

import pytest
import torch
from fit_cases import nested_logits, plain_fit, plain_gradient

from persam_dreambooth.masks.mask_fit import fit_mask_weights, learning_rates
from persam_dreambooth.masks.mask_fit_bins import in_bins, thinned
from persam_dreambooth.masks.mask_fit_loss import focal_derivatives, loss_and_gradient, loss_at, pixels_of


@pytest.mark.parametrize(("radius", "size"), [(0.26, (48, 52)), (0.8, (132, 140))])
def test_the_end_is_that_of_the_plain_loop(radius, size):
    mask_logits, mask = nested_logits(size, radius)
    weights = fit_mask_weights(mask_logits, mask)
    torch.testing.assert_close(weights, plain_fit(mask_logits.double(), mask), rtol=0, atol=1e-6)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)


def test_the_end_is_that_of_the_plain_loop_for_large_photos():
    mask_logits, mask = nested_logits((400, 400), 0.52)
    weights = fit_mask_weights(mask_logits, mask, num_steps=40)
    torch.testing.assert_close(weights, plain_fit(mask_logits.double(), mask, 40), rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 10, 200])
def test_every_length_of_schedule_agrees(num_steps):
    mask_logits, mask = nested_logits((64, 64), 0.52)
    weights = fit_mask_weights(mask_logits, mask, num_steps=num_steps)
    torch.testing.assert_close(weights, plain_fit(mask_logits.double(), mask, num_steps), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mistake", [{"eps": 1e-8}, {"weight_decay": 0.0}, {"residual_last": True}], ids=str)
def test_other_recipes_end_elsewhere(mistake):
    mask_logits, mask = nested_logits((24, 28), 0.8)
    weights = fit_mask_weights(mask_logits, mask, num_steps=300)
    assert (weights - plain_fit(mask_logits.double(), mask, 300, **mistake)).abs().max() > 1e-5


def test_logits_far_apart_are_fitted_too():
    # More bins than are kept, so that they are widened, and cubes too many for a table.
    mask_logits = torch.randn(3, 130, 130, generator=torch.Generator().manual_seed(5)) * 60
    mask = mask_logits.mean(dim=0) > 10
    weights = fit_mask_weights(mask_logits, mask, num_steps=100)
    torch.testing.assert_close(weights, plain_fit(mask_logits.double(), mask, 100), rtol=0, atol=1e-6)


def test_the_learning_rate_is_torchs_and_sums_to_half_a_weight():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
    rates = []
    for _ in range(1000):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert learning_rates() == pytest.approx(rates, rel=1e-9, abs=1e-15)
    assert sum(learning_rates()) == pytest.approx(0.5005, abs=1e-9)


def test_before_the_first_step_every_mask_weighs_a_third():
    mask_logits, mask = nested_logits((24, 24), 0.52)
    assert fit_mask_weights(mask_logits, mask, num_steps=0).tolist() == pytest.approx([1 / 3] * 3)


def test_one_step_goes_downhill_by_the_learning_rate_and_a_little_decay():
    mask_logits, mask = nested_logits((24, 24), 0.52)
    _, gradient = plain_gradient(mask_logits, mask, 1 / 3, 1 / 3)
    moved = fit_mask_weights(mask_logits, mask, num_steps=1)[1:].double() - 1 / 3
    # Adam's first step is the gradient over its own size; decay takes 1e-3 x 0.01 of a third.
    expected = -1e-3 * gradient / (gradient.abs() + 1e-4) - 1e-3 * 0.01 / 3
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("mask_value", [True, False])
def test_masks_of_one_kind_are_fitted_too(mask_value):
    mask_logits, mask = nested_logits((20, 20), 0.52)
    mask = torch.full_like(mask, mask_value)
    weights = fit_mask_weights(mask_logits, mask, num_steps=100)
    torch.testing.assert_close(weights, plain_fit(mask_logits.double(), mask, 100), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("a", "b"), [(1 / 3, 1 / 3), (0.8, -0.15), (-0.1, 0.7)])
def test_loss_and_gradient_are_autograds(a, b):
    mask_logits, mask = nested_logits((40, 50), 0.52)
    loss, gradient = plain_gradient(mask_logits, mask, a, b)
    pixels = pixels_of(mask_logits, mask)
    ours, our_gradient = loss_and_gradient(pixels, a, b)
    assert ours == pytest.approx(loss, rel=1e-12)
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-9, atol=1e-12)
    bins = in_bins(pixels, 0.5)
    binned, its_gradient = loss_and_gradient(bins, a, b)
    assert binned == pytest.approx(loss, rel=1e-4)
    torch.testing.assert_close(its_gradient, gradient, rtol=1e-3, atol=1e-5)
    places = torch.tensor([[0.0, 0.0], [a, b]], dtype=torch.float64)
    assert float(loss_at(bins, places)[1]) == pytest.approx(binned, rel=1e-9)


def test_bins_of_one_pixel_lose_nothing():
    mask_logits, mask = nested_logits((16, 16), 0.52)
    pixels = pixels_of(mask_logits, mask)
    bins = in_bins(pixels, 1e-6)
    assert bins.place.shape == (3, 256)
    loss, gradient = loss_and_gradient(pixels, 0.4, 0.1)
    binned, its_gradient = loss_and_gradient(bins, 0.4, 0.1)
    assert binned == pytest.approx(loss, rel=1e-9)
    torch.testing.assert_close(its_gradient, gradient, rtol=1e-7, atol=1e-10)


def test_the_focal_derivatives_are_autograds():
    y = torch.linspace(-30, 30, 601, dtype=torch.float64, requires_grad=True)
    cross_entropy = torch.nn.functional.softplus(y, threshold=50)
    derivative = y.sigmoid() ** 2 * cross_entropy
    for ours in focal_derivatives(y.sigmoid(), (-y).sigmoid(), cross_entropy):
        (derivative,) = torch.autograd.grad(derivative.sum(), y, create_graph=True)
        torch.testing.assert_close(ours, derivative.detach(), rtol=1e-6, atol=1e-9, check_dtype=False)


def test_bins_keep_count_mean_and_covariance():
    mask_logits = torch.tensor([[0.1, 0.3, 7.0, 0.2], [1.1, 1.2, 7.0, 1.4], [-2.5, -2.2, 7.0, -2.8]])[:, None]
    bins = in_bins(pixels_of(mask_logits, torch.tensor([[False, False, True, True]])), 1.5)
    assert bins.weights[0].tolist() == [2, 0, 0]
    assert bins.weights[1].tolist() == [0, 1, 1]
    torch.testing.assert_close(bins.weights[2], torch.tensor([0.75 * 2, 0.25, 0.25]).double() / 4)
    torch.testing.assert_close(bins.place[:, 0].float(), torch.tensor([0.2, 0.95, -2.55]))
    order = bins.place[0, 1:].argsort() + 1
    expected = torch.tensor([[-7, 0, 0], [-0.2, -1.2, 3.0]]).T  # with the sign of the subject
    torch.testing.assert_close(bins.place[:, order].float(), expected)
    apart = torch.tensor([0.1, -0.05, 0.05], dtype=torch.float64)
    torch.testing.assert_close(bins.covariance[:, :, 0], apart[:, None] * apart, rtol=0, atol=1e-6)
    assert bins.covariance[:, :, 1:].abs().max() < 1e-12


def test_a_sample_keeps_the_share_of_the_subject():
    mask_logits, mask = nested_logits((90, 100), 0.52)
    pixels = pixels_of(mask_logits, mask)
    assert thinned(pixels, 9000) is pixels
    sample = thinned(pixels, 1000)
    assert 700 < sample.place.shape[1] <= 1001
    share, sample_share = (1 - x.num_background / x.place.shape[1] for x in (pixels, sample))
    assert sample_share == pytest.approx(share, abs=0.01)
