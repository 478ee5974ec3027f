"""Text encoders in training, with rates of their own, and every kind of model."""

from dataclasses import replace

import pytest
import torch
from tiny_pipelines import tiny_models
from tiny_training import SETTINGS, begin, first_batch, weights

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.networks import current_conditions

TEXT = replace(SETTINGS, train_text_encoder=True)


def changed(state, before):
    """Names of the weights that training changed, by network."""
    names = {n: [] for n in range(len(state.networks.modules))}
    for name, value in weights(state).items():
        if not torch.equal(value, before[name]):
            number, path = name.split(".", 1)
            names[int(number)].append(path)
    return names


@pytest.mark.parametrize(("kind", "count"), [("sd", 2), ("sdxl", 3)])
@pytest.mark.parametrize("use_lora", [False, True])
def test_every_network_learns(kind, count, use_lora):
    state = begin(replace(TEXT, use_lora=use_lora), kind=kind)
    before = weights(state)
    list(training.train(state))
    names = changed(state, before)
    assert len(names) == count
    assert all(names.values())
    if use_lora:
        assert all("lora" in path for paths in names.values() for path in paths)


def test_a_rate_of_their_own_moves_text_encoders_by_as_much():
    # AdamW's first step moves each weight by its rate, whatever the gradient.
    settings = replace(TEXT, text_encoder_lr=1e-5, adam_weight_decay=0.0, adam_epsilon=1e-20)
    state = begin(settings, steps=1)
    before = weights(state)
    next(training.train(state))
    moved = {
        number: max((v - before[n]).abs().max() for n, v in weights(state).items() if n[0] == number)
        for number in "01"
    }
    assert float(moved["0"]) == pytest.approx(1e-3, rel=1e-3)
    assert float(moved["1"]) == pytest.approx(1e-5, rel=1e-2)


def test_what_nothing_depends_on_is_not_trained():
    state = begin(TEXT, kind="sdxl")
    encoder, second = state.networks.text_encoders
    frozen = [
        {n for n, w in module.named_parameters() if not w.requires_grad} for module in (encoder, second)
    ]
    last = encoder.config.num_hidden_layers - 1
    # The first encoder is read before its last layer; the second's last layer makes the pooled vector.
    assert frozen[0]
    assert all(f"layers.{last}." in name or "final_layer_norm" in name for name in frozen[0])
    assert not frozen[1]
    assert not [n for n, w in begin(TEXT).networks.text_encoders[0].named_parameters() if not w.requires_grad]


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_before_the_first_step_they_read_what_was_cached(kind):
    state = begin(TEXT, kind=kind)
    batch = first_batch(state)
    now = current_conditions(state.networks, batch.conditions, batch.input_ids)
    torch.testing.assert_close(now.prompt_embeds, batch.conditions.prompt_embeds)
    list(training.train(state))
    after = current_conditions(state.networks, batch.conditions, batch.input_ids)
    assert (after.prompt_embeds - batch.conditions.prompt_embeds).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["sd_v", "sd_sample", "sd_learned", "sdxl_edm"])
def test_every_kind_of_model_learns(kind):
    state = begin(replace(SETTINGS, use_lora=True), kind=kind, steps=2)
    before = weights(state)
    assert all(progress.loss > 0 for progress in training.train(state))
    assert all(changed(state, before).values())


def test_frozen_text_encoders_stay_as_they_were():
    state = begin()
    list(training.train(state))
    untouched = tiny_models().text_encoders[0].state_dict()
    now = state.resting[0].state_dict()
    assert all(torch.equal(value, now[name]) for name, value in untouched.items())
