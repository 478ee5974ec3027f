"""Small vision transformers with random weights, saved the ways that real ones are found."""

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
)

from persam_dreambooth.diffusion.quiet import quiet

PATCH = 4
WIDTH = 16
NATIVE = 16 * PATCH
"""Side of the pictures whose positions are the model's own, in pixels: 16 x 16 patches."""
SMALL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": NATIVE,
    "patch_size": PATCH,
}
DINOV2 = ("dinov2", "registers")
CLIP = ("tower", "projection", "whole", "pipeline/safety_checker", "published")


def build_dinov2(kind: str) -> PreTrainedModel:
    """A DINOv2 whose positions and layers all matter."""
    torch.manual_seed(1)
    if kind == "registers":
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SMALL, num_register_tokens=3))
    else:
        model = Dinov2Model(Dinov2Config(**SMALL))
    return loud(model)


def loud(model: PreTrainedModel) -> PreTrainedModel:
    """The model with weights large enough that attention is not the mean of everything."""
    generator = torch.Generator().manual_seed(2)
    for name, weight in model.named_parameters():
        if "norm" not in name:
            weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model.eval()


def clip_config() -> CLIPConfig:
    """A whole CLIP's, text included."""
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    tokens = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
    return CLIPConfig(
        vision_config={**SMALL, "intermediate_size": 32}, text_config={**text, **tokens}, projection_dim=8
    )


def build_clip() -> CLIPVisionModel:
    """A CLIP vision tower."""
    return loud(CLIPVisionModel(CLIPVisionConfig(**SMALL, intermediate_size=32)))


def save_towers(folder: Path, tower: CLIPVisionModel) -> None:
    """Save one CLIP tower in each of the CLIP ways."""
    config = clip_config()
    with quiet():
        tower.save_pretrained(folder / "tower")
        projection = CLIPVisionModelWithProjection(tower.config)
        projection.vision_model.load_state_dict(tower.state_dict())
        projection.save_pretrained(folder / "projection")
        whole = CLIPModel(config)
        whole.vision_model.load_state_dict(tower.state_dict())
        whole.save_pretrained(folder / "whole")
        checker = StableDiffusionSafetyChecker._from_config(config, attn_implementation="eager")
        checker.vision_model.load_state_dict(tower.state_dict())
        checker.save_pretrained(folder / "pipeline" / "safety_checker")
        checker.save_pretrained(folder / "published")
    # Stable Diffusion 1.x was published when the tower lay one level deeper.
    path = folder / "published" / "model.safetensors"
    weights = {name.replace("vision_model.", "vision_model." * 2): w for name, w in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
