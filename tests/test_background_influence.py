"""What of the background arrives in a step: nothing, to the bit, where it is replaced; a number elsewhere."""

import dataclasses
import math

import pytest
import torch
from background_cases import begin_on
from tiny_training import SETTINGS, equal, weights

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.background_influence import (
    NUM_LEVELS,
    Influence,
    background_influence,
    gradient,
    same,
)
from persam_dreambooth.diffusion.background_reach import Reach, background_reach, poisoned
from persam_dreambooth.diffusion.backgrounds import INVARIANT_MODES
from persam_dreambooth.diffusion.dataset import batch_at
from persam_dreambooth.diffusion.losses import Objective, masked_mse


def first_batch(state, examples):
    return batch_at(examples, 0, range(2), examples_per_step=2, num_train_timesteps=1000)


@pytest.mark.parametrize("mode", INVARIANT_MODES)
def test_where_the_background_is_replaced_it_has_no_influence_to_the_bit(mode):
    state, swapped = begin_on(mode)
    one, other = (first_batch(state, examples) for examples in (state.examples, swapped))
    assert same(one, other)
    assert background_influence(state, swapped).by_timestep == dict.fromkeys(range(62, 1000, 125), 0.0)
    # Not because nothing was computed: the gradients themselves are equal.
    (loss, ours), (again, theirs) = gradient(state, one), gradient(state, other)
    assert loss == again
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert any(a.any() for a in ours)


@pytest.mark.parametrize("mode", ["keep", "blur"])
def test_where_it_is_shown_it_has(mode):
    state, swapped = begin_on(mode)
    found = background_influence(state, swapped)
    assert len(found.by_timestep) == NUM_LEVELS
    assert min(found.by_timestep.values()) > 0.001
    assert found.mean == pytest.approx(sum(found.by_timestep.values()) / NUM_LEVELS)
    assert background_influence(state, state.examples).mean == 0


def test_measuring_changes_nothing_of_the_training():
    settings = dataclasses.replace(
        SETTINGS, use_lora=True, train_text_encoder=True, lora_dropout=0.5, gradient_checkpointing=True
    )
    objective = Objective(outside_prior_weight=0.5)
    plain, _ = begin_on(settings=settings, objective=objective)
    asked, swapped = begin_on(settings=settings, objective=objective)
    before = weights(asked)
    assert background_influence(asked, swapped).mean > 0
    assert equal(weights(asked), before)
    assert all(parameter.grad is None for parameter in asked.trained.unet.parameters())
    for state in (plain, asked):
        for _ in training.train(state):
            pass
    assert equal(weights(plain), weights(asked))
    assert not equal(weights(asked), before)


def test_influence_in_numbers():
    assert Influence({100: 0.5, 900: 0.1}).mean == pytest.approx(0.3)


@pytest.mark.parametrize("mode", INVARIANT_MODES)
def test_nan_in_the_background_reaches_nothing_where_it_is_replaced(mode):
    state, _ = begin_on(mode, each_step=True)
    found = background_reach(state, state.examples.instance)
    assert found == Reach(loss_is_number=True, gradient_is_number=True, input_share=0.0)
    assert found.is_none


@pytest.mark.parametrize("mode", ["keep", "blur"])
def test_nan_in_the_background_reaches_the_loss_where_it_is_shown(mode):
    # Also with the loss masked exactly: the mask keeps it out of the target, not out of the input.
    state, _ = begin_on(mode, each_step=True)
    found = background_reach(state, state.examples.instance)
    assert not found.loss_is_number
    assert not found.gradient_is_number
    assert 0.01 < found.input_share < 1
    assert not found.is_none


def test_the_canary_is_in_every_background_pixel_and_in_no_other():
    state, _ = begin_on("keep", each_step=True)
    for picture in state.examples.instance.source.pictures:
        dead = poisoned(picture).pixels.isnan()
        assert torch.equal(dead, (picture.share == 0).expand_as(dead))
        assert dead.any()
    assert math.isfinite(gradient(state, first_batch(state, state.examples))[0])


def test_what_was_encoded_beforehand_cannot_be_asked():
    state, _ = begin_on("keep")
    with pytest.raises(ValueError, match="encoded in every step"):
        background_reach(state, state.examples.instance)


def test_class_pictures_are_the_same_whatever_is_behind_the_subject():
    state, swapped = begin_on("keep")
    of_class = state.examples.instance
    one, other = (
        first_batch(state, dataclasses.replace(examples, class_images=of_class))
        for examples in (state.examples, swapped)
    )
    for name in ("latents", "noise", "timesteps", "loss_mask"):
        assert torch.equal(getattr(one, name)[2:], getattr(other, name)[2:])
    assert one.names[2:] == other.names[2:]
    assert not torch.equal(one.latents[:2], other.latents[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_by_the_prediction_outside_the_mask(dtype):
    torch.manual_seed(1)
    pred = torch.randn(2, 4, 8, 8).to(dtype).requires_grad_()
    mask = torch.zeros(2, 1, 8, 8)
    mask[..., 4:] = 1
    masked_mse(pred, torch.randn(2, 4, 8, 8), mask).backward()
    assert (pred.grad[..., :4] == 0).all()
    assert (pred.grad[..., 4:] != 0).all()
