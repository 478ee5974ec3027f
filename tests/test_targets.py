"""What the UNet is asked and how its error is weighed: worked by hand, and against diffusers' schedulers."""

import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler, EulerDiscreteScheduler
from diffusers.training_utils import compute_snr

from persam_dreambooth.diffusion.edm import edm_question, is_edm, noise_levels
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.diffusion.snr import min_snr_weights, signal_to_noise
from persam_dreambooth.diffusion.targets import prediction_target, question

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TIMESTEPS = torch.tensor([0, 17, 500, 999])


def four_examples():
    return torch.randn(4, 4, 8, 8), torch.randn(4, 4, 8, 8), TIMESTEPS


def euler(kind):
    return EulerDiscreteScheduler(**BETAS, prediction_type=kind)


def edm(kind):
    return EDMEulerScheduler(prediction_type=kind)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_targets(kind):
    scheduler = DDPMScheduler(**BETAS, prediction_type=kind)
    latents, noise, timesteps = four_examples()
    share = scheduler.alphas_cumprod[timesteps][:, None, None, None]
    expected = {
        "epsilon": noise,
        "v_prediction": share.sqrt() * noise - (1 - share).sqrt() * latents,
        "sample": latents,
    }[kind]
    torch.testing.assert_close(prediction_target(scheduler, latents, noise, timesteps), expected)
    asked = question(scheduler, latents, noise, timesteps)
    torch.testing.assert_close(asked.noisy_latents, share.sqrt() * latents + (1 - share).sqrt() * noise)
    assert torch.equal(asked.timesteps, timesteps)
    assert asked.answer(noise) is noise
    assert asked.weights is None


def test_an_unknown_prediction_is_no_noise():
    with pytest.raises(ValueError, match="prediction_type 'flow': epsilon, v_prediction or sample"):
        prediction_target(DDPMScheduler(prediction_type="flow"), *four_examples())


# Cumulated: 0.8, 0.5, 0.05, so ratios of 4, 1 and 1/19.
BY_HAND = {"trained_betas": [0.2, 0.375, 0.9]}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("epsilon", [2 / 4, 1, 1]),
        ("v_prediction", [2 / 5, 1 / 2, 1 / 20]),
        ("sample", [2, 1, 1 / 19]),
    ],
)
def test_snr_weights_worked_by_hand(kind, expected):
    scheduler = DDPMScheduler(**BY_HAND, num_train_timesteps=3, prediction_type=kind)
    assert signal_to_noise(scheduler, torch.arange(3)).tolist() == pytest.approx([4, 1, 1 / 19])
    assert min_snr_weights(scheduler, torch.arange(3), 2.0).tolist() == pytest.approx(expected)


def test_the_three_snr_weights_weigh_one_error_of_the_latents_alike():
    # An error d of x_0 is one of sqrt(SNR) d in the noise and of sqrt(SNR + 1) d in the velocity.
    timesteps = torch.arange(0, 1000, 37)
    snr = signal_to_noise(DDPMScheduler(**BETAS), timesteps)
    weights = {
        kind: min_snr_weights(DDPMScheduler(**BETAS, prediction_type=kind), timesteps, 5.0)
        for kind in ("epsilon", "v_prediction", "sample")
    }
    torch.testing.assert_close(weights["epsilon"] * snr, weights["sample"])
    torch.testing.assert_close(weights["v_prediction"] * (snr + 1), weights["sample"])


