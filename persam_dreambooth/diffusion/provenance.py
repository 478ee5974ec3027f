"""What files and model card tell of a training: from what, on what, how."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from persam_dreambooth.diffusion.families import Family

Architecture = Literal["sd1", "sd2", "sdxl"]

# Width of the text that Stable Diffusion 2's UNet reads; 1.x reads 768.
_SD2_WIDTH = 1024


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where trained weights come from. Without places on this machine, and without secrets."""

    name: str
    """What the result is called."""
    base_model: str
    """As --pretrained_model_name_or_path names it: a hub id; of a folder only its name."""
    architecture: Architecture
    """Tells apart what other tools tell apart."""
    prediction_type: str
    """What the model predicts: epsilon, v_prediction or sample."""
    resolution: int
    """Side of the training pictures in pixels."""
    steps: int
    """Optimizer steps done."""
    instance_prompt: str
    """What the photos were called in training."""
    trigger_words: str
    """What brings the subject into a picture."""
    prompts: Mapping[str, int] = field(default_factory=dict)
    """Prompts that were trained on, and how many photos each of them is of."""
    num_class_images: int = 0
    """Class pictures trained on."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Every flag of the run by its name."""
    mask_digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each photo's mask by the photo's name; empty without masks."""
    mask_areas: Mapping[str, float] = field(default_factory=dict)
    """Share of each photo that the mask covers, 0 to 1."""
    summary: str = ""
    """In words what the loss saw of the photos."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of this program and of the libraries that the numbers depend on."""

    @property
    def num_photos(self) -> int:
        """Photos of the subject."""
        return sum(self.prompts.values())


def architecture(family: Family, cross_attention_dim: int) -> Architecture:
    """Return what other tools call a model's kind.

    Args:
        family: of the model.
        cross_attention_dim: width of the text that its UNet reads.
    """
    if family.name == "sdxl":
        return "sdxl"
    return "sd2" if cross_attention_dim == _SD2_WIDTH else "sd1"
