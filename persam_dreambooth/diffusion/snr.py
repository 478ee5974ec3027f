"""Min-SNR weighting: how much an example's error counts, by how much signal its noisy latents hold.

    SNR(t) = a_t / (1 - a_t)
    w(t)   = min(SNR, gamma) / SNR (epsilon), / (SNR + 1) (v_prediction), / 1 (sample)

All three weigh the same error of x_0 alike.

Source: Hang et al. 2023, Efficient Diffusion Training via Min-SNR Weighting Strategy, section 3.4.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from persam_dreambooth.diffusion.targets import NoiseScheduler


def signal_to_noise(noise_scheduler: NoiseScheduler, timesteps: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return the ratio of signal to noise in variance; 0 at a step that is all noise."""
    signal = noise_scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
    return signal / (1 - signal)


def min_snr_weights(
    noise_scheduler: NoiseScheduler, timesteps: Int[Tensor, " b"], gamma: float
) -> Float[Tensor, " b"]:
    """Return the weight of each example's error.

    Args:
        noise_scheduler: its schedule and what the UNet predicts.
        timesteps: of the examples.
        gamma: ratio from which on an example counts no more; 5 in the paper.
    """
    snr = signal_to_noise(noise_scheduler, timesteps)
    capped = snr.clamp(max=gamma)
    kind = noise_scheduler.config.prediction_type
    if kind == "v_prediction":
        return capped / (snr + 1)
    if kind == "sample":
        return capped
    # Schedules with no signal at their last step (zero terminal SNR): the limit, where 0 / 0 is no number.
    return torch.where(snr > 0, capped / snr, 1.0)
