"""One photo's step: source, teacher and student look at it, and the losses go backwards.

The teacher's terms first, then the student's: the student's targets are hard masks without a gradient, so
that the two halves need not be in memory together, and the sum of their gradients is the whole one.

Source: WeSAM (arXiv 2312.03502), section 3; its program, adaptation.py.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from persam_dreambooth.sam.adaptation.lora import LoraLinear, lora_mode
from persam_dreambooth.sam.adaptation.losses import (
    LossWeights,
    contrast_loss,
    dice_loss,
    grid_masks,
    mask_features,
    self_training_loss,
)
from persam_dreambooth.sam.families import family_of
from persam_dreambooth.sam.preprocessing import bilinear


@dataclass(frozen=True, eq=False)
class View:
    """A photo as the three branches see it; the same prompts are right for both pictures."""

    weak: Float[Tensor, "1 3 L L"]
    strong: Float[Tensor, "1 3 L L"]
    prompts: list[dict[str, Tensor]]
    """From `decoder_prompts`."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What a branch says of n things in a photo."""

    features: Float[Tensor, "c gh gw"]
    low_res_logits: Float[Tensor, "n h w"]
    mask_logits: Float[Tensor, "n L L"]
    """Over the whole square."""
    iou_predictions: Float[Tensor, " n"]


@dataclass(frozen=True)
class Terms:
    """What is added up, and which branches learn."""

    weights: LossWeights = field(default_factory=LossWeights)
    background: bool = True
    """One more row of the contrast loss: what no mask covers."""
    teacher_learns: bool = True
    """The teacher is the student and gets gradients; otherwise anchor and contrast hold the student."""


@dataclass(frozen=True, eq=False)
class Branches:
    """The one model that plays all three, and how it computes."""

    model: PreTrainedModel
    """With the adapters in it."""
    adapters: Mapping[str, LoraLinear]
    backward: Callable[[Tensor], None] = Tensor.backward
    precision: Callable[[], AbstractContextManager] = nullcontext
    """accelerate's autocast, around the image encoder alone, as where the adapter is used: the positions of
    prompts, masks and losses are computed in float32."""

    def look(self, pixel_values: Float[Tensor, "1 3 L L"], prompts: Sequence[Mapping[str, Tensor]]) -> Looked:
        """Return the masks of a photo's prompts by the branch whose mode is on."""
        return look(self.model, pixel_values, prompts, self.precision)


def look(
    model: PreTrainedModel,
    pixel_values: Float[Tensor, "1 3 L L"],
    prompts: Sequence[Mapping[str, Tensor]],
    precision: Callable[[], AbstractContextManager] = nullcontext,
) -> Looked:
    """Return the masks of a photo's prompts, one each, with gradients where they are on.

    Args:
        model: with the adapters in it.
        pixel_values: a photo in the model's square.
        prompts: from `decoder_prompts`.
        precision: of the image encoder.
    """
    family = family_of(model)
    with precision():
        encoded = family.encode(model, pixel_values)
    features, fine = encoded.features.float(), tuple(level.float() for level in encoded.fine_features)
    inputs = family.decoder_inputs(features, fine)
    masks, ious = [], []
    for arguments in prompts:
        output = model(**inputs, **arguments, multimask_output=False)
        masks.append(output.pred_masks[0, :, 0])
        ious.append(output.iou_scores[0, :, 0])
    low_res_logits, side = torch.cat(masks), pixel_values.shape[-1]
    return Looked(features[0], low_res_logits, bilinear(low_res_logits, (side, side)), torch.cat(ious))


def step_on(branches: Branches, view: View, terms: Terms) -> dict[str, float]:
    """Add one photo's gradients to the adapters'; return its losses by name, unweighted but for `self`."""
    adapters, weights = branches.adapters, terms.weights
    with lora_mode(adapters, "off"), torch.no_grad():
        anchor = branches.look(view.weak, view.prompts)
    anchor_masks = (anchor.mask_logits > 0).float()
    # Without these two the teacher has nothing to learn by itself.
    learns = terms.teacher_learns and bool(weights.anchor or weights.contrast)
    told = {"anchor": 0.0, "contrast": 0.0}
    with lora_mode(adapters, "teacher"), nullcontext() if learns else torch.no_grad():
        teacher = branches.look(view.weak, view.prompts)
        target = (teacher.mask_logits > 0).float().detach()
        if learns:
            held = 0.5 * dice_loss(teacher.mask_logits, anchor_masks, smoothing=1)
            contrast = _contrast(teacher, anchor, terms)
            branches.backward(weights.anchor * held + weights.contrast * contrast)
            told = {"anchor": held.item(), "contrast": contrast.item()}
    del teacher
    with lora_mode(adapters, "student"):
        student = branches.look(view.strong, view.prompts)
        learned = self_training_loss(student.mask_logits, student.iou_predictions, target, weights)
        share = 0.5 if terms.teacher_learns else 1.0
        held = share * dice_loss(student.mask_logits, anchor_masks, smoothing=1)
        total = learned + weights.anchor * held
        told["anchor"] += held.item()
        if not terms.teacher_learns:
            contrast = _contrast(student, anchor, terms)
            total = total + weights.contrast * contrast
            told["contrast"] = contrast.item()
        branches.backward(total)
    return {"self": learned.item(), **told}


def _contrast(looked: Looked, anchor: Looked, terms: Terms) -> Float[Tensor, ""]:
    """Return the contrast loss between a branch's features of its masks and the source's of its own."""
    features = [
        mask_features(
            one.features,
            grid_masks(one.low_res_logits, one.features.shape[1:], background=terms.background),
        )
        for one in (looked, anchor)
    ]
    return contrast_loss(*features)
