"""The networks that a training step runs: the UNet, and the text encoders while they learn."""

from dataclasses import dataclass, replace

from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.families import Family, added_cond_kwargs, encode_text


@dataclass(frozen=True, eq=False)
class Networks:
    """What turns noisy latents and prompts into a prediction; bare, or wrapped for several processes."""

    unet: nn.Module
    text_encoders: tuple[nn.Module, ...]
    """Those in training: all of the family's or none, and then the cached conditions are used."""
    family: Family

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All of them, the UNet first."""
        return (self.unet, *self.text_encoders)


def current_conditions(
    networks: Networks, conditions: Conditions, input_ids: tuple[Int[Tensor, "b t"], ...]
) -> Conditions:
    """Return what the UNet is told now: cached, or the prompts as the text encoders in training read them.

    Args:
        networks: whose text encoders.
        conditions: cached before training.
        input_ids: token numbers of the same examples, for each text encoder.
    """
    if not networks.text_encoders:
        return conditions
    prompt_embeds, pooled = encode_text(networks.family, networks.text_encoders, input_ids)
    return replace(conditions, prompt_embeds=prompt_embeds, pooled_prompt_embeds=pooled)


def predict(
    networks: Networks,
    noisy_latents: Float[Tensor, "b c h w"],
    timesteps: Shaped[Tensor, " b"],
    conditions: Conditions,
) -> Float[Tensor, "b c h w"]:
    """Return the UNet's prediction: the noise, the velocity or the latents, as the model was trained to.

    Args:
        networks: whose UNet.
        noisy_latents: as the UNet takes them.
        timesteps: of each example, in the UNet's own measure of noise.
        conditions: what it is told.
    """
    output = networks.unet(
        noisy_latents,
        timesteps,
        conditions.prompt_embeds,
        added_cond_kwargs=added_cond_kwargs(conditions),
        return_dict=False,
    )[0]
    channels = noisy_latents.shape[1]
    # A UNet that also learns the variance returns it in as many channels more.
    # Source: Nichol and Dhariwal 2021, Improved Denoising Diffusion, section 3.1.
    return output[:, :channels] if output.shape[1] == 2 * channels else output
