"""The examples of a training step, as a pure function of the seed, the step and the example's number.

Examples of a step are numbered over all processes and accumulated passes, so that who computes an example
changes nothing about it.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.encode import Encoded


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of one forward pass: those of the subject, then as many of its class, if there are any."""

    latents: Float[Tensor, "b c h w"]
    """Scaled latents, drawn anew for this step."""
    loss_mask: Float[Tensor, "b 1 h w"]
    """Weight of each latent cell; 1 everywhere for class pictures."""
    prompt_embeds: Float[Tensor, "b t d"]
    """The text encoder's last hidden states."""
    noise: Float[Tensor, "b c h w"]
    """Standard normal."""
    timesteps: Int[Tensor, " b"]
    """How much of it, 0 to num_train_timesteps - 1."""
    names: tuple[str, ...]
    """File names of the photos."""
    num_instance: int
    """How many of the examples are of the subject; they come first."""

    def to(self, device: torch.device) -> "Batch":
        """Return the same examples on another device."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        moved = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in values.items()}
        return type(self)(**moved)


@dataclass(frozen=True, eq=False)
class Examples:
    """All there is to train on."""

    instance: Encoded
    """Photos of the subject."""
    class_images: Encoded | None
    """Pictures of its class, for prior preservation."""
    seed: int
    """Every draw follows from it."""


def batch_at(
    examples: Examples, step: int, indices: range, *, examples_per_step: int, num_train_timesteps: int
) -> Batch:
    """Return some of the examples of a step.

    Args:
        examples: what to draw from.
        step: steps done before this one.
        indices: numbers of the wanted examples within the step, 0 to examples_per_step - 1.
        examples_per_step: examples of the subject in a whole step. With it photos come in passes: each once,
            in a new order every pass.
        num_train_timesteps: of the noise scheduler.
    """
    kinds = {"instance": examples.instance, "class": examples.class_images}
    rows = []
    for kind, encoded in kinds.items():
        if encoded is None:
            continue
        for index in indices:
            key = (examples.seed, kind)
            photo = photo_of(encoded.num_photos, step * examples_per_step + index, *key)
            rows.append(_example(encoded, photo, num_train_timesteps, (*key, step, index)))
    latents, loss_masks, prompt_embeds, noise, timesteps, names = zip(*rows, strict=True)
    return Batch(
        latents=torch.stack(latents),
        loss_mask=torch.stack(loss_masks),
        prompt_embeds=torch.stack(prompt_embeds),
        noise=torch.stack(noise),
        timesteps=torch.stack(timesteps),
        names=names,
        num_instance=len(indices),
    )


def photo_of(num_photos: int, position: int, *key: int | str) -> int:
    """Return which photo is at a position of the endless row of passes, each in an order of its own."""
    passes, place = divmod(position, num_photos)
    order = torch.randperm(num_photos, generator=randomness.generator(*key, "order", passes))
    return int(order[place])


def _example(encoded: Encoded, photo: int, num_train_timesteps: int, key: tuple[int | str, ...]) -> tuple:
    """Return latents, loss mask, prompt embedding, noise, timestep and name of one example."""
    flip = torch.randint(2, (), generator=randomness.generator(*key, "flip"))
    row = photo + encoded.num_photos * int(flip) * encoded.with_flips
    mean, std = encoded.moments[row].chunk(2)
    latents = mean + std * torch.randn(mean.shape, generator=randomness.generator(*key, "latents"))
    noise = torch.randn(mean.shape, generator=randomness.generator(*key, "noise"))
    timestep = torch.randint(num_train_timesteps, (), generator=randomness.generator(*key, "timestep"))
    return latents, encoded.loss_mask[row], encoded.prompt_embeds[row], noise, timestep, encoded.names[photo]
