"""WeSAM's losses against values worked out by hand, and against the published program's formulas."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from persam_dreambooth.sam.adaptation.losses import (
    LossWeights,
    contrast_loss,
    dice_loss,
    focal_loss,
    grid_masks,
    iou_loss,
    mask_features,
    self_training_loss,
)


def logits_of(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).logit().reshape(1, 1, -1).float()


def test_focal_by_hand():
    # p = 3/4 for the right value: (1/4)^2 ln(4/3); p = 1/4: (3/4)^2 ln 4.
    loss = focal_loss(logits_of(0.75, 0.75), torch.tensor([[[1.0, 0.0]]]))
    assert float(loss) == pytest.approx((math.log(4 / 3) / 16 + 9 / 16 * math.log(4)) / 2, rel=1e-6)


def test_focal_of_several_masks_is_the_sum_of_their_means():
    logits, target = torch.randn(3, 8, 8), (torch.rand(3, 8, 8) > 0.5).float()
    apart = sum(focal_loss(logits[i : i + 1], target[i : i + 1]) for i in range(3))
    assert float(focal_loss(logits, target)) == pytest.approx(float(apart), rel=1e-6)
    # The program's form: alpha, which gets the number of masks, times the mean over all pixels.
    entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    assert float(3 * ((1 - torch.exp(-entropy)) ** 2 * entropy).mean()) == pytest.approx(float(apart))


def test_dice_by_hand():
    # 1 - (2 * 3/4 + e) / (3/4 + 1/4 + 1 + e), for e = 1 and for e = 2.
    logits, target = logits_of(0.75, 0.25), torch.tensor([[[1.0, 0.0]]])
    assert float(dice_loss(logits, target, smoothing=1)) == pytest.approx(1 - 2.5 / 3)
    assert float(dice_loss(logits, target, smoothing=2)) == pytest.approx(1 - 3.5 / 4)


def test_dice_of_several_masks_is_one_ratio_over_all():
    logits, target = torch.randn(4, 6, 6), (torch.rand(4, 6, 6) > 0.5).float()
    p = logits.sigmoid()
    expected = 1 - (2 * (p * target).sum() + 4) / (p.sum() + target.sum() + 4)
    assert float(dice_loss(logits, target, smoothing=4)) == pytest.approx(float(expected))
    flat = dice_loss(logits.reshape(1, 1, -1), target.reshape(1, 1, -1), smoothing=4)
    assert float(flat) == pytest.approx(float(expected))


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_losses_stay_finite_for_empty_and_full_targets(target):
    logits = torch.randn(2, 5, 5, requires_grad=True)
    loss = self_training_loss(logits, torch.rand(2), torch.full((2, 5, 5), target), LossWeights())
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_the_iou_head_is_asked_about_the_mask_from_half_a_logit_on():
    # Logits 0.6 and 0.4: only the first counts, of two in the target: IoU 1/2. The guess is 0.8.
    logits = torch.tensor([[[0.6, 0.4, -3.0]]], requires_grad=True)
    guess = torch.tensor([0.8], requires_grad=True)
    loss = iou_loss(guess, logits, torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert loss.item() == pytest.approx(0.3**2, rel=1e-5)
    loss.backward()
    assert float(guess.grad) == pytest.approx(0.6, rel=1e-5)
    assert logits.grad is None


def test_self_training_adds_its_three_terms_by_their_weights():
    logits, target, guess = torch.randn(2, 4, 4), (torch.rand(2, 4, 4) > 0.5).float(), torch.rand(2)
    expected = (
        20 * focal_loss(logits, target) + dice_loss(logits, target, 2) + iou_loss(guess, logits, target)
    )
    assert float(self_training_loss(logits, guess, target, LossWeights())) == pytest.approx(float(expected))


def test_saturated_right_masks_cost_nothing():
    target = (torch.rand(2, 8, 8) > 0.5).float()
    logits = 40 * target - 20
    assert float(focal_loss(logits, target)) < 1e-6
    assert float(dice_loss(logits, target, 1)) < 1e-6


def test_contrast_of_one_mask_is_0_whatever_its_features():
    assert float(contrast_loss(torch.randn(1, 7), torch.randn(1, 7))) == 0


def test_contrast_of_two_orthogonal_masks_by_hand():
    # S = [[1/t, 0], [0, 1/t]]: log((2 e^(1/t) + 2) / (2 e^(1/t))) = log(1 + e^(-1/0.3)).
    loss = contrast_loss(torch.eye(2), torch.eye(2))
    assert float(loss) == pytest.approx(math.log1p(math.exp(-1 / 0.3)), rel=1e-4)
    assert float(loss) == pytest.approx(0.0350525, abs=1e-6)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_contrast_of_features_that_are_all_alike_is_the_logarithm_of_their_number(number):
    features = torch.randn(1, 9).expand(number, 9)
    assert float(contrast_loss(features, features)) == pytest.approx(math.log(number), rel=1e-5)


def test_contrast_of_swapped_masks():
    # Each is like the other's source, and opposite to its own.
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    expected = math.log((2 * math.exp(-1 / 0.3) + 2 * math.exp(1 / 0.3)) / (2 * math.exp(-1 / 0.3)))
    assert float(contrast_loss(features, -features)) == pytest.approx(expected, rel=1e-5)


def test_contrast_does_not_change_with_order_or_length():
    first, second = torch.randn(4, 6), torch.randn(4, 6)
    order = torch.tensor([2, 0, 3, 1])
    loss = float(contrast_loss(first, second))
    assert float(contrast_loss(first[order], second[order])) == pytest.approx(loss, rel=1e-5)
    assert float(contrast_loss(5 * first, 0.1 * second)) == pytest.approx(loss, rel=1e-5)


def test_contrast_with_an_empty_mask_is_finite_and_so_is_its_gradient():
    features = torch.randn(3, 4, 4, requires_grad=True)
    masks = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    loss = contrast_loss(mask_features(features, masks), torch.randn(2, 3))
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()


def test_features_of_a_mask_by_hand():
    # Two cells, (3, 4) and (0, 2): their directions are (0.6, 0.8) and (0, 1).
    features = torch.tensor([[3.0, 0.0], [4.0, 2.0]]).reshape(2, 1, 2)
    masks = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]]])
    expected = [[0.6, 0.8], [0.3, 0.9], [0.0, 0.0]]
    np.testing.assert_allclose(mask_features(features, masks), expected, atol=1e-6)


def test_the_background_is_what_no_mask_covers():
    logits = torch.tensor([[[5.0, 5.0], [-5.0, -5.0]], [[-5.0, 5.0], [-5.0, -5.0]]])
    assert grid_masks(logits, (2, 2), background=False).tolist() == [[[1, 1], [0, 0]], [[0, 1], [0, 0]]]
    assert grid_masks(logits, (2, 2), background=True)[2].tolist() == [[0, 0], [1, 1]]


def test_with_the_background_one_subject_has_something_to_differ_from():
    features, logits = torch.randn(5, 6, 6), torch.randn(1, 24, 24)
    losses = [
        contrast_loss(*[mask_features(one, grid_masks(logits, (6, 6), background=background))] * 2)
        for one, background in ((features, False), (features, True))
    ]
    assert float(losses[0]) == 0
    assert float(losses[1]) > 0
