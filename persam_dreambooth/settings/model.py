"""Which models."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which models."""

    pretrained_model_name_or_path: str = "toy"
    """Stable Diffusion to start from: "toy" (embedded), a folder in diffusers' layout, or a hub id."""
    revision: str | None = None
    """Revision of the model on the hub: a branch, a tag or a commit."""
    variant: str | None = None
    """Variant of the weight files, for example "fp16"."""
    tokenizer_name: str | None = None
    """Another tokenizer: a folder or a hub id; without it, the model's own."""
    pretrained_vae_model_name_or_path: str | None = None
    """Another VAE: a folder or a hub id, for example madebyollin/sdxl-vae-fp16-fix."""
    sam: str = "toy"
    """Segment Anything model: "toy" (embedded), a transformers folder, a hub id, or an original .pth file."""
    sam_adapter: Path | None = None
    """File that `persam-dreambooth adapt-sam` made for --sam, for photos that are foreign to it."""
