"""What the UNet is asked of noisy latents, and what it should have answered.

    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps
    y   = eps (epsilon) | sqrt(a_t) eps - sqrt(1 - a_t) x_0 (v_prediction) | x_0 (sample)

Source: Ho et al. 2020, Denoising Diffusion Probabilistic Models, eq. 4 and 14; Salimans and Ho 2022,
Progressive Distillation, appendix D.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int, Shaped
from torch import Tensor


@runtime_checkable
class NoiseScheduler(Protocol):
    """What is used of a diffusers noise scheduler."""

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the noisy latents."""


@dataclass(frozen=True, eq=False)
class Question:
    """What the UNet is asked of b examples, and the answer that training holds its own against."""

    noisy_latents: Float[Tensor, "b c h w"]
    """As the UNet takes them."""
    timesteps: Shaped[Tensor, " b"]
    """How noisy they are, in the UNet's own measure."""
    target: Float[Tensor, "b c h w"]
    """What `answer` should be."""
    skip: Float[Tensor, "b c h w"] | None = None
    """What is known of the answer without the UNet; None where the prediction itself is the answer."""
    scale: Float[Tensor, "b 1 1 1"] | None = None
    """Of the prediction in the answer; None as above."""
    weights: Float[Tensor, " b"] | None = None
    """Of each example's error; None weighs all alike."""

    def answer(self, model_pred: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return what the UNet's prediction for the first n examples says, in the measure of `target`."""
        if self.scale is None:
            return model_pred
        n = len(model_pred)
        return self.skip[:n] + self.scale[:n] * model_pred.float()


def question(
    noise_scheduler: NoiseScheduler,
    latents: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    timesteps: Int[Tensor, " b"],
) -> Question:
    """Return what a UNet is asked that was trained on a discrete schedule of noise."""
    noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)
    return Question(noisy_latents, timesteps, prediction_target(noise_scheduler, latents, noise, timesteps))


def prediction_target(
    noise_scheduler: NoiseScheduler,
    latents: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    timesteps: Int[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """Return what the UNet should predict: the noise, the velocity or the latents, as it was trained to.

    Raises:
        ValueError: the scheduler names another prediction.
    """
    kind = noise_scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return noise_scheduler.get_velocity(latents, noise, timesteps)
    if kind == "sample":
        return latents
    raise ValueError(f"prediction_type {kind!r}: epsilon, v_prediction or sample is needed")
