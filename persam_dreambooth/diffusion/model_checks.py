"""Whether the parts of a model fit each other and the training: a line about it, not a shape error later."""

from collections.abc import Sequence

from diffusers import UNet2DConditionModel
from diffusers.configuration_utils import FrozenDict
from transformers import PreTrainedModel

from persam_dreambooth.diffusion.families import Family
from persam_dreambooth.errors import UserError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")

_EXTRA_CHANNELS = {9: "inpainting", 8: "editing by instruction", 7: "enlarging", 5: "depth"}
"""What UNets are for that take more channels than the four of latents."""

_TIME_IDS = 6
"""Numbers that Stable Diffusion XL's UNet is told of a picture; its refiner takes five."""


def check_unet(what: str, family: Family, unet: UNet2DConditionModel, latent_channels: int) -> None:
    """Raise UserError for a UNet that takes more than latents and what its family is told.

    Args:
        what: the flag and its value, for the error text.
        family: that the model claims to be of.
        unet: its UNet.
        latent_channels: of its VAE.
    """
    channels, returned = unet.config.in_channels, unet.config.out_channels
    # Twice as many where the variance is learnt as well.
    if returned not in {channels, 2 * channels}:
        kind = _EXTRA_CHANNELS.get(channels, "unknown")
        raise UserError(
            f"{what}: its UNet takes {channels} channels and returns {returned} ({kind}); one that takes "
            f"latents and nothing else is needed. Name a plain {family.title}."
        )
    if channels != latent_channels:
        raise UserError(
            f"{what}: its UNet takes latents of {channels} channels and the VAE makes {latent_channels}; the "
            "two must be of one kind. Name the VAE that belongs to the model, or none."
        )
    added = unet.config.addition_embed_type
    if added != family.addition_embed_type:
        raise UserError(
            f"{what}: its UNet is told {added or 'nothing'} beside the prompt; {family.title} is told "
            f"{family.addition_embed_type or 'nothing'}. Name a plain {family.title}."
        )


def check_text(
    what: str, family: Family, unet: UNet2DConditionModel, text_encoders: Sequence[PreTrainedModel]
) -> None:
    """Raise UserError for text encoders of another width than the UNet reads; arguments as above."""
    width = sum(encoder.config.hidden_size for encoder in text_encoders)
    if unet.config.cross_attention_dim != width:
        raise UserError(
            f"{what}: its UNet reads prompts {unet.config.cross_attention_dim} wide and its text encoders "
            f"write them {width} wide; the two must be of one model. Check its folders."
        )
    if family.addition_embed_type is None:
        return
    expected = _TIME_IDS * unet.config.addition_time_embed_dim + text_encoders[-1].config.projection_dim
    if unet.add_embedding.linear_1.in_features != expected:
        raise UserError(
            f"{what}: its UNet is told of sizes in {unet.add_embedding.linear_1.in_features} numbers, and "
            f"{expected} are needed (the refiner is told otherwise). Name the base model."
        )


def check_prediction(what: str, config: FrozenDict) -> None:
    """Raise UserError for a scheduler config whose model predicts what no target is known for."""
    if config.prediction_type not in PREDICTION_TYPES:
        raise UserError(
            f"{what}: predicts {config.prediction_type!r}; one of {', '.join(PREDICTION_TYPES)} is needed."
        )
