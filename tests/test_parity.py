"""From a pipeline's folder to the logged loss of a step: without masks it is that of diffusers' scripts."""

from dataclasses import replace

import pytest
import torch
from dreambooth_formulas import reference_loss
from tiny_pipelines import tiny_models
from tiny_training import SETTINGS, begin, first_batch

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.losses import Objective

WITH_PRIOR = [(kind, True) for kind in ("sd", "sd_v", "sd_sample", "sd_learned", "sdxl", "sdxl_edm")]
GAMMA = 0.005
"""So low that the photos of the first step, which are mostly noise, are weighted."""


@pytest.mark.parametrize(("kind", "with_class"), [*WITH_PRIOR, ("sd", False), ("sdxl", False)])
def test_the_logged_loss_is_the_reference(kind, with_class):
    state = begin(
        kind=kind, objective=Objective(prior_loss_weight=0.7), with_masks=False, with_class=with_class
    )
    batch = first_batch(state)
    expected = reference_loss(tiny_models(kind).unet, state.noise_scheduler, batch, prior_loss_weight=0.7)
    assert next(training.train(state)).loss == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("kind", "use_lora"), [("sd", True), ("sd_v", False), ("sdxl", True)])
def test_the_logged_loss_with_snr_and_prior_is_the_reference(kind, use_lora):
    settings, objective = replace(SETTINGS, use_lora=use_lora), Objective(snr_gamma=GAMMA)
    state = begin(settings, objective, kind=kind, with_masks=False, with_class=True)
    batch = first_batch(state)
    expected = reference_loss(tiny_models(kind).unet, state.noise_scheduler, batch, snr_gamma=GAMMA)
    plain = reference_loss(tiny_models(kind).unet, state.noise_scheduler, batch)
    assert abs(expected - plain) > 0.01
    assert next(training.train(state)).loss == pytest.approx(expected.item(), rel=1e-6)


def test_a_step_moves_the_weights_as_the_references_gradient_does():
    state = begin(with_masks=False, with_class=True)
    batch, unet = first_batch(state), tiny_models().unet.requires_grad_(True).train()
    reference_loss(unet, state.noise_scheduler, batch).backward()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, weight_decay=1e-2, eps=1e-8)
    torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    optimizer.step()
    next(training.train(state))
    for one, other in zip(unet.parameters(), state.trained.unet.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
