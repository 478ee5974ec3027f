"""From pixels to the latents that a UNet was trained on."""

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor


def moments(vae: AutoencoderKL, pixel_values: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c2 h w"]:
    """Return mean and standard deviation (stacked along the channels) of pictures' latents, on the CPU.

    They are in the UNet's units: scaled, and for a VAE that knows mean and deviation of its latents
    (Playground 2.5) normalised by these. Always in float32: Stable Diffusion XL's VAE overflows in half.
    With a gradient where the pixels ask for one, and never otherwise.

    Args:
        vae: on any device.
        pixel_values: -1 to 1.

    Source: AutoencoderKL and the latents_mean of diffusers' train_dreambooth_lora_sdxl.py.
    """
    device = vae.device
    with torch.autocast(device.type, enabled=False), torch.set_grad_enabled(pixel_values.requires_grad):
        posterior = vae.encode(pixel_values.to(device)).latent_dist
        mean, std = posterior.mean.cpu(), posterior.std.cpu()
    factor, config = vae.config.scaling_factor, vae.config
    if config.latents_mean is not None and config.latents_std is not None:
        shift, spread = (torch.tensor(v).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        return torch.cat([(mean - shift) * factor / spread, std * factor / spread], dim=1)
    return torch.cat([mean, std], dim=1) * factor
