"""Memory: the estimate counts what torch allocates, and its errors tell what to try."""

import itertools
import re
from dataclasses import replace

import pytest
import torch
from tiny_training import SETTINGS, begin, weights

from persam_dreambooth.diffusion import memory, training
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.errors import UserError


def sizes(state):
    return [w.numel() for module in state.trained.modules for w in module.parameters() if w.requires_grad]


def test_weights_and_optimizer_are_counted_by_the_byte():
    state = begin(replace(SETTINGS, train_text_encoder=True))
    estimate = training.memory_of(state)
    modules = (*state.trained.modules, *state.resting)
    every = [weight.numel() for module in modules for weight in module.parameters()]
    assert estimate.weights == 4 * sum(every)
    next(training.train(state))
    moments = [m for kept in state.optimizer.state.values() for m in kept.values() if m.numel() > 1]
    # Weights of one element have moments of one element, which look like the counts of steps.
    assert estimate.optimizer == pytest.approx(sum(m.numel() * 4 for m in moments), abs=64)
    assert estimate.total == estimate.weights + estimate.optimizer + estimate.step


def test_the_step_is_what_torch_allocates():
    state = begin(replace(SETTINGS, train_batch_size=1))
    batch, unet = training._batch(state, 0), state.trained.unet
    predicted = memory.step_peak(state.trained, batch)
    with torch.profiler.profile(profile_memory=True) as profiler:
        pred = unet(batch.latents, batch.timesteps, batch.conditions.prompt_embeds).sample
        torch.autograd.grad(pred.float().square().mean(), list(unet.parameters()))
        del pred
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    assert predicted == max(itertools.accumulate(event.nbytes() for event in events))


def test_nothing_is_left_behind():
    state = begin()
    before = weights(state)
    training.memory_of(state)
    assert all(weight.grad is None for weight in state.networks.unet.parameters())
    assert all(type(value) is torch.Tensor for value in weights(state).values())
    assert [value.equal(before[name]) for name, value in weights(state).items()] == [True] * len(before)
    assert next(training.train(state)).loss == next(training.train(begin())).loss


def test_what_saves_memory_is_seen_to():
    def step(**options):
        return training.memory_of(begin(replace(SETTINGS, **options)))

    plain, large = step(), step(train_batch_size=8)
    assert large.step > 1.5 * plain.step
    assert step(train_batch_size=8, gradient_checkpointing=True).step < 0.9 * large.step
    lora = step(use_lora=True)
    assert lora.step < plain.step
    assert lora.optimizer < 0.1 * plain.optimizer
    gradients = 4 * sum(sizes(begin()))
    assert step(gradient_accumulation_steps=2).step == plain.step + gradients


@pytest.mark.parametrize(
    ("options", "bytes_each"), [({"use_8bit_adam": True}, 2), ({"optimizer": "prodigy"}, 16)]
)
def test_the_optimizers_numbers_for_each_weight(options, bytes_each):
    state = begin()
    settings = replace(state.settings, **options)
    contents = memory.Contents(state.trained, None, (), training._batch(state, 0), settings)
    assert memory.estimate(contents).optimizer == bytes_each * sum(sizes(state))


def test_a_frozen_copy_weighs_too():
    plain, held = begin(), begin(objective=Objective(outside_prior_weight=1.0))
    unet = 4 * sum(weight.numel() for weight in plain.trained.unet.parameters())
    assert training.memory_of(held).weights == training.memory_of(plain).weights + unet
    adapted = replace(SETTINGS, use_lora=True)
    plain, held = begin(adapted), begin(adapted, Objective(outside_prior_weight=1.0))
    assert training.memory_of(held).weights == training.memory_of(plain).weights


def test_it_reads_as_a_line():
    estimate = memory.MemoryEstimate(weights=3 * 2**30, optimizer=2**29, step=2**30 + 2**29)
    assert str(estimate) == (
        "5.0 GiB (weights 3.0 GiB, optimizer 512.0 MiB, activations and gradients 1.5 GiB)"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, expected):
    assert memory.is_out_of_memory(error) is expected


def test_out_of_memory_says_the_step_and_what_to_try_with_numbers():
    state = begin(with_class=True)

    errors = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")]

    def fail_once(*inputs):
        if errors:
            raise errors.pop()

    steps = training.train(state)
    next(steps)
    handle = state.networks.unet.mid_block.register_forward_hook(fail_once)
    before = weights(state)
    with pytest.raises(UserError) as caught:
        next(steps)
    handle.remove()
    text = str(caught.value)
    assert text.startswith(
        "step 2: out of memory (CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...)"
    )
    size = r"\(\d+\.\d [GM]iB\)"
    assert torch.equal(before["0.conv_in.weight"], weights(state)["0.conv_in.weight"])
    for way in (
        "--gradient_checkpointing",
        "--train_batch_size 1 --gradient_accumulation_steps 2",
        "--use_8bit_adam",
        "--use_lora",
    ):
        assert re.search(way + " " + size, text), way
    assert text.endswith("a lower --resolution. The last checkpoint is kept.")
