"""Diffusion models with random weights: time and memory of a step do not depend on what the weights are."""

from dataclasses import dataclass, field

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from persam_dreambooth.diffusion.families import SD, SDXL, Family
from persam_dreambooth.diffusion.model_folders import TOY_MODEL
from persam_dreambooth.diffusion.models import Models, load_models

TOKENS = 77


@dataclass(frozen=True)
class Size:
    """Configurations of a model's parts; what is left out is diffusers' and transformers' default."""

    family: Family
    unet: dict
    text: tuple[dict, ...]
    vae: dict = field(
        default_factory=lambda: {
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
        }
    )


_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_BIG_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}

SIZES = {
    # Source: unet/config.json and text_encoder/config.json of stable-diffusion-v1-5 and
    # stable-diffusion-xl-base-1.0.
    "sd15": Size(SD, {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}, (_CLIP_L,)),
    "sdxl": Size(
        SDXL,
        {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        (_CLIP_L, _CLIP_BIG_G),
    ),
    # To see that the benchmark runs.
    "tiny": Size(
        SD,
        {
            "cross_attention_dim": 32,
            "attention_head_dim": 8,
            "sample_size": 8,
            "block_out_channels": (32, 64),
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        },
        ({"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},),
        {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    ),
}


def build_models(name: str) -> Models:
    """The embedded toy by the name of toy, or random parts of a size."""
    if name == "toy":
        return load_models("toy")
    size = SIZES[name]
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(TOY_MODEL / "tokenizer", model_max_length=TOKENS)
    classes = (CLIPTextModel, CLIPTextModelWithProjection)
    text_encoders = tuple(
        kind(CLIPTextConfig(vocab_size=49408, max_position_embeddings=TOKENS, **text))
        for kind, text in zip(classes, size.text, strict=False)
    )
    levels = len(size.vae["block_out_channels"])
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        **size.vae,
    )
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    unet = UNet2DConditionModel(**size.unet)
    for part in (*text_encoders, vae, unet):
        part.requires_grad_(False).eval()
    return Models(
        name_or_path=name,
        family=size.family,
        tokenizers=(tokenizer,) * len(text_encoders),
        text_encoders=text_encoders,
        vae=vae,
        unet=unet,
        noise_scheduler=scheduler,
        scheduler=DDPMScheduler.from_config(scheduler.config),
    )
