"""How far a photo's background reaches into a step of training, asked of the step itself.

    NaN canary     every background pixel becomes NaN before the VAE; are loss and gradient still numbers?
    input share    sum of |dL/dx| over background pixels / sum over all pixels

Zero times NaN is NaN, so the canary finds every path, also one that multiplies the background by 0; the
input share says how wide the paths are. A background pixel is one that holds nothing of the subject.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from persam_dreambooth.diffusion.background_influence import gradient
from persam_dreambooth.diffusion.dataset import Batch, Examples, batch_at
from persam_dreambooth.diffusion.encode import Encoded
from persam_dreambooth.diffusion.pictures import Picture
from persam_dreambooth.diffusion.training_state import TrainingState


@dataclass(frozen=True)
class Reach:
    """Of the background into the first step of a training."""

    loss_is_number: bool
    """With NaN in every background pixel."""
    gradient_is_number: bool
    """The same, of every trained weight."""
    input_share: float
    """Of the slope of the loss by pixels, what lies on background, 0 to 1; 0 is none, to the bit."""

    @property
    def is_none(self) -> bool:
        """Whether nothing of the background arrives."""
        return self.loss_is_number and self.gradient_is_number and self.input_share == 0


def background_reach(state: TrainingState, instance: Encoded) -> Reach:
    """Return how far the background reaches into the first step; the training is as it was afterwards.

    Args:
        state: before its first step.
        instance: its photos, encoded in every step, so that their pixels can be asked.

    Raises:
        ValueError: they were encoded beforehand.
    """
    if instance.source is None:
        raise ValueError("photos that are encoded in every step are needed")
    loss, gradients = gradient(state, _first_batch(state, _with_pictures(instance, poisoned)))
    return Reach(
        loss_is_number=torch.tensor(loss).isfinite().item(),
        gradient_is_number=all(bool(values.isfinite().all()) for values in gradients),
        input_share=_input_share(state, instance),
    )


def poisoned(picture: Picture) -> Picture:
    """Return a picture with NaN in every pixel that holds nothing of the subject."""
    is_subject = picture.share > 0

    def poison(pixels: UInt8[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
        return torch.where(is_subject, pixels.float(), torch.nan)

    whole = None if picture.whole is None else poison(picture.whole)
    return dataclasses.replace(picture, pixels=poison(picture.pixels), whole=whole)


def _input_share(state: TrainingState, instance: Encoded) -> float:
    """Return which share of the loss's slope by pixels lies on background."""
    asked = _with_pictures(instance, _asking)
    gradient(state, _first_batch(state, asked))
    on_background = everywhere = 0.0
    for picture in asked.source.pictures:
        for pixels in (picture.pixels, picture.whole):
            if pixels is None or pixels.grad is None:
                continue
            slope = pixels.grad.double().abs()
            everywhere += float(slope.sum())
            on_background += float(slope[(picture.share == 0).expand_as(slope)].sum())
    return on_background / everywhere if everywhere else 0.0


def _asking(picture: Picture) -> Picture:
    """Return a picture whose pixels keep the gradient of what is made from them."""
    whole = None if picture.whole is None else picture.whole.float().requires_grad_()
    return dataclasses.replace(picture, pixels=picture.pixels.float().requires_grad_(), whole=whole)


def _with_pictures(instance: Encoded, change: Callable[[Picture], Picture]) -> Encoded:
    """Return photos of which every picture has been changed."""
    pictures = tuple(change(picture) for picture in instance.source.pictures)
    return dataclasses.replace(instance, source=dataclasses.replace(instance.source, pictures=pictures))


def _first_batch(state: TrainingState, instance: Encoded) -> Batch:
    """Return what the first forward pass is shown, of these photos."""
    examples: Examples = dataclasses.replace(state.examples, instance=instance)
    return batch_at(
        examples,
        0,
        range(state.settings.train_batch_size),
        examples_per_step=state.examples_per_step,
        num_train_timesteps=state.noise_scheduler.config.num_train_timesteps,
    )
