"""Which scene CLIP sees in a picture whose subject is painted over with its surroundings' mean colour."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoTokenizer, CLIPModel, PreTrainedTokenizerBase

from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.leakage.banks import Mask, Pixels

# Of CLIP's training, for every model size (openai/CLIP, clip.py).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)


@dataclass(frozen=True, eq=False)
class SceneClip:
    """A CLIP model with what reads its texts."""

    model: CLIPModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def side(self) -> int:
        """Side of the pictures that it takes, in pixels."""
        return self.model.config.vision_config.image_size


def load_clip(folder: Path | str, device: torch.device | str = "cpu") -> SceneClip:
    """Load a CLIP model with its text tower.

    Raises:
        UserError: it cannot be loaded, or has no text tower.
    """
    try:
        with quiet():
            model, loading = CLIPModel.from_pretrained(
                str(folder), dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        # transformers would draw them at random, and only say so.
        if missing := sorted(loading["missing_keys"]):
            raise ValueError(f"{len(missing)} of the weights are missing, {missing[0]} first")
    except _UNLOADABLE as error:
        raise UserError(
            f"--scene_judge clip:{folder}: cannot be loaded ({one_line(error)}); a CLIP model with its text "
            "tower and tokenizer is needed. Leave it out to let the base model judge."
        ) from error
    return SceneClip(model.to(device).eval(), tokenizer)


@torch.no_grad()
def scene_cosines(
    clip: SceneClip, pixels: Pixels, mask: Mask | None, scenes: list[str]
) -> Float[np.ndarray, " s"]:
    """Return how near a picture's background is to each scene's text, as cosines; NaN without any."""
    if mask is not None and mask.all():
        return np.full(len(scenes), np.nan)
    if mask is not None and mask.any():
        pixels = np.where(mask[..., None], pixels[~mask].mean(axis=0).astype(np.uint8), pixels)
    image = Image.fromarray(pixels).resize((clip.side, clip.side), Image.Resampling.BICUBIC)
    values = (np.asarray(image) / 255.0 - _MEAN) / _STD
    device = clip.model.device
    shown = torch.from_numpy(values).permute(2, 0, 1)[None].float().to(device)
    told = clip.tokenizer(scenes, padding=True, truncation=True, return_tensors="pt").to(device)
    seen = clip.model(pixel_values=shown, **told)
    return seen.logits_per_image[0].double().cpu().numpy() / float(clip.model.logit_scale.exp())
