"""Outside the mask the target is the base model: its own prediction, adapters off or a frozen copy."""

from dataclasses import replace

import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler
from tiny_steps import BETAS, ddpm, random_batch, tiny_networks
from torch.nn.functional import mse_loss

from persam_dreambooth.diffusion.adapters import add_lora, frozen_copy
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.snr import min_snr_weights
from persam_dreambooth.diffusion.step import diffusion_loss

HOLD = Objective(outside_prior_weight=0.5)


def drifted(family=SD, *, use_lora=False, dropout=0.0, with_text=False):
    """Networks that have learned something, and the base they came from, as training has them."""
    networks = tiny_networks(family, with_text=with_text)
    unet = networks.unet
    base = Networks(unet if use_lora else frozen_copy(unet), (), family)
    if use_lora:
        target_modules = ("to_q", "to_k", "to_v", "to_out.0")
        add_lora(unet, rank=2, dropout=dropout, target_modules=target_modules, seed=0, name="unet")
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return networks, base


def outputs_of(unet):
    """What the UNet returns from now on, call by call."""
    outputs = []
    unet.register_forward_hook(lambda module, inputs, output: outputs.append(output[0]))
    return outputs


@pytest.mark.parametrize("family", [SD, SDXL], ids=lambda family: family.name)
@pytest.mark.parametrize("use_lora", [False, True])
def test_the_base_predicts_as_before_training(family, use_lora):
    networks, base = drifted(family, use_lora=use_lora)
    batch, scheduler = random_batch(family, masked=True), ddpm()
    losses = diffusion_loss(networks, scheduler, batch, HOLD, base)
    untouched = tiny_networks(family)
    assert torch.equal(losses.outside, diffusion_loss(networks, scheduler, batch, HOLD, untouched).outside)
    assert losses.outside > 0
    torch.testing.assert_close(losses.total, losses.instance + 0.5 * losses.outside)
    # The adapters are on again, and a gradient reaches what is trained.
    losses.total.backward()
    trained = [parameter for parameter in networks.unet.parameters() if parameter.requires_grad]
    assert sum(parameter.grad is not None and bool(parameter.grad.any()) for parameter in trained) > 10
    assert base.unet is networks.unet or all(parameter.grad is None for parameter in base.unet.parameters())


def test_each_example_is_held_by_its_own_mask_and_class_pictures_not_at_all():
    networks, base = drifted()
    batch = random_batch(masked=True, class_images=2)
    whole = diffusion_loss(networks, ddpm(), batch, HOLD, base)
    # Worked out example by example: the squared drift where the photo's own mask leaves it.
    outputs, base_outputs = outputs_of(networks.unet), outputs_of(base.unet)
    diffusion_loss(networks, ddpm(), batch, HOLD, base)
    assert len(base_outputs[0]) == 2
    expected = 0
    for row in range(2):
        weight = (1 - batch.loss_mask[row]).expand(4, -1, -1)
        drift = (outputs[0][row] - base_outputs[0][row]) ** 2
        expected = expected + (weight * drift).sum() / weight.sum() / 2
    torch.testing.assert_close(whole.outside, expected)


def test_a_photo_that_is_all_subject_is_not_held_and_spoils_nothing():
    networks, base = drifted()
    batch = random_batch(masked=True)
    second_is_full = batch.loss_mask.clone()
    second_is_full[1] = 1
    one = diffusion_loss(networks, ddpm(), replace(batch, loss_mask=second_is_full), HOLD, base).outside
    whole = diffusion_loss(networks, ddpm(), batch, HOLD, base).outside
    assert 0 < one < whole
    none = replace(batch, loss_mask=torch.ones_like(batch.loss_mask))
    losses = diffusion_loss(networks, ddpm(), none, HOLD, base)
    losses.total.backward()
    assert losses.outside == 0
    assert torch.equal(losses.total, losses.instance)
    assert all(torch.isfinite(p.grad).all() for p in networks.unet.parameters() if p.grad is not None)


