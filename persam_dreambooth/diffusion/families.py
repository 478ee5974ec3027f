"""Everything in which one family of models differs from another: parts, text, sizes. The rest asks here.

family    text encoders    told of a prompt                              told of a picture
sd        1                last hidden states                            nothing
sdxl      2                last but one hidden states of both, side by   its size, its crop, its new size
                           side, and the second's projected one vector
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, PreTrainedModel

from persam_dreambooth.diffusion.conditioning import Conditions


@dataclass(frozen=True, eq=False)
class Family:
    """A kind of diffusion model."""

    name: Literal["sd", "sdxl"]
    title: str
    """What people call it."""
    pipeline_class: type[DiffusionPipeline]
    """Of diffusers; the name that its folders carry in model_index.json."""
    text_encoder_names: tuple[str, ...]
    """Folders of the text encoders, and their names in the pipeline and in LoRA files."""
    tokenizer_names: tuple[str, ...]
    """Folders of their tokenizers."""
    text_encoder_classes: tuple[type[PreTrainedModel], ...]
    """Of transformers."""
    kohya_text_prefixes: tuple[str, ...]
    """What kohya's LoRA files call the text encoders."""
    resolution: int
    """Side in pixels of the pictures that the published models were made for: diffusers' default."""
    guidance_scale: float
    """Of its pipeline where nothing is said: with it diffusers' scripts draw class pictures."""
    addition_embed_type: str | None
    """How its UNet takes what it is told of a picture, by the name in its config."""
    pipeline_options: Mapping[str, Any]
    """What its pipeline is given beside the parts."""
    index_options: Mapping[str, Any]
    """The same, where a model's index may say otherwise."""


SD = Family(
    name="sd",
    title="Stable Diffusion 1.x or 2.x",
    pipeline_class=StableDiffusionPipeline,
    text_encoder_names=("text_encoder",),
    tokenizer_names=("tokenizer",),
    text_encoder_classes=(CLIPTextModel,),
    kohya_text_prefixes=("lora_te",),
    resolution=512,
    guidance_scale=7.5,
    addition_embed_type=None,
    pipeline_options={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    index_options={},
)
SDXL = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    pipeline_class=StableDiffusionXLPipeline,
    text_encoder_names=("text_encoder", "text_encoder_2"),
    tokenizer_names=("tokenizer", "tokenizer_2"),
    text_encoder_classes=(CLIPTextModel, CLIPTextModelWithProjection),
    kohya_text_prefixes=("lora_te1", "lora_te2"),
    resolution=1024,
    guidance_scale=5.0,
    addition_embed_type="text_time",
    # A picture with a watermark would be measured, and trained on, with it.
    pipeline_options={"add_watermarker": False},
    index_options={"force_zeros_for_empty_prompt": True},
)
FAMILIES = (SD, SDXL)


def family_of(pipeline: DiffusionPipeline) -> Family:
    """Return the family of a pipeline."""
    return next(family for family in FAMILIES if isinstance(pipeline, family.pipeline_class))


def encode_text(
    family: Family, text_encoders: Sequence[nn.Module], input_ids: Sequence[Int[Tensor, "b t"]]
) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b p"] | None]:
    """Return prompt_embeds and pooled_prompt_embeds of prompts; differentiable.

    Args:
        family: of the model.
        text_encoders: its text encoders.
        input_ids: token numbers for each of them.

    Source: StableDiffusionPipeline.encode_prompt and StableDiffusionXLPipeline.encode_prompt of diffusers.
    """
    if family.name == "sd":
        (encoder,), (ids,) = text_encoders, input_ids
        return encoder(ids)[0], None
    outputs = [
        encoder(ids, output_hidden_states=True) for encoder, ids in zip(text_encoders, input_ids, strict=True)
    ]
    # Where the encoders were trained to be read: one layer before the end.
    prompt_embeds = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return prompt_embeds, outputs[-1][0]


def time_ids(
    family: Family,
    original_size: tuple[int, int],
    crop_top_left: tuple[int, int],
    target_size: tuple[int, int],
) -> Float[Tensor, "1 6"] | None:
    """Return what the UNet is told of a picture's sizes, or None where the family is told nothing.

    Args:
        family: of the model.
        original_size: height and width of the photo before it was resized, in pixels.
        crop_top_left: top and left of what was cut out of the resized photo, in pixels.
        target_size: height and width of that.

    Source: Podell et al. 2023, SDXL, section 2.2; StableDiffusionXLPipeline._get_add_time_ids of diffusers.
    """
    if family.name == "sd":
        return None
    return torch.tensor([[*original_size, *crop_top_left, *target_size]], dtype=torch.float32)


def added_cond_kwargs(conditions: Conditions) -> dict[str, Any] | None:
    """Return what a UNet takes as `added_cond_kwargs`: None where there is no more than the prompt."""
    if conditions.time_ids is None:
        return None
    return {"text_embeds": conditions.pooled_prompt_embeds, "time_ids": conditions.time_ids}
