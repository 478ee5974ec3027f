"""Networks with adapters whose effect is seen, of Stable Diffusion's and Stable Diffusion XL's structure."""

import copy
import functools

import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from persam_dreambooth.diffusion.adapters import add_lora
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.lora_targets import TEXT_LAYERS, UNET_LAYERS
from persam_dreambooth.diffusion.networks import Networks, current_conditions, predict
from persam_dreambooth.diffusion.provenance import Provenance
from persam_dreambooth.diffusion.quiet import quiet

HIDDEN = 16
MAX_TOKENS = 16
VOCABULARY = 50

PROVENANCE = Provenance(
    name="sks-cat",
    base_model="stable-diffusion-v1-5/stable-diffusion-v1-5",
    architecture="sd1",
    prediction_type="epsilon",
    resolution=512,
    steps=400,
    instance_prompt="a photo of sks cat",
    trigger_words="a photo of sks cat",
    prompts={"a photo of sks cat": 4, "sks cat, asleep": 1},
    num_class_images=100,
    settings={"learning_rate": 1e-4, "seed": 7, "rank": 4, "snr_gamma": None},
    mask_digests={"00.jpg": "ab" * 32, "01.jpg": "cd" * 32},
    mask_areas={"00.jpg": 0.25, "01.jpg": 0.5},
    summary="5 photos, 5 masks",
    versions={"persam-dreambooth": "0.1.0"},
)


def build_pipeline(family):
    """A new pipeline of random weights, always the same, built like the published models."""
    return copy.deepcopy(built(family.name))


@functools.cache
def built(name):
    return build_sd() if name == "sd" else build_sdxl()


def build_sd():
    return StableDiffusionPipeline(
        vae=None,
        text_encoder=text_encoder(CLIPTextModel),
        tokenizer=None,
        unet=sd_unet(),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def build_sdxl():
    return StableDiffusionXLPipeline(
        vae=None,
        text_encoder=text_encoder(CLIPTextModel),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection),
        tokenizer=None,
        tokenizer_2=None,
        unet=sdxl_unet(),
        scheduler=EulerDiscreteScheduler(),
    )


def text_encoder(kind):
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=HIDDEN,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 1,
    )
    return kind(config).eval()


def sd_unet():
    torch.manual_seed(3)
    return UNet2DConditionModel(
        sample_size=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=2,
        attention_head_dim=2,
        cross_attention_dim=HIDDEN,
        norm_num_groups=4,
    ).eval()


def sdxl_unet():
    torch.manual_seed(4)
    return UNet2DConditionModel(
        sample_size=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 8, 16),
        layers_per_block=2,
        transformer_layers_per_block=1,
        attention_head_dim=(2, 2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + HIDDEN,
        cross_attention_dim=2 * HIDDEN,
        norm_num_groups=4,
    ).eval()


def networks_of(pipeline, *, with_text=True):
    family = SDXL if isinstance(pipeline, StableDiffusionXLPipeline) else SD
    encoders = tuple(getattr(pipeline, name) for name in family.text_encoder_names)
    return Networks(pipeline.unet, encoders if with_text else (), family)


def adapted(family, *, with_text=True, effect=0.3, layers=UNET_LAYERS, **options):
    """Networks with adapters that are random as a whole, as after a training."""
    networks = networks_of(build_pipeline(family), with_text=with_text)
    options = {"rank": 3, "alpha": 5, "seed": 0, **options}
    for number, module in enumerate(networks.modules):
        targets = layers if number == 0 else TEXT_LAYERS
        add_lora(module, target_modules=targets, name=f"network {number}", **options)
        shake(module, effect)
        module.eval()
    return networks


def shake(module, effect):
    generator = torch.Generator().manual_seed(9)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data += effect * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def outputs(networks):
    """The prediction, and what the text encoders say."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.tensor([[VOCABULARY - 2, 5, 9, 30] + [VOCABULARY - 1] * (MAX_TOKENS - 4)])
    family = networks.family
    width = networks.unet.config.cross_attention_dim
    conditions = Conditions(
        prompt_embeds=torch.randn(1, MAX_TOKENS, width, generator=generator),
        pooled_prompt_embeds=torch.randn(1, HIDDEN, generator=generator) if family is SDXL else None,
        time_ids=torch.tensor([[512.0, 512, 0, 0, 512, 512]]) if family is SDXL else None,
    )
    now = current_conditions(networks, conditions, (ids,) * len(family.text_encoder_names))
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    return predict(networks, latents, torch.tensor([501]), now), now.prompt_embeds


def loaded(family, folder, weight_name, *, with_text=True):
    """What diffusers makes of a LoRA file."""
    pipeline = build_pipeline(family)
    with quiet():
        pipeline.load_lora_weights(folder, weight_name=weight_name)
    return networks_of(pipeline, with_text=with_text)
