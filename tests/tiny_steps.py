"""Networks of a tiny model and batches of random latents: all that the formula of a step takes."""

import copy
import functools

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.dataset import Batch
from persam_dreambooth.diffusion.families import SD, SDXL, Family, encode_text
from persam_dreambooth.diffusion.networks import Networks

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
START, END, WORD = 0, 49, 7
"""Token numbers; WORD stands in every prompt, once."""
TOKENS, WIDTH, SIDE = 6, 8, 16


def ddpm(kind: str = "epsilon", **options: object) -> DDPMScheduler:
    return DDPMScheduler(**BETAS, prediction_type=kind, **options)


def tiny_unet(family: Family = SD, *, learned_variance: bool = False) -> UNet2DConditionModel:
    """Cross-attention at the latents' side, its half and its quarter; four layers of it at the quarter."""
    return copy.deepcopy(_unet(family, learned_variance)).train()


@functools.cache
def _unet(family: Family, learned_variance: bool) -> UNet2DConditionModel:
    torch.manual_seed(3)
    sdxl = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 2,
        "projection_class_embeddings_input_dim": 6 * 2 + WIDTH,
        "use_linear_projection": True,
    }
    return UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=4,
        out_channels=8 if learned_variance else 4,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=WIDTH * len(family.text_encoder_names),
        norm_num_groups=4,
        **(sdxl if family is SDXL else {}),
    )


def tiny_text_encoders(family: Family) -> tuple[torch.nn.Module, ...]:
    torch.manual_seed(4)
    config = CLIPTextConfig(
        vocab_size=END + 1,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
    )
    kinds = (CLIPTextModel,) if family is SD else (CLIPTextModel, CLIPTextModelWithProjection)
    return tuple(kind(config) for kind in kinds)


def tiny_networks(
    family: Family = SD, *, learned_variance: bool = False, with_text: bool = False
) -> Networks:
    text_encoders = tiny_text_encoders(family) if with_text else ()
    return Networks(tiny_unet(family, learned_variance=learned_variance), text_encoders, family)


@torch.no_grad()
def random_batch(
    family: Family = SD, *, instance: int = 2, class_images: int = 0, masked: bool = False, seed: int = 0
) -> Batch:
    """Random latents and prompts; masks are a quarter of the first photo, half of the second, and so on."""
    torch.manual_seed(seed)
    count = instance + class_images
    input_ids = torch.randint(8, END, (count, TOKENS))
    input_ids[:, 0], input_ids[:, -1] = START, END
    input_ids[torch.arange(count), 1 + torch.arange(count) % (TOKENS - 2)] = WORD
    ids = (input_ids,) * len(family.text_encoder_names)
    prompt_embeds, pooled = encode_text(family, tiny_text_encoders(family), ids)
    mask = torch.ones(count, 1, SIDE, SIDE)
    for row in range(instance if masked else 0):
        mask[row, :, : SIDE - (row + 1) * SIDE // 4] = 0
        mask[row, :, SIDE - (row + 1) * SIDE // 4] = 0.5
    return Batch(
        latents=torch.randn(count, 4, SIDE, SIDE),
        loss_mask=mask,
        subject_share=mask,
        conditions=Conditions(
            prompt_embeds,
            pooled,
            torch.tensor([[64.0, 48, 0, 8, 64, 64]]).expand(count, 6) if family is SDXL else None,
        ),
        input_ids=ids,
        noise=torch.randn(count, 4, SIDE, SIDE),
        timesteps=torch.randint(1000, (count,)),
        names=tuple(f"{row:02d}.png" for row in range(count)),
        num_instance=instance,
    )
