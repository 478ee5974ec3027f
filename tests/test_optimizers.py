"""Optimizers: groups with rates of their own, AdamW's formula, and a line where a package is missing."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.optimizers import (
    build_optimizer,
    parameter_groups,
    set_learning_rate,
)
from persam_dreambooth.errors import UserError
from persam_dreambooth.settings import TrainConfig

SETTINGS = TrainConfig(
    learning_rate=1e-2,
    text_encoder_lr=1e-3,
    adam_weight_decay=0.1,
    adam_weight_decay_text_encoder=0.2,
    adam_beta1=0.8,
    adam_beta2=0.95,
    adam_epsilon=1e-4,
)


def networks():
    torch.manual_seed(0)
    return Networks(nn.Linear(3, 2), (nn.Linear(2, 2), nn.Linear(4, 1)), SDXL)


def gradients(groups, seed):
    generator = torch.Generator().manual_seed(seed)
    for group in groups:
        for weight in group["params"]:
            weight.grad = torch.randn(weight.shape, generator=generator)


def test_every_network_is_a_group_with_its_own_rate_and_decay():
    parts = networks()
    parts.unet.bias.requires_grad_(False)
    groups = parameter_groups(parts, SETTINGS, examples_per_step=8)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (1e-2, 0.1),
        (1e-3, 0.2),
        (1e-3, 0.2),
    ]
    assert [weight is parts.unet.weight for weight in groups[0]["params"]] == [True]
    assert [list(map(id, g["params"])) for g in groups[1:]] == [
        list(map(id, encoder.parameters())) for encoder in parts.text_encoders
    ]


def test_without_values_of_their_own_text_encoders_take_the_unets():
    settings = replace(SETTINGS, text_encoder_lr=None, adam_weight_decay_text_encoder=None)
    groups = parameter_groups(networks(), settings, examples_per_step=1)
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {(1e-2, 0.1)}


@pytest.mark.parametrize(("own", "expected"), [(None, 0.08), (1e-2, 0.08), (1e-3, 1e-3)])
def test_scale_lr_multiplies_by_the_examples_of_a_step_as_diffusers_does(own, expected):
    settings = replace(SETTINGS, scale_lr=True, text_encoder_lr=own)
    groups = parameter_groups(networks(), settings, examples_per_step=8)
    assert [group["lr"] for group in groups] == pytest.approx([0.08, expected, expected])


def test_adamw_takes_the_steps_of_its_formula():
    groups = parameter_groups(networks(), SETTINGS, examples_per_step=1)
    optimizer = build_optimizer(groups, SETTINGS)
    weight, (rate, decay) = groups[1]["params"][0], (1e-3, 0.2)
    expected, mean, square = weight.detach().clone(), 0.0, 0.0
    for step in range(1, 4):
        gradients(groups, step)
        # Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
        mean = 0.8 * mean + 0.2 * weight.grad
        square = 0.95 * square + 0.05 * weight.grad**2
        expected -= rate * decay * expected
        expected -= rate * (mean / (1 - 0.8**step)) / ((square / (1 - 0.95**step)).sqrt() + 1e-4)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), expected)
    assert all(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("rate", [0.5, torch.tensor(0.5)])
def test_a_rate_is_set_where_it_is_a_number_and_where_it_is_a_tensor(rate):
    group = {"lr": rate}
    set_learning_rate(group, 0.25)
    assert float(group["lr"]) == 0.25
    assert isinstance(group["lr"], type(rate))


def test_prodigy_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    settings = replace(SETTINGS, optimizer="prodigy", learning_rate=1.0)
    with pytest.raises(UserError, match=r"^--optimizer prodigy: .*not installed.*pip install prodigyopt"):
        build_optimizer(parameter_groups(networks(), settings, examples_per_step=1), settings)


def test_prodigy_takes_one_rate_for_all_networks():
    settings = replace(SETTINGS, optimizer="prodigy", learning_rate=1.0)
    groups = parameter_groups(networks(), settings, examples_per_step=1)
    assert [group["lr"] for group in groups] == [1.0, 1.0, 1.0]


def test_prodigy_finds_a_rate(capsys):
    pytest.importorskip("prodigyopt")
    settings = replace(
        SETTINGS,
        optimizer="prodigy",
        learning_rate=1.0,
        prodigy_beta3=0.9,
        prodigy_safeguard_warmup=False,
        prodigy_decouple=False,
    )
    groups = parameter_groups(networks(), settings, examples_per_step=1)
    optimizer = build_optimizer(groups, settings)
    for _ in range(5):
        gradients(groups, 0)
        optimizer.step()
    group = optimizer.param_groups[0]
    assert group["d"] > group["d0"]
    assert (group["beta3"], group["safeguard_warmup"], group["decouple"]) == (0.9, False, False)
    assert group["use_bias_correction"] is True
    assert capsys.readouterr().out == ""


def test_prodigy_with_adams_rate_says_so():
    pytest.importorskip("prodigyopt")
    settings = replace(SETTINGS, optimizer="prodigy")
    groups = parameter_groups(networks(), settings, examples_per_step=1)
    with pytest.warns(UserWarning, match="hardly anything will be learnt; 1 is usual") as said:
        build_optimizer(groups, settings)
    assert len(said) == 1


def test_8_bit_adam_missing_is_one_line(monkeypatch):
    for name in ("bitsandbytes", "torchao"):
        monkeypatch.setitem(sys.modules, name, None)
    settings = replace(SETTINGS, use_8bit_adam=True)
    with pytest.raises(
        UserError,
        match=r"^--use_8bit_adam: bitsandbytes is not installed and torchao is not installed; one .*\.$",
    ):
        build_optimizer(parameter_groups(networks(), settings, examples_per_step=1), settings)


def test_8_bit_adam_that_cannot_step_on_the_device_is_one_line(monkeypatch):
    class NoKernel(torch.optim.AdamW):
        def step(self):
            raise RuntimeError("no kernel\nfor this device")

    package, module = type(sys)("bitsandbytes"), type(sys)("bitsandbytes.optim")
    module.AdamW8bit = NoKernel
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", module)
    monkeypatch.setitem(sys.modules, "torchao", None)
    settings = replace(SETTINGS, use_8bit_adam=True)
    with pytest.raises(UserError, match=r"bitsandbytes does not work on this cpu \(no kernel for this"):
        build_optimizer(parameter_groups(networks(), settings, examples_per_step=1), settings)


def test_8_bit_adam_steps_as_adam_does():
    pytest.importorskip("bitsandbytes")
    results = {}
    for eight in (False, True):
        parts = Networks(nn.Linear(96, 64), (), SD)
        nn.init.ones_(parts.unet.weight)
        settings = replace(SETTINGS, use_8bit_adam=eight)
        groups = parameter_groups(parts, settings, examples_per_step=1)
        optimizer = build_optimizer(groups, settings)
        for step in range(5):
            gradients(groups, step)
            optimizer.step()
        results[eight] = parts.unet.weight.detach()
        state = optimizer.state[parts.unet.weight]
    assert {value.dtype for value in state.values() if torch.is_tensor(value) and value.numel() > 4096} == {
        torch.uint8
    }
    moved = (results[False] - 1).abs().mean()
    assert (results[True] - results[False]).abs().mean() < 0.05 * moved
