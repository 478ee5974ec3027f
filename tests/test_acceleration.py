"""How a step is computed: nothing here changes what it computes; what is not there is said in one line."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from tiny_training import SETTINGS, begin, equal, weights
from torch import nn

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.acceleration import cast_weights
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.errors import UserError

# torch's compiler warns of its own imports and of what it looks at.
COMPILERS_WARNINGS = pytest.mark.filterwarnings("ignore")


def test_frozen_weights_are_cast_and_trained_ones_and_norms_are_not():
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    module.requires_grad_(False)[2].requires_grad_(True)
    module[2].half()
    cast_weights(module, torch.bfloat16)
    types = [part.weight.dtype for part in module]
    assert types == [torch.bfloat16, torch.float32, torch.float32]


def test_attention_is_pytorchs_own_by_default():
    processors = begin().networks.unet.attn_processors.values()
    assert {type(processor).__name__ for processor in processors} == {"AttnProcessor2_0"}


def test_xformers_that_is_not_there_is_one_line():
    if torch.cuda.is_available() and importlib.util.find_spec("xformers"):
        pytest.skip("this machine has xformers")
    with pytest.raises(
        UserError, match=r"^--enable_xformers_memory_efficient_attention: cannot be used \(.*\);"
    ):
        begin(replace(SETTINGS, enable_xformers_memory_efficient_attention=True))


def test_channels_last_changes_the_layout_and_not_the_steps():
    plain, turned = begin(), begin(replace(SETTINGS, channels_last=True))
    layouts = [
        state.networks.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        for state in (plain, turned)
    ]
    assert layouts == [False, True]
    for one, other in zip(training.train(plain), training.train(turned), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
    assert plain.what_matters == turned.what_matters


def test_tf32_is_switched_on_only_when_asked_for():
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = False
        begin()
        assert not torch.backends.cuda.matmul.allow_tf32
        begin(replace(SETTINGS, allow_tf32=True))
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@COMPILERS_WARNINGS
def test_only_the_blocks_that_repeat_are_compiled():
    state = begin(replace(SETTINGS, compile=True))
    compiled = {type(m).__name__ for m in state.networks.unet.modules() if m._compiled_call_impl is not None}
    assert compiled == {"BasicTransformerBlock"}
    assert weights(state).keys() == weights(begin()).keys()
    assert training.memory_of(state) == training.memory_of(begin())
    assert state.what_matters == begin().what_matters


@pytest.mark.slow
@COMPILERS_WARNINGS
def test_compiled_blocks_take_the_same_steps():
    plain, compiled = begin(steps=1), begin(replace(SETTINGS, compile=True), steps=1)
    for one, other in zip(training.train(plain), training.train(compiled), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


def test_what_no_step_needs_is_off_the_device():
    state = begin(replace(SETTINGS, train_text_encoder=True))
    assert [type(part).__name__ for part in state.resting] == ["AutoencoderKL"]
    assert [type(part).__name__ for part in begin().resting] == ["CLIPTextModel", "AutoencoderKL"]


def test_drawing_between_steps_changes_nothing():
    straight, drawn = begin(), begin()
    list(training.train(straight))
    for _ in training.train(drawn):
        with training.drawing(drawn):
            assert not any(module.training for module in drawn.networks.modules)
            torch.randn(3)
        assert all(module.training for module in drawn.networks.modules)
    assert equal(weights(straight), weights(drawn))


def test_the_networks_at_the_end_are_those_at_the_start():
    state = begin(replace(SETTINGS, train_text_encoder=True))
    list(training.train(state))
    before = weights(state)
    finished = training.finish(state)
    assert isinstance(finished, Networks)
    assert equal(before, weights(state))
    assert not any(weight.requires_grad for module in finished.modules for weight in module.parameters())
    assert not any(module.training for module in finished.modules)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 needs a GPU")
def test_fp16_scales_its_gradients_and_learns():
    state = begin(replace(SETTINGS, use_lora=True), mixed_precision="fp16", steps=20)
    losses = [progress.instance_loss for progress in training.train(state)]
    assert state.accelerator.scaler is not None
    assert all(weight.isfinite().all() for weight in weights(state).values())
    assert sum(losses[-5:]) < sum(losses[:5])
