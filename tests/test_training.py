"""Training: accumulation is exact, a run is a function of its settings, what is trained and what is not."""

from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny_pipelines import tiny_models
from tiny_training import SETTINGS, begin, equal, first_batch, weights

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.adapters import has_lora
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.step import diffusion_loss
from persam_dreambooth.errors import UserError


def prediction(networks, batch):
    with torch.no_grad():
        return networks.unet(batch.latents, batch.timesteps, batch.conditions.prompt_embeds).sample


@pytest.mark.parametrize("use_lora", [False, True])
def test_the_outside_prior_holds_the_base_models_prediction(use_lora):
    objective = Objective(outside_prior_weight=1.0)
    state = begin(replace(SETTINGS, use_lora=use_lora), objective)
    progress = list(training.train(state))
    assert progress[0].outside_loss == 0
    assert progress[-1].outside_loss > 0
    assert progress[-1].loss == pytest.approx(progress[-1].instance_loss + progress[-1].outside_loss)
    # The base still predicts what the untouched model does, and the trained one does not.
    batch, untouched = first_batch(state), replace(state.networks, unet=tiny_models().unet)
    losses, reference = (
        diffusion_loss(state.networks, state.noise_scheduler, batch, objective, base)
        for base in (state.base, untouched)
    )
    torch.testing.assert_close(losses.outside, reference.outside)
    assert not torch.equal(prediction(state.networks, batch), prediction(untouched, batch))


def test_the_outside_prior_keeps_the_outside_nearer():
    drift = {}
    for weight in (0.0, 30.0):
        state = begin(objective=Objective(outside_prior_weight=weight), steps=12)
        list(training.train(state))
        probe, base = Objective(outside_prior_weight=1.0), replace(state.networks, unet=tiny_models().unet)
        losses = diffusion_loss(state.networks, state.noise_scheduler, first_batch(state), probe, base)
        drift[weight] = losses.outside.item()
    assert drift[30.0] < 0.7 * drift[0.0]


def test_no_base_model_where_nothing_is_outside():
    assert begin(objective=Objective(outside_prior_weight=1.0), with_masks=False).base is None


@pytest.mark.parametrize(
    ("objective", "with_class"),
    [
        (Objective(outside_prior_weight=0.5), False),
        (Objective(outside_prior_weight=0.5, mask_normalization="none", prior_loss_weight=0.7), True),
        (Objective(snr_gamma=2.0), True),
    ],
)
@pytest.mark.parametrize("use_lora", [False, True])
def test_accumulation_is_exact(objective, with_class, use_lora):
    settings = replace(SETTINGS, use_lora=use_lora, train_text_encoder=use_lora, noise_offset=0.1)
    # An epsilon that keeps AdamW from turning the last bits of a gradient near 0 into whole steps.
    settings = replace(settings, adam_epsilon=1e-3)
    shapes = {"whole": (4, 1), "parts": (1, 4)}
    states, records = {}, {}
    for name, (batch, passes) in shapes.items():
        shape = replace(settings, train_batch_size=batch, gradient_accumulation_steps=passes)
        states[name] = begin(shape, objective, with_class=with_class)
        records[name] = list(training.train(states[name]))
    for one, other in zip(records["whole"], records["parts"], strict=True):
        for field in ("loss", "instance_loss", "prior_loss", "outside_loss", "grad_norm"):
            assert getattr(one, field) == pytest.approx(getattr(other, field), rel=1e-5, abs=1e-6)
    whole, parts = weights(states["whole"]), weights(states["parts"])
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], rtol=1e-4, atol=1e-6)
    assert states["whole"].what_matters == states["parts"].what_matters


def test_accelerates_own_accumulation_changes_nothing(monkeypatch):
    plain = next(training.train(begin()))
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert next(training.train(begin())).grad_norm == plain.grad_norm