def test_signal_to_noise_is_that_of_diffusers():
    scheduler = DDPMScheduler(**BETAS)
    torch.testing.assert_close(
        signal_to_noise(scheduler, TIMESTEPS), compute_snr(scheduler, TIMESTEPS), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(("kind", "limit"), [("epsilon", 1.0), ("v_prediction", 0.0), ("sample", 0.0)])
def test_a_step_without_signal_has_the_weight_of_the_limit(kind, limit):
    scheduler = DDPMScheduler(**BETAS, prediction_type=kind, rescale_betas_zero_snr=True)
    assert signal_to_noise(scheduler, torch.tensor([999])) == 0
    assert compute_snr(scheduler, torch.tensor([999])) == 0
    weights = min_snr_weights(scheduler, torch.tensor([998, 999]), 5.0)
    assert torch.isfinite(weights).all()
    assert weights[1] == limit
    assert weights[0] == pytest.approx(limit, abs=1e-3)


def test_which_schedulers_train_in_edm_style():
    assert is_edm(euler("epsilon"))
    assert is_edm(edm("epsilon"))
    assert not is_edm(DDPMScheduler())


@pytest.mark.parametrize("build", [euler, edm])
def test_noise_grows_with_the_timestep(build):
    scheduler = build("epsilon")
    sigmas, told = noise_levels(scheduler, torch.arange(1000))
    assert (sigmas.flatten().diff() > 0).all()
    assert (told.diff() > 0).all()
    # As diffusers looks a level up from what the UNet is told.
    for number in (0, 17, 999):
        place = (scheduler.timesteps == told[number]).nonzero().item()
        assert scheduler.sigmas[place] == sigmas[number].item()


def test_eulers_timesteps_are_those_of_the_discrete_schedule():
    sigmas, told = noise_levels(euler("epsilon"), TIMESTEPS)
    snr = signal_to_noise(DDPMScheduler(**BETAS), TIMESTEPS)
    assert told.tolist() == TIMESTEPS.tolist()
    torch.testing.assert_close(sigmas.flatten() ** -2, snr)


@pytest.mark.parametrize("build", [euler, edm])
def test_a_scheduler_that_draws_cannot_train(build):
    scheduler = build("epsilon")
    with quiet():  # diffusers' own numpy warning
        scheduler.set_timesteps(25)
    with pytest.raises(ValueError, match="a scheduler that draws"):
        noise_levels(scheduler, TIMESTEPS)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_edm_preconditioning_is_that_of_the_scheduler(kind):
    scheduler, (latents, noise, timesteps) = edm(kind), four_examples()
    sigmas, _ = noise_levels(scheduler, timesteps)
    noisy, pred = latents + sigmas * noise, torch.randn(4, 4, 8, 8)
    asked = edm_question(scheduler, latents, noise, timesteps)
    torch.testing.assert_close(asked.noisy_latents, scheduler.precondition_inputs(noisy, sigmas))
    torch.testing.assert_close(asked.timesteps, scheduler.precondition_noise(sigmas.flatten()))
    torch.testing.assert_close(asked.answer(pred), scheduler.precondition_outputs(noisy, pred, sigmas))
    assert torch.equal(asked.target, latents)
    assert asked.weights is None


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_eulers_answer_is_the_clean_latents_when_the_prediction_is_right(kind):
    latents, noise, timesteps = four_examples()
    asked = edm_question(euler(kind), latents, noise, timesteps)
    sigmas = asked.weights.rsqrt()[:, None, None, None]
    # In the measure of the discrete schedule: signal 1 / sqrt(s^2 + 1), noise s / sqrt(s^2 + 1).
    spread = (sigmas**2 + 1).sqrt()
    right = {
        "epsilon": noise,
        "v_prediction": noise / spread - sigmas / spread * latents,
        "sample": latents,
    }[kind]
    torch.testing.assert_close(asked.noisy_latents, latents / spread + sigmas / spread * noise)
    torch.testing.assert_close(asked.answer(right), latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(asked.answer(right[:2]), latents[:2], rtol=1e-4, atol=1e-4)


def test_eulers_weighted_error_is_the_error_of_the_noise():
    latents, noise, timesteps = four_examples()
    asked, pred = edm_question(euler("epsilon"), latents, noise, timesteps), torch.randn(4, 4, 8, 8)
    error = (asked.answer(pred) - asked.target).square().mean(dim=(1, 2, 3)) * asked.weights
    torch.testing.assert_close(error, (pred - noise).square().mean(dim=(1, 2, 3)), rtol=1e-4, atol=0)
