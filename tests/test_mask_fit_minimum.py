"""PerSAM-F's fit by descent: nothing within the bounds is better, and the slope is zero or at a bound."""

import pytest
import torch
from fit_cases import nested_logits, plain_gradient, plain_loss

from persam_dreambooth.masks.mask_fit import fit_mask_weights
from persam_dreambooth.masks.mask_fit_minimum import LOWER, UPPER


def least(mask_logits, mask):
    weights = fit_mask_weights(mask_logits, mask, solver="lbfgs")
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
    return weights[1:].tolist()


def check_minimum(mask_logits, mask, a, b):
    """Assert that (a, b) is a minimum within the bounds, by autograd on all pixels."""
    loss, gradient = plain_gradient(mask_logits, mask, a, b)
    for value, slope in ((a, gradient[0]), (b, gradient[1])):
        assert LOWER - 1e-6 <= value <= UPPER + 1e-6
        if value < LOWER + 1e-6:
            assert slope > -1e-5
        elif value > UPPER - 1e-6:
            assert slope < 1e-5
        else:
            assert abs(slope) < 1e-5
    return loss


def grid_losses(mask_logits, mask, num=41):
    """Return the loss at every point of a grid over the bounds."""
    axis = torch.linspace(LOWER, UPPER, num)
    return torch.stack(
        [plain_loss(mask_logits, mask, torch.stack([1 - a - b, a, b])) for a in axis for b in axis]
    )


@pytest.mark.parametrize(("radius", "seed"), [(0.15, 0), (0.26, 1), (0.52, 2), (0.8, 3)])
def test_no_other_point_within_the_bounds_is_better(radius, seed):
    mask_logits, mask = nested_logits((40, 44), radius, seed)
    a, b = least(mask_logits, mask)
    loss = check_minimum(mask_logits, mask, a, b)
    assert loss <= float(grid_losses(mask_logits, mask).min()) + 1e-6
    adamw = fit_mask_weights(mask_logits, mask)
    assert loss < float(plain_loss(mask_logits, mask, adamw)) - 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_noise_with_many_valleys_has_its_deepest_found(seed):
    generator = torch.Generator().manual_seed(seed)
    mask_logits = torch.randn(3, 12, 14, generator=generator) * 8
    mask = torch.rand(12, 14, generator=generator) < 0.3
    a, b = least(mask_logits, mask)
    loss = check_minimum(mask_logits, mask, a, b)
    assert loss <= float(grid_losses(mask_logits, mask).min()) + 1e-6


def test_a_blend_that_parts_all_pixels_ends_at_the_bound():
    mask_logits, mask = nested_logits((30, 30), 0.52)
    mask_logits[0] = 0.1
    mask_logits[1] = torch.where(mask, 1.0, -1.0)
    a, b = least(mask_logits, mask)
    check_minimum(mask_logits, mask, a, b)
    assert a == UPPER


def test_large_photos_are_searched_on_a_sample_and_finished_on_all_pixels():
    mask_logits, mask = nested_logits((300, 330), 0.52, seed=4)
    assert mask.numel() > 2**16
    a, b = least(mask_logits, mask)
    check_minimum(mask_logits, mask, a, b)


def test_equal_logits_give_equal_weights_whatever_ran_before():
    mask_logits, mask = nested_logits((40, 44), 0.3)
    first = least(mask_logits, mask)
    torch.randn(7)
    assert least(mask_logits, mask) == first


def test_three_equal_masks_have_a_minimum_too():
    mask_logits, mask = nested_logits((30, 30), 0.52)
    a, b = least(mask_logits[1].expand(3, 30, 30), mask)
    assert LOWER <= a <= UPPER
    assert LOWER <= b <= UPPER