def test_a_run_is_a_function_of_its_seed():
    runs = []
    for seed in (0, 0, 1):
        state = begin(replace(SETTINGS, use_lora=True, lora_dropout=0.3), seed=seed)
        torch.randn(seed + len(runs) + 1)
        list(training.train(state))
        runs.append(weights(state))
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_dropout_follows_from_the_step_and_not_from_what_was_drawn_before():
    settings = replace(SETTINGS, use_lora=True, lora_dropout=0.3)
    straight, interrupted = begin(settings), begin(settings)
    list(training.train(straight))
    for _ in training.train(interrupted):
        torch.randn(7)
    assert equal(weights(straight), weights(interrupted))
    assert not equal(weights(straight), weights(begin(settings)))


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, train_text_encoder=True, use_lora=True)])
def test_gradient_checkpointing_changes_nothing(settings):
    plain, checkpointed = begin(settings), begin(replace(settings, gradient_checkpointing=True))
    assert [p.loss for p in training.train(plain)] == [p.loss for p in training.train(checkpointed)]
    assert equal(weights(plain), weights(checkpointed))
    assert plain.what_matters == checkpointed.what_matters


def test_lora_trains_only_adapters_from_where_the_base_model_is():
    before = tiny_models().unet.state_dict()
    state = begin(replace(SETTINGS, use_lora=True, rank=2))
    batch = first_batch(state)
    untouched = prediction(replace(state.networks, unet=tiny_models().unet), batch)
    assert torch.equal(prediction(state.networks, batch), untouched)
    (unet,) = state.networks.modules
    targets = {n.split(".lora_")[0].split(".")[-1] for n, w in unet.named_parameters() if w.requires_grad}
    assert targets == {"to_q", "to_k", "to_v", "0"}
    list(training.train(state))
    unet = training.finish(state).unet
    assert has_lora(unet)
    after = {name.replace(".base_layer", ""): value for name, value in unet.state_dict().items()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not unet.training
    assert not torch.equal(prediction(state.trained, batch), untouched)


def test_first_adapters_follow_from_the_seed():
    torch.manual_seed(5)
    one = weights(begin(replace(SETTINGS, use_lora=True)))
    assert equal(one, weights(begin(replace(SETTINGS, use_lora=True))))
    assert not equal(one, weights(begin(replace(SETTINGS, use_lora=True), seed=1)))


@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_what_is_trained_is_float32_and_what_is_frozen_is_not_larger_than_needed(mixed_precision):
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        settings = replace(SETTINGS, use_lora=True, train_text_encoder=True)
        state = begin(settings, Objective(outside_prior_weight=1.0), mixed_precision=mixed_precision)
        small = {"no": torch.float32, "bf16": torch.bfloat16}[mixed_precision]
        for module in state.networks.modules:
            types = {(w.requires_grad, w.dtype) for n, w in module.named_parameters() if "norm" not in n}
            assert types == {(True, torch.float32), (False, small)}
        progress = list(training.train(state))
        assert all(p.loss > 0 for p in progress)
        moments = [m for moments in state.optimizer.state.values() for m in moments.values()]
        assert {moment.dtype for moment in moments} == {torch.float32}
        finished = training.finish(state)
        assert {w.dtype for module in finished.modules for w in module.parameters()} == {torch.float32}
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_the_learning_rate_is_diffusers_schedule():
    settings = replace(SETTINGS, lr_scheduler="linear", lr_warmup_steps=2)
    rates = [progress.lr for progress in training.train(begin(settings, steps=6))]
    assert rates == pytest.approx([0, 0.5e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_training_learns():
    state = begin(replace(SETTINGS, learning_rate=2e-3), steps=60)
    losses = [progress.instance_loss for progress in training.train(state)]
    assert sum(losses[-15:]) < 0.9 * sum(losses[:15])


def test_gradients_are_scaled_down_to_the_norm_that_is_asked_for():
    # AdamW's first step does not depend on the gradient's size, but with a large epsilon it does.
    settings = replace(SETTINGS, adam_epsilon=1.0, adam_weight_decay=0.0)
    moved, norms = {}, {}
    for limit in (1e9, 0.01):
        state = begin(replace(settings, max_grad_norm=limit), steps=1)
        before = weights(state)
        norms[limit] = next(training.train(state)).grad_norm
        moved[limit] = (
            sum((value - before[name]).norm() ** 2 for name, value in weights(state).items()) ** 0.5
        )
    assert norms[1e9] == norms[0.01] > 0.01
    assert moved[0.01] == pytest.approx(1e-3 * 0.01, rel=0.05)
    assert moved[1e9] > 10 * moved[0.01]


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
