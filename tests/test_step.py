"""The step is the reference formula where there are no masks; what masks and class pictures change."""

from dataclasses import replace

import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler
from dreambooth_formulas import discrete_loss, edm_loss, unet_output
from tiny_steps import BETAS, ddpm, random_batch, tiny_networks
from torch.nn.functional import mse_loss

from persam_dreambooth.diffusion.families import SD, SDXL, encode_text
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.step import diffusion_loss

FAMILIES = pytest.mark.parametrize("family", [SD, SDXL], ids=lambda family: family.name)
KINDS = pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])


@FAMILIES
@pytest.mark.parametrize(
    ("kind", "learned_variance"),
    [("epsilon", False), ("v_prediction", False), ("sample", False), ("epsilon", True)],
)
@pytest.mark.parametrize("class_images", [0, 2], ids=["", "prior"])
def test_without_masks_it_is_the_reference_to_the_bit(family, kind, learned_variance, class_images):
    networks = tiny_networks(family, learned_variance=learned_variance)
    batch, scheduler = random_batch(family, class_images=class_images), ddpm(kind)
    losses = diffusion_loss(networks, scheduler, batch, Objective(prior_loss_weight=0.7))
    assert torch.equal(losses.total, discrete_loss(networks.unet, scheduler, batch, prior_loss_weight=0.7))
    assert (losses.prior > 0) == (class_images > 0)
    assert losses.outside == losses.attention == 0


@FAMILIES
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("instance", [1, 2])
@pytest.mark.parametrize("class_images", [0, 2], ids=["", "prior"])
def test_with_snr_it_is_the_reference(family, kind, instance, class_images):
    networks, scheduler = tiny_networks(family), ddpm(kind)
    batch = random_batch(family, instance=instance, class_images=class_images)
    # Of little noise and of much, so that photos' and class pictures' weights differ.
    batch = replace(batch, timesteps=torch.tensor([20, 700, 30, 900])[: instance + class_images])
    losses = diffusion_loss(networks, scheduler, batch, Objective(snr_gamma=5.0))
    expected = discrete_loss(networks.unet, scheduler, batch, snr_gamma=5.0)
    torch.testing.assert_close(losses.total, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("playground", [False, True], ids=["Euler", "EDM"])
@pytest.mark.parametrize("class_images", [0, 2], ids=["", "prior"])
def test_in_edm_style_it_is_the_reference(kind, playground, class_images):
    networks, batch = tiny_networks(SDXL), random_batch(SDXL, class_images=class_images)
    scheduler = EulerDiscreteScheduler(**BETAS, prediction_type=kind)
    if playground:
        scheduler = EDMEulerScheduler(prediction_type=kind)
    losses = diffusion_loss(networks, scheduler, batch, Objective(prior_loss_weight=0.7))
    expected = edm_loss(networks.unet, scheduler, batch, prior_loss_weight=0.7)
    torch.testing.assert_close(losses.total, expected, rtol=1e-6, atol=0)


def test_signal_to_noise_does_not_weigh_what_edm_weighs():
    scheduler = EulerDiscreteScheduler(**BETAS)
    with pytest.raises(ValueError, match="snr_gamma is not defined in EDM style"):
        diffusion_loss(tiny_networks(), scheduler, random_batch(), Objective(snr_gamma=5.0))


@KINDS
def test_no_signal_at_the_last_step_is_no_trouble(kind):
    networks, scheduler = tiny_networks(), ddpm(kind, rescale_betas_zero_snr=True)
    batch = replace(random_batch(masked=True), timesteps=torch.tensor([999, 400]))
    loss = diffusion_loss(networks, scheduler, batch, Objective(snr_gamma=5.0)).total
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in networks.unet.parameters() if p.grad is not None)


@FAMILIES
def test_text_encoders_in_training_read_the_prompts_anew(family):
    networks = tiny_networks(family, with_text=True)
    batch, scheduler = random_batch(family), ddpm()
    stale = replace(batch, conditions=replace(batch.conditions, prompt_embeds=torch.zeros(2, 6, 8)))
    losses = diffusion_loss(networks, scheduler, stale, Objective())
    prompt_embeds, pooled = encode_text(family, networks.text_encoders, batch.input_ids)
    conditions = replace(batch.conditions, prompt_embeds=prompt_embeds, pooled_prompt_embeds=pooled)
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    pred = unet_output(networks.unet, noisy, batch.timesteps, conditions)
    assert torch.equal(losses.total, mse_loss(pred, batch.noise))
    losses.total.backward()
    for encoder in networks.text_encoders:
        assert encoder.get_input_embeddings().weight.grad.abs().sum() > 0


@pytest.mark.parametrize("scheduler", [ddpm(), ddpm("v_prediction"), EDMEulerScheduler()])
def test_photos_are_masked_and_class_pictures_are_not(scheduler):
    networks, batch = tiny_networks(), random_batch(class_images=2, masked=True)
    outputs = []
    networks.unet.register_forward_hook(lambda module, inputs, output: outputs.append(output[0]))
    # Even a mask on a class picture is none.
    loss_mask = batch.loss_mask.clone()
    loss_mask[2:, :, :4] = 0
    losses = diffusion_loss(networks, scheduler, replace(batch, loss_mask=loss_mask), Objective())
    (gradient,) = torch.autograd.grad(losses.total, outputs[0])
    inside = (batch.loss_mask > 0).expand_as(gradient)
    assert (gradient[~inside] == 0).all()
    assert (gradient[inside] != 0).all()


@pytest.mark.parametrize("canary", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("scheduler", [ddpm(), ddpm("v_prediction"), EDMEulerScheduler()])
def test_what_is_predicted_outside_the_mask_changes_neither_loss_nor_gradient(scheduler, canary):
    objective = Objective(snr_gamma=None if isinstance(scheduler, EDMEulerScheduler) else 5.0)
    batch = random_batch(masked=True)
    outside = (batch.loss_mask == 0).expand_as(batch.latents)
    networks = tiny_networks()
    losses, predictions = [], []
    for value in (0.5, canary):
        pred = torch.where(outside, value, 0.1 * batch.noise).requires_grad_()
        handle = networks.unet.register_forward_hook(lambda *_, pred=pred: (pred,))
        losses.append(diffusion_loss(networks, scheduler, batch, objective).total)
        losses[-1].backward()
        predictions.append(pred)
        handle.remove()
    assert torch.equal(*losses)
    assert torch.equal(*(pred.grad for pred in predictions))
    assert (predictions[1].grad[outside] == 0).all()
    assert (predictions[1].grad[~outside] != 0).all()
