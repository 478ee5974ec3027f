"""The loss: worked by hand, against diffusers' formula, and what the outside of a mask can and cannot do."""

import pytest
import torch
from torch.nn.functional import mse_loss

from persam_dreambooth.diffusion.losses import masked_mse, outside_prior


def predictions(examples: int = 3, size: int = 8):
    generator = torch.Generator().manual_seed(examples * size)
    pred, target = torch.randn(2, examples, 4, size, size, generator=generator)
    mask = torch.rand(examples, 1, size, size, generator=generator)
    mask[:, :, : size // 2] = 0
    return pred, target, mask


def test_worked_by_hand():
    # One channel of two cells in each of two examples: errors 4 and 9, then 1 and 25.
    pred = torch.tensor([[[[2.0, 3.0]]], [[[1.0, 5.0]]]])
    target = torch.zeros_like(pred)
    mask = torch.tensor([[[[1.0, 0.0]]], [[[0.5, 0.5]]]])
    assert masked_mse(pred, target, mask).item() == pytest.approx((4 + (0.5 + 12.5) / 1) / 2)
    assert masked_mse(pred, target, mask, "none").item() == pytest.approx((4 + 0.5 + 12.5) / 4)
    base = torch.ones_like(pred)
    # Distances to the base: 1 and 4, then 0 and 16.
    assert outside_prior(pred, base, mask).item() == pytest.approx((4 + (0 + 8) / 1) / 2)


def test_it_is_the_formula():
    pred, target, mask = predictions()
    error = (pred - target).square()
    by_example = (mask * error).sum((1, 2, 3)) / (4 * mask.sum((1, 2, 3)))
    torch.testing.assert_close(masked_mse(pred, target, mask), by_example.mean())
    torch.testing.assert_close(masked_mse(pred, target, mask, "none"), (mask * error).mean())
    by_example = ((1 - mask) * error).sum((1, 2, 3)) / (4 * (1 - mask).sum((1, 2, 3)))
    torch.testing.assert_close(outside_prior(pred, target, mask), by_example.mean())


@pytest.mark.parametrize("normalization", ["area", "none"])
@pytest.mark.parametrize(("examples", "size"), [(1, 4), (2, 16), (3, 13), (5, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_of_ones_is_diffusers_loss_to_the_bit(normalization, examples, size, dtype):
    pred, target, _ = predictions(examples, size)
    pred, target = pred.to(dtype).requires_grad_(), target.to(dtype)
    loss = masked_mse(pred, target, torch.ones(examples, 1, size, size), normalization)
    (gradient,) = torch.autograd.grad(loss, pred)
    reference = mse_loss(pred.float(), target.float(), reduction="mean")
    (reference_gradient,) = torch.autograd.grad(reference, pred)
    assert torch.equal(loss, reference)
    assert torch.equal(gradient, reference_gradient)


def test_a_binary_mask_is_a_crop():
    pred, target, _ = predictions()
    mask = torch.zeros(3, 1, 8, 8)
    mask[:, :, 2:5, 1:7] = 1
    cropped = mse_loss(pred[:, :, 2:5, 1:7], target[:, :, 2:5, 1:7])
    torch.testing.assert_close(masked_mse(pred, target, mask), cropped)


def test_the_size_of_the_subject_does_not_matter():
    pred, target = torch.full((2, 4, 8, 8), 3.0), torch.ones(2, 4, 8, 8)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 0, 0] = 1
    mask[1] = 1
    assert masked_mse(pred, target, mask).item() == 4


@pytest.mark.parametrize("outside", [1e9, float("nan"), float("inf")])
def test_nothing_outside_the_mask_counts(outside):
    pred, target, mask = predictions()
    clean = masked_mse(pred, target, mask)
    pred = pred.clone()
    pred[:, :, :4] = outside
    target[:, :, 3] = outside
    pred.requires_grad_()
    loss = masked_mse(pred, target, mask)
    loss.backward()
    assert torch.equal(loss, clean)
    assert (pred.grad[:, :, :4] == 0).all()
    assert (pred.grad[:, :, 4:] != 0).all()


def test_the_outside_prior_leaves_the_inside_alone_and_has_nothing_to_say_of_a_full_mask():
    pred, base, mask = predictions()
    mask[1] = 1
    mask[2] = (mask[2] > 0).float()
    pred.requires_grad_()
    loss = outside_prior(pred, base, mask)
    loss.backward()
    assert torch.isfinite(loss)
    assert (pred.grad[1] == 0).all()
    assert (pred.grad[2][:, 4:] == 0).all()
    assert (pred.grad[2][:, :4] != 0).all()
    assert outside_prior(pred, base, torch.ones_like(mask)) == 0


def test_weights_of_examples_worked_by_hand():
    # Errors 4 and 16 in two examples of one cell, weighted 0.5 and 0.25.
    pred, target = torch.tensor([2.0, 4.0]).reshape(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    ones, weights = torch.ones(2, 1, 1, 1), torch.tensor([0.5, 0.25])
    assert masked_mse(pred, target, ones, weights=weights).item() == pytest.approx((2 + 4) / 2)
    assert outside_prior(pred, target, 0 * ones, weights=weights).item() == pytest.approx((2 + 4) / 2)


@pytest.mark.parametrize("normalization", ["area", "none"])
def test_with_weights_a_mask_of_ones_is_diffusers_weighted_loss_to_the_bit(normalization):
    pred, target, _ = predictions(3, 13)
    weights = torch.rand(3)
    loss = masked_mse(pred, target, torch.ones(3, 1, 13, 13), normalization, weights)
    reference = mse_loss(pred, target, reduction="none").mean(dim=(1, 2, 3)) * weights
    assert torch.equal(loss, reference.mean())


def test_each_example_is_held_outside_by_its_own_mask():
    # Drifts of 1 and 3; the first is half mask, the second a quarter: each counts by its own area.
    pred, base = torch.ones(2, 4, 4, 4), torch.zeros(2, 4, 4, 4)
    pred[1] = 3
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, :2] = 1
    mask[1, :, :, 0] = 1
    pred[0, :, :2] = pred[1, :, :, 0] = 1e6
    both = outside_prior(pred, base, mask)
    alone = [outside_prior(pred[i : i + 1], base[i : i + 1], mask[i : i + 1]) for i in range(2)]
    assert [value.item() for value in alone] == [1, 9]
    assert both.item() == 5
    assert outside_prior(pred, base, mask, "none").item() == (1 * 1 / 2 + 9 * 3 / 4) / 2


@pytest.mark.parametrize("normalization", ["area", "none"])
@pytest.mark.parametrize("inside", [1e9, float("nan"), float("inf")])
def test_nothing_inside_a_full_mask_reaches_the_outside_prior(normalization, inside):
    pred, base, mask = predictions()
    mask[:, :, 4:] = 1
    clean = outside_prior(pred, base, mask, normalization)
    pred, base = pred.clone(), base.clone()
    pred[:, :, 4:] = inside
    base[:, :, 5] = inside
    pred.requires_grad_()
    loss = outside_prior(pred, base, mask, normalization)
    loss.backward()
    assert torch.equal(loss, clean)
    assert (pred.grad[:, :, 4:] == 0).all()
    assert (pred.grad[:, :, :4] != 0).all()


def test_a_mask_of_rounded_ones_is_a_full_mask():
    pred, base, mask = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8)
    mask[:, :, 3, 3] = 1 - 2**-24
    assert outside_prior(pred, base, mask) == 0
    # One pixel of a cell, at 1024 x 1024 the least that there can be, is no rounding.
    mask = torch.ones(1, 1, 128, 128)
    mask[:, :, 3, 3] = 63 / 64
    assert outside_prior(pred[..., :1, :1].expand(1, 4, 128, 128), torch.zeros(1, 4, 128, 128), mask) == 1


@pytest.mark.parametrize("outside_weight", [0.1, 0.5])
def test_a_weight_outside_the_mask_does_not_change_where_the_base_holds(outside_weight):
    pred, base, mask = predictions()
    weighed = mask + outside_weight * (1 - mask)
    torch.testing.assert_close(outside_prior(pred, base, weighed), outside_prior(pred, base, mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_are_compared_in_full(dtype):
    pred, target, mask = predictions()
    half = masked_mse(pred.to(dtype), target, mask)
    assert half.dtype == torch.float32
    assert torch.equal(half, masked_mse(pred.to(dtype).float(), target, mask))
