"""Small SAMs with random weights, built in code, and scenes for them."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import (
    PreTrainedModel,
    SamConfig,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from persam_dreambooth.sam.segmenter import Segmenter


def random_sam(seed: int = 1, image_size: int = 128, patch_size: int = 8) -> SamModel:
    """Return a SAM of the toy's shape whose masks are neither empty nor full."""
    width = 32
    vision = SamVisionConfig(
        hidden_size=width,
        output_channels=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=patch_size,
        window_size=7,
        global_attn_indexes=[1],
        num_pos_feats=width // 2,
        mlp_dim=2 * width,
    )
    prompts = SamPromptEncoderConfig(hidden_size=width, image_size=image_size, patch_size=patch_size)
    decoder = SamMaskDecoderConfig(
        hidden_size=width, mlp_dim=64, num_attention_heads=4, iou_head_hidden_dim=32
    )
    model = SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    )
    return with_random_weights(model, seed)


def with_random_weights(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Return the model with weights that make masks neither empty nor full."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "norm" in name:
            continue
        fan_in = weight[0].numel() if weight.dim() > 1 else weight.numel()
        # Loud enough for masks, and not so loud that float32 rounding grows out of hand.
        scale = 0.9 if name.startswith("mask_decoder") and weight.dim() > 1 else 1.0
        if "embed" in name or "token" in name:
            fan_in = 1
        values = torch.randn(weight.shape, generator=generator) * scale / fan_in**0.5
        weight.data.copy_(values)
    return model.eval()


def random_segmenter(seed: int = 1) -> Segmenter:
    """Return the segmenter over a random SAM."""
    return Segmenter(random_sam(seed))


def constant_segmenter(logit: float) -> Segmenter:
    """Return a segmenter whose masks have the same sign everywhere: empty or full."""
    model = random_sam()
    decoder = model.mask_decoder
    decoder.upscale_conv2.weight.data.zero_()
    decoder.upscale_conv2.bias.data.fill_(1.0)
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.proj_out.weight.data.zero_()
        mlp.proj_out.bias.data.fill_(logit)
    return Segmenter(model)


def scene(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo of a red disc on noise, uint8 [H W 3], and the disc's mask, bool [H W]."""
    rng = np.random.default_rng(seed)
    side = min(height, width)
    x, y = rng.uniform(0.35, 0.65) * width, rng.uniform(0.35, 0.65) * height
    radius = rng.uniform(0.2, 0.3) * side
    disc = Image.new("1", (width, height))
    ImageDraw.Draw(disc).ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    mask = np.array(disc)
    noise = rng.integers(0, 120, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    pixels = np.kron(noise, np.ones((4, 4, 1), np.uint8))[:height, :width].copy()
    pixels[mask] = (220, 40, 30)
    return pixels, mask


def relative_difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, as a share of the largest expected value."""
    return float((actual - expected).abs().max() / expected.abs().max())
