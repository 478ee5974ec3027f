"""The loss: worked by hand, against diffusers' formula, and what the outside of a mask can and cannot do."""

import pytest
import torch
from diffusers import DDPMScheduler
from torch.nn.functional import mse_loss

from persam_dreambooth.diffusion.losses import masked_mse, outside_prior, prediction_target


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


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_targets(prediction_type):
    scheduler = DDPMScheduler(prediction_type=prediction_type, beta_schedule="scaled_linear")
    latents, noise, timesteps = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([10, 800])
    target = prediction_target(scheduler, latents, noise, timesteps)
    share = scheduler.alphas_cumprod[timesteps][:, None, None, None]
    velocity = share.sqrt() * noise - (1 - share).sqrt() * latents
    torch.testing.assert_close(target, noise if prediction_type == "epsilon" else velocity)
