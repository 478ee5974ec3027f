"""Training: the step is the formula, gradients stay inside the mask, a run is a function of its settings."""

from dataclasses import replace

import pytest
import torch
from tiny_pipelines import tiny_models
from tiny_training import SETTINGS, begin, equal, first_batch, weights
from torch.nn.functional import mse_loss

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.adapters import has_lora
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.step import diffusion_loss
from persam_dreambooth.errors import UserError


def test_without_masks_the_loss_is_diffusers():
    state = begin(with_masks=False, with_class=True)
    batch = first_batch(state)
    losses = diffusion_loss(state.unet, state.noise_scheduler, batch, Objective(prior_loss_weight=0.7))
    # As in diffusers' train_dreambooth.py: chunk, two means, their weighted sum.
    noisy = state.noise_scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    pred = state.unet(noisy, batch.timesteps, batch.prompt_embeds, return_dict=False)[0]
    (pred, pred_prior), (target, target_prior) = pred.chunk(2), batch.noise.chunk(2)
    loss = mse_loss(pred, target) + 0.7 * mse_loss(pred_prior, target_prior)
    assert torch.equal(losses.total, loss)
    assert losses.outside == 0


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_no_gradient_with_respect_to_the_prediction_outside_the_mask(prediction_type):
    state = begin()
    state.noise_scheduler.register_to_config(prediction_type=prediction_type)
    batch = first_batch(state)
    mask = torch.zeros_like(batch.loss_mask)
    mask[:, :, 1:3, 1:4] = 1
    predictions = []
    state.unet.register_forward_hook(lambda module, inputs, out: predictions.append(out.sample))
    losses = diffusion_loss(state.unet, state.noise_scheduler, replace(batch, loss_mask=mask), Objective())
    (gradient,) = torch.autograd.grad(losses.total, predictions[0])
    inside = mask.expand_as(gradient) > 0
    assert (gradient[~inside] == 0).all()
    assert (gradient[inside] != 0).all()


@pytest.mark.parametrize("use_lora", [False, True])
def test_the_outside_prior_holds_the_base_models_prediction(use_lora):
    objective = Objective(outside_prior_weight=1.0)
    state = begin(replace(SETTINGS, use_lora=use_lora), objective)
    progress = list(training.train(state))
    assert progress[0].outside_loss == 0
    assert progress[-1].outside_loss > 0
    assert progress[-1].loss == pytest.approx(progress[-1].instance_loss + progress[-1].outside_loss)
    # The base still predicts what the untouched model does, and the trained one does not.
    batch, untouched = first_batch(state), tiny_models().unet
    inputs = (batch.latents, batch.timesteps, batch.prompt_embeds)
    losses = diffusion_loss(state.unet, state.noise_scheduler, batch, objective, state.base_unet)
    reference = diffusion_loss(state.unet, state.noise_scheduler, batch, objective, untouched)
    torch.testing.assert_close(losses.outside, reference.outside)
    with torch.no_grad():
        assert not torch.equal(state.unet(*inputs).sample, untouched(*inputs).sample)


def test_the_outside_prior_keeps_the_outside_nearer():
    drift = {}
    for weight in (0.0, 30.0):
        state = begin(objective=Objective(outside_prior_weight=weight), steps=12)
        list(training.train(state))
        batch = first_batch(state)
        probe = Objective(outside_prior_weight=1.0)
        base = tiny_models().unet
        drift[weight] = diffusion_loss(state.unet, state.noise_scheduler, batch, probe, base).outside.item()
    assert drift[30.0] < 0.7 * drift[0.0]


def test_no_base_model_where_nothing_is_outside():
    assert begin(objective=Objective(outside_prior_weight=1.0), with_masks=False).base_unet is None


@pytest.mark.parametrize("with_class", [False, True])
def test_accumulation_is_exact(with_class):
    objective = Objective(outside_prior_weight=0.5)
    whole = begin(replace(SETTINGS, train_batch_size=4), objective, with_class=with_class)
    parts = begin(
        replace(SETTINGS, train_batch_size=1, gradient_accumulation_steps=4), objective, with_class=with_class
    )
    for one, other in zip(training.train(whole), training.train(parts), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)
        assert one.prior_loss == pytest.approx(other.prior_loss, rel=1e-4)
    assert whole.what_matters == parts.what_matters


def test_a_run_is_a_function_of_its_seed():
    runs = []
    for seed in (0, 0, 1):
        state = begin(seed=seed)
        torch.randn(seed + len(runs) + 1)
        list(training.train(state))
        runs.append(weights(state))
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_gradient_checkpointing_changes_nothing():
    plain, checkpointed = begin(), begin(replace(SETTINGS, gradient_checkpointing=True))
    assert [p.loss for p in training.train(plain)] == [p.loss for p in training.train(checkpointed)]
    assert equal(weights(plain), weights(checkpointed))


def test_lora_trains_only_adapters_from_where_the_base_model_is():
    before = tiny_models().unet.state_dict()
    state = begin(replace(SETTINGS, use_lora=True, rank=2))
    batch = first_batch(state)
    inputs = (batch.latents, batch.timesteps, batch.prompt_embeds)
    with torch.no_grad():
        untouched = tiny_models().unet(*inputs).sample
        assert torch.equal(state.unet(*inputs).sample, untouched)
    trained = {name: value for name, value in state.unet.named_parameters() if value.requires_grad}
    assert {value.dtype for value in trained.values()} == {torch.float32}
    targets = {name.split(".lora_")[0].split(".")[-1] for name in trained}
    assert targets == {"to_q", "to_k", "to_v", "0"}
    list(training.train(state))
    unet = training.finish(state)
    assert has_lora(unet)
    after = {name.replace(".base_layer", ""): value for name, value in unet.state_dict().items()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not unet.training
    with torch.no_grad():
        assert not torch.equal(unet(*inputs).sample, untouched)


def test_first_adapters_follow_from_the_seed():
    torch.manual_seed(5)
    one = weights(begin(replace(SETTINGS, use_lora=True)))
    assert equal(one, weights(begin(replace(SETTINGS, use_lora=True))))
    assert not equal(one, weights(begin(replace(SETTINGS, use_lora=True), seed=1)))


def test_the_learning_rate_is_diffusers_schedule():
    settings = replace(SETTINGS, lr_scheduler="linear", lr_warmup_steps=2)
    rates = [progress.lr for progress in training.train(begin(settings, steps=6))]
    assert rates == pytest.approx([0, 0.5e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_training_learns():
    state = begin(replace(SETTINGS, learning_rate=2e-3), steps=60)
    losses = [progress.instance_loss for progress in training.train(state)]
    assert sum(losses[-15:]) < 0.9 * sum(losses[:15])


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights():
    state = begin(steps=5)
    steps = training.train(state)
    next(steps)
    before = weights(state)
    state.examples.instance.moments[:] = float("nan")
    with pytest.raises(
        UserError, match=r"step 2: the loss is nan \(photos 0\d\.png.*last checkpoint is kept"
    ):
        next(steps)
    assert state.step == 1
    assert equal(before, weights(state))


def test_half_precision_needs_a_gpu():
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine can do fp16")
    with pytest.raises(UserError, match=r"--mixed_precision fp16: .*Use bf16 or no\."):
        training.build_accelerator("fp16")
