"""Learning rates: diffusers' schedules as functions of the step."""

import pytest
import torch
from diffusers.optimization import get_scheduler

from persam_dreambooth.diffusion.schedules import FALLING, learning_rates

NAMES = ("constant", "constant_with_warmup", *FALLING)


@pytest.mark.parametrize("name", NAMES)
def test_learning_rates_are_those_of_diffusers(name):
    rate = learning_rates(name, 3e-4, warmup_steps=4, num_steps=20, num_cycles=2, power=2.0)
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=3e-4)
    schedule = get_scheduler(
        name, optimizer, num_warmup_steps=4, num_training_steps=20, num_cycles=2, power=2.0
    )
    for step in range(20):
        assert rate(step) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_called_falling_depends_on_the_length_of_the_run(name):
    short, long = (learning_rates(name, 1.0, warmup_steps=2, num_steps=steps) for steps in (10, 30))
    assert [short(step) == long(step) for step in range(3)] == [True] * 3
    assert (short(8) != long(8)) == (name in FALLING)
