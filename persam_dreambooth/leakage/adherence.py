"""Which of the prompts' scenes a picture's background shows: does the model still draw the place asked for?

Of the N scenes that the recontext prompts ask for, the picture's own must fit its background best; by chance
one in N does. The judge is the base model, as a classifier of its own latents, or CLIP where a model is
given.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.scene_classifier import NUM_DRAWS, scene_errors
from persam_dreambooth.leakage.banks import Mask
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.scene_clip import load_clip, scene_cosines

Adherence = Callable[[Sequence[Picture], Sequence[Mask | None]], list[bool | None]]
"""Returns for each picture and mask of its subject whether its own scene fits best; None where that is
unknown."""


def diffusion_classifier(
    models: Models,
    scenes: Mapping[str, str],
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Adherence:
    """Return a judge that asks the base model which scene it would have drawn.

    Args:
        models: the model before fine-tuning.
        scenes: by recontext prompt, the text that describes such a picture to the base model: best the prompt
            without the rare word ("a photo of a cat on a beach"), which describes subject and place.
        num_draws: noisy versions of each picture.
        seed: of their noise.
        device: where to compute.
    """

    def judge(pictures: Sequence[Picture], masks: Sequence[Mask | None]) -> list[bool | None]:
        with tqdm(total=len(pictures), desc="recognise scenes", unit="picture", disable=None) as bar:
            errors = scene_errors(
                models,
                [picture.pixels for picture in pictures],
                masks,
                list(scenes.values()),
                num_draws=num_draws,
                seed=seed,
                device=device,
                on_done=bar.update,
            )
        return own_is_best(pictures, list(scenes), -errors)

    return judge


def clip(folder: Path | str, scenes: Mapping[str, str], *, device: torch.device | str = "cpu") -> Adherence:
    """Return a judge that asks CLIP; arguments as above, the scenes as places alone ("a photo of a beach").

    Args:
        folder: a CLIP model with both towers, as transformers saves it, or its hub id.
        scenes: by recontext prompt, its place in words.
        device: where to compute.

    Raises:
        UserError: it cannot be loaded.
    """
    model = load_clip(folder, device)

    def judge(pictures: Sequence[Picture], masks: Sequence[Mask | None]) -> list[bool | None]:
        bar = tqdm(pictures, desc="recognise scenes", unit="picture", disable=None)
        cosines = [
            scene_cosines(model, picture.pixels, mask, list(scenes.values()))
            for picture, mask in zip(bar, masks, strict=True)
        ]
        return own_is_best(pictures, list(scenes), np.stack(cosines))

    return judge


def own_is_best(
    pictures: Sequence[Picture], prompts: Sequence[str], fits: Float[np.ndarray, "n s"]
) -> list[bool | None]:
    """Return whether each picture's own prompt fits best.

    Args:
        pictures: n pictures.
        prompts: of s scenes.
        fits: how well each scene fits each picture, larger is better; NaN where that cannot be told.
    """
    numbers = {prompt: number for number, prompt in enumerate(prompts)}
    return [
        None
        if picture.prompt not in numbers or np.isnan(row).any()
        else int(row.argmax()) == numbers[picture.prompt]
        for picture, row in zip(pictures, fits, strict=True)
    ]
