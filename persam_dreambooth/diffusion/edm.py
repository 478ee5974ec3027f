"""EDM-style training: noise by its standard deviation, and the error taken of the clean latents.

    x     = x_0 + s eps
    D(x)  = c_skip x + c_out F(c_in x; c_noise)        F: the UNet
    error = w(s) |D(x) - x_0|^2

                          c_in               c_skip            c_out                        w
    Euler, epsilon        1/sqrt(s^2 + 1)    1                 -s                           1/s^2
    Euler, v_prediction   1/sqrt(s^2 + 1)    1/(s^2 + 1)       -s/sqrt(s^2 + 1)             1/s^2
    Euler, sample         1/sqrt(s^2 + 1)    0                 1                            1/s^2
    EDM, epsilon          1/sqrt(s^2 + d^2)  d^2/(s^2 + d^2)   s d/sqrt(s^2 + d^2)          1
    EDM, v_prediction     1/sqrt(s^2 + d^2)  d^2/(s^2 + d^2)   -s d/sqrt(s^2 + d^2)         1

with d the standard deviation of the data (sigma_data).

Source: Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, eq. 7, table 1;
which of it, and with which weights: diffusers' train_dreambooth_lora_sdxl.py, --do_edm_style_training.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from persam_dreambooth.diffusion.targets import NoiseScheduler, Question


def is_edm(noise_scheduler: NoiseScheduler) -> bool:
    """Return whether a scheduler measures noise by its standard deviation: Euler's and EDM's do."""
    return hasattr(noise_scheduler, "sigmas")


def noise_levels(
    noise_scheduler: NoiseScheduler, timesteps: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, " b"]]:
    """Return the standard deviation of each example's noise, and what the UNet is told of it.

    Args:
        noise_scheduler: as it was loaded, before any `set_timesteps`.
        timesteps: 0 (least noise) to num_train_timesteps - 1. With Euler's scheduler these are the very
            numbers that the UNet is told.

    Raises:
        ValueError: the scheduler has been set to draw with fewer steps.
    """
    # From the most noise to the least; EDM's list ends with one level more, which training leaves out.
    levels = noise_scheduler.config.num_train_timesteps
    if noise_scheduler.num_inference_steps is not None:
        raise ValueError("a scheduler that draws; its training needs one of its own")
    places = (levels - 1 - timesteps).to(noise_scheduler.sigmas.device)
    sigmas = noise_scheduler.sigmas[places].to(timesteps.device)
    told = noise_scheduler.timesteps[places].to(timesteps.device)
    return sigmas.view(-1, 1, 1, 1), told


def edm_question(
    noise_scheduler: NoiseScheduler,
    latents: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    timesteps: Int[Tensor, " b"],
) -> Question:
    """Return what a UNet is asked in EDM style: the answer is the clean latents."""
    sigmas, told = noise_levels(noise_scheduler, timesteps)
    noisy_latents = latents + sigmas * noise
    kind = noise_scheduler.config.prediction_type
    sigma_data = getattr(noise_scheduler.config, "sigma_data", None)
    if sigma_data is None:
        spread, weights = (sigmas**2 + 1).sqrt(), sigmas.flatten() ** -2.0
        c_skip, c_out = _euler_answer(sigmas, kind)
    else:
        spread, weights = (sigmas**2 + sigma_data**2).sqrt(), None
        c_skip, c_out = sigma_data**2 / spread**2, sigmas * sigma_data / spread
        c_out = -c_out if kind == "v_prediction" else c_out
    return Question(
        noisy_latents=noisy_latents / spread,
        timesteps=told,
        target=latents,
        skip=c_skip * noisy_latents,
        scale=c_out,
        weights=weights,
    )


def _euler_answer(sigmas: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Return c_skip and c_out of a model that was trained on a discrete schedule."""
    if kind == "epsilon":
        return torch.ones_like(sigmas), -sigmas
    if kind == "v_prediction":
        return 1 / (sigmas**2 + 1), -sigmas / (sigmas**2 + 1).sqrt()
    return torch.zeros_like(sigmas), torch.ones_like(sigmas)
