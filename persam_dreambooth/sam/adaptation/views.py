"""What a step sees of a photo, and what the model makes of a photo when it is only looked at."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool
from transformers import PreTrainedModel

from persam_dreambooth.photos import Photo, read_photo
from persam_dreambooth.sam.adaptation.augmentations import draw_flips, flipped, strong_view, view_rng
from persam_dreambooth.sam.adaptation.branches import Branches, View
from persam_dreambooth.sam.adaptation.consistency import mean_consistency
from persam_dreambooth.sam.adaptation.frames import Frame, frame_of, pixel_values, to_photo
from persam_dreambooth.sam.adaptation.prompts import Prompt, decoder_prompts, flipped_prompt, jittered
from persam_dreambooth.sam.adaptation.weak_labels import Labelled
from persam_dreambooth.sam.automatic import DEFAULTS, AutomaticParameters, automatic_masks
from persam_dreambooth.sam.families import family_of
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings.adaptation import AdaptConfig, AdaptPlan

# SAM's own thresholds, as published, where a mask becomes its click. Where it becomes its box, lower ones: of
# photos that are foreign to it, SAM is sure of little.
AUTOMATIC = {
    "point": DEFAULTS,
    "box": AutomaticParameters(points_per_side=12, pred_iou_thresh=0.2, stability_score_thresh=0.3),
}

# A mask of more than this share of the photo is its background.
_MOST_AREA = 0.8

# Cells of a mask that is given as a prompt, to a side of the features' cells: two halvings in the encoder.
_PROMPT_CELLS = 4


def photos_of_step(seed: int, step: int, batch_size: int, num_photos: int) -> list[int]:
    """Return the photos of a step: each once in every pass, in another order in every pass."""
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        one: np.random.default_rng([seed, one]).permutation(num_photos)
        for one in {place // num_photos for place in places}
    }
    return [int(orders[place // num_photos][place % num_photos]) for place in places]


def view_of(
    model: PreTrainedModel,
    photo: Labelled,
    rng: np.random.Generator,
    config: AdaptConfig,
    plan: AdaptPlan,
    device: torch.device,
) -> View:
    """Return the weak and the strong view of a photo, and its prompts, mirrored and moved with it.

    Args:
        model: that will look.
        photo: and its weak labels.
        rng: from `view_rng`.
        config: how many masks at most.
        plan: how photos are mirrored, and points moved.
        device: where the model is.
    """
    flips = draw_flips(rng, plan.flips)
    prompts = photo.read_prompts()
    if len(prompts) > config.max_masks:
        chosen = np.sort(rng.choice(len(prompts), config.max_masks, replace=False))
        prompts = [prompts[i] for i in chosen]
    moved = [
        jittered(flipped_prompt(prompt, photo.size, flips), photo.size, plan.point_jitter, rng)
        for prompt in prompts
    ]
    weak = flipped(read_photo(photo.path).pixels, flips)
    family, frame = family_of(model), _frame(model, photo.size, plan.input)
    pictures = [
        pixel_values(family, pixels, frame, plan.input).to(device)
        for pixels in (weak, strong_view(weak, rng))
    ]
    return View(*pictures, decoder_prompts(moved, frame, _prompt_side(model), plan.coarse, device))


def step_view(
    branches: Branches,
    photos: Sequence[Labelled],
    index: int,
    step: int,
    config: AdaptConfig,
    plan: AdaptPlan,
) -> View:
    """Return the view of one of the photos in a step: the same whenever that step is done."""
    rng, device = view_rng(config.seed, step, index), branches.model.device
    return view_of(branches.model, photos[index], rng, config, plan, device)


@torch.no_grad()
def masks_of(
    branches: Branches, photo: Labelled, plan: AdaptPlan, prompts: Sequence[Prompt] | None = None
) -> Bool[np.ndarray, "n H W"]:
    """Return the masks of a photo's prompts at its size, by the branch whose mode is on.

    Args:
        branches: with the model.
        photo: and its weak labels.
        plan: how the photo is shown.
        prompts: others than the photo's own.
    """
    model = branches.model
    family, frame = family_of(model), _frame(model, photo.size, plan.input)
    values = pixel_values(family, read_photo(photo.path).pixels, frame, plan.input).to(model.device)
    arguments = decoder_prompts(
        photo.read_prompts() if prompts is None else prompts,
        frame,
        _prompt_side(model),
        plan.coarse,
        model.device,
    )
    looked = branches.look(values, arguments)
    # One at a time: photos are large, and SAM's own prompts may be a hundred.
    return np.stack([(to_photo(one[None], frame)[0] > 0).cpu().numpy() for one in looked.low_res_logits])


def consistencies(branches: Branches, photos: Sequence[Labelled], plan: AdaptPlan) -> list[float]:
    """Return, for each photo, how well its masks keep to its weak labels, 0 to 1."""
    return [mean_consistency(masks_of(branches, photo, plan), photo.read_prompts()) for photo in photos]


def automatic_prompts(segmenter: Segmenter, photo: Photo, kind: Literal["box", "point"]) -> list[Prompt]:
    """Return what SAM itself sees in a photo as prompts, the likeliest first; an empty list for nothing.

    Args:
        segmenter: the source model.
        photo: any.
        kind: what a mask becomes: its box, or the click that it came from.
    """
    found = automatic_masks(segmenter, segmenter.encode(photo.pixels), AUTOMATIC[kind])
    found = [one for one in found if one.area <= _MOST_AREA * photo.pixels[..., 0].size]
    if kind == "box":
        return [Prompt(box=tuple(float(value) for value in one.box)) for one in found]
    return [Prompt(points=np.array([one.point_coords]), labels=np.array([1])) for one in found]


def _frame(model: PreTrainedModel, size: tuple[int, int], way: Literal["sam", "wesam"]) -> Frame:
    """Return where a photo of this (height, width) lies in the model's square."""
    return frame_of(family_of(model), size, model.config.prompt_encoder_config.image_size, way)


def _prompt_side(model: PreTrainedModel) -> int:
    """Return the side of the masks that the prompt encoder takes."""
    config = model.config.prompt_encoder_config
    return _PROMPT_CELLS * (config.image_size // config.patch_size)