def test_with_trained_text_encoders_the_base_reads_the_prompts_as_before():
    networks, base = drifted(with_text=True)
    batch = random_batch(masked=True)
    before = outputs_of(base.unet)
    diffusion_loss(networks, ddpm(), batch, HOLD, base)
    with torch.no_grad():
        for encoder in networks.text_encoders:
            for parameter in encoder.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    diffusion_loss(networks, ddpm(), batch, HOLD, base)
    assert torch.equal(before[0], before[1])
    noisy = ddpm().add_noise(batch.latents, batch.noise, batch.timesteps)
    with torch.no_grad():
        untouched = tiny_networks().unet(noisy, batch.timesteps, batch.conditions.prompt_embeds).sample
    assert torch.equal(before[0], untouched)


def test_adapters_left_out_by_chance_do_not_reach_the_base():
    networks, base = drifted(use_lora=True, dropout=0.9)
    outputs, batch = outputs_of(networks.unet), random_batch(masked=True)
    for _ in range(2):
        diffusion_loss(networks, ddpm(), batch, HOLD, base)
    base_outputs, trained_outputs = outputs[::2], outputs[1::2]
    assert torch.equal(*base_outputs)
    assert not torch.equal(*trained_outputs)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_photos_weigh_outside_as_inside(kind):
    networks, base = drifted()
    batch, scheduler = random_batch(instance=1, masked=True), ddpm(kind)
    plain = diffusion_loss(networks, scheduler, batch, HOLD, base)
    weighed = diffusion_loss(networks, scheduler, batch, replace(HOLD, snr_gamma=0.01), base)
    weight = min_snr_weights(scheduler, batch.timesteps, 0.01)[0]
    torch.testing.assert_close(weighed.outside, weight * plain.outside)
    torch.testing.assert_close(weighed.instance, weight * plain.instance)


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler(**BETAS), EDMEulerScheduler()])
def test_in_edm_style_the_base_is_held_in_the_clean_latents(scheduler):
    networks, base = drifted()
    batch = random_batch(instance=1, masked=True)
    outputs, base_outputs = outputs_of(networks.unet), outputs_of(base.unet)
    losses = diffusion_loss(networks, scheduler, batch, HOLD, base)
    sigma = scheduler.sigmas[999 - batch.timesteps]
    # A difference d of predictions is one of c_out d in the latents; Euler's are weighed by 1 / sigma^2.
    factor = 1.0
    if isinstance(scheduler, EDMEulerScheduler):
        factor = (sigma * 0.5) ** 2 / (sigma**2 + 0.25)
    outside = (1 - batch.loss_mask).expand(1, 4, -1, -1)
    drift = factor * (outside * (outputs[0] - base_outputs[0]) ** 2).sum() / outside.sum()
    torch.testing.assert_close(losses.outside, drift.squeeze(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("use_lora", [False, True])
def test_in_bfloat16_the_base_leaves_the_gradient_alone(use_lora):
    # Autocast keeps the weights it has cast; cast without gradient for the base, they must not be used again.
    gradients = []
    for with_base in (False, True):
        networks, base = drifted(use_lora=use_lora)
        batch = random_batch(masked=True)
        with torch.autocast("cpu", torch.bfloat16):
            losses = diffusion_loss(networks, ddpm(), batch, HOLD, base if with_base else None)
        assert losses.total.dtype == torch.float32
        losses.instance.backward()
        gradients.append([p.grad for p in networks.unet.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_normalization_none_is_the_mean_over_the_whole_picture():
    networks, base = drifted()
    batch = random_batch(instance=1, masked=True)
    area = diffusion_loss(networks, ddpm(), batch, HOLD, base).outside
    none = diffusion_loss(networks, ddpm(), batch, replace(HOLD, mask_normalization="none"), base).outside
    torch.testing.assert_close(none, area * (1 - batch.loss_mask).mean())


def test_without_a_weight_and_a_base_nothing_is_held():
    networks, _ = drifted()
    batch = random_batch(masked=True)
    losses = diffusion_loss(networks, ddpm(), batch, Objective())
    noisy = ddpm().add_noise(batch.latents, batch.noise, batch.timesteps)
    pred = networks.unet(noisy, batch.timesteps, batch.conditions.prompt_embeds).sample
    inside = batch.loss_mask
    by_photo = (inside * (pred - batch.noise) ** 2).sum((1, 2, 3)) / (4 * inside.sum((1, 2, 3)))
    torch.testing.assert_close(losses.total, by_photo.mean())
    assert losses.outside == 0
    assert not torch.isclose(losses.total, mse_loss(pred, batch.noise))
