"""The examples of a training step, as a pure function of the seed, the step and the example's number.

Examples of a step are numbered over all processes and accumulated passes, so that who computes an example
changes nothing about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.encode import Encoded

Key = tuple[int | str, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of one forward pass: those of the subject, then as many of its class, if there are any."""

    latents: Float[Tensor, "b c h w"]
    """Scaled latents, drawn anew for this step."""
    loss_mask: Float[Tensor, "b 1 h w"]
    """Weight of each latent cell; 1 everywhere for class pictures."""
    subject_share: Float[Tensor, "b 1 h w"]
    """How much of each latent cell is subject; 1 everywhere for class pictures."""
    conditions: Conditions
    """What the UNet is told, as the untrained text encoders read the prompts."""
    input_ids: tuple[Int[Tensor, "b t"], ...]
    """The prompts as token numbers, for each text encoder."""
    noise: Float[Tensor, "b c h w"]
    """Standard normal, each channel shifted by `noise_offset` times a standard normal number."""
    timesteps: Int[Tensor, " b"]
    """How much of it, 0 to num_train_timesteps - 1."""
    names: tuple[str, ...]
    """File names of the photos."""
    num_instance: int
    """How many of the examples are of the subject; they come first."""

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same examples on another device."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        moved = {name: v.to(device) for name, v in values.items() if isinstance(v, Tensor | Conditions)}
        return replace(self, **moved, input_ids=tuple(ids.to(device) for ids in self.input_ids))


@dataclass(frozen=True, eq=False)
class Examples:
    """All there is to train on."""

    instance: Encoded
    """Photos of the subject."""
    class_images: Encoded | None
    """Pictures of its class, for prior preservation."""
    seed: int
    """Every draw follows from it."""


@dataclass(frozen=True, eq=False)
class _Example:
    """One row of a batch."""

    latents: Float[Tensor, "c h w"]
    loss_mask: Float[Tensor, "1 h w"]
    subject_share: Float[Tensor, "1 h w"]
    noise: Float[Tensor, "c h w"]
    timestep: Int[Tensor, ""]
    conditions: Conditions
    input_ids: tuple[Int[Tensor, "1 t"], ...]
    name: str


def batch_at(
    examples: Examples,
    step: int,
    indices: range,
    *,
    examples_per_step: int,
    num_train_timesteps: int,
    noise_offset: float = 0.0,
    caption_dropout: float = 0.0,
) -> Batch:
    """Return some of the examples of a step.

    Args:
        examples: what to draw from.
        step: steps done before this one.
        indices: numbers of the wanted examples within the step, 0 to examples_per_step - 1; where photos have
            several sizes, those of one forward pass, which have one size.
        examples_per_step: examples of the subject in a whole step. With it photos come in passes: each once,
            in a new order every pass.
        num_train_timesteps: of the noise scheduler.
        noise_offset: how far the noise of a channel is shifted as a whole, as a share of its deviation.
        caption_dropout: share of the subject's examples whose prompt is dropped.
    """
    first = step * examples_per_step + indices.start
    rows, size = [], None
    for kind, encoded in (("instance", examples.instance), ("class", examples.class_images)):
        if encoded is None:
            continue
        key = (examples.seed, kind)
        photos = photos_of(encoded, first, len(indices), key, size)
        size = encoded.latent_sizes[photos[0]]
        dropout = caption_dropout if kind == "instance" else 0.0
        for index, photo in zip(indices, photos, strict=True):
            example = _example(encoded, photo, num_train_timesteps, (*key, step, index))
            shifted = _shifted(example, noise_offset, (*key, step, index))
            rows.append(_without_prompt(shifted, encoded, dropout, (*key, step, index)))
    return Batch(
        latents=torch.stack([row.latents for row in rows]),
        loss_mask=torch.stack([row.loss_mask for row in rows]),
        subject_share=torch.stack([row.subject_share for row in rows]),
        conditions=Conditions.cat([row.conditions for row in rows]),
        input_ids=tuple(torch.cat(ids) for ids in zip(*(row.input_ids for row in rows), strict=True)),
        noise=torch.stack([row.noise for row in rows]),
        timesteps=torch.stack([row.timestep for row in rows]),
        names=tuple(row.name for row in rows),
        num_instance=len(indices),
    )


def photos_of(
    encoded: Encoded, first: int, count: int, key: Key, size: tuple[int, int] | None = None
) -> list[int]:
    """Return the photos of one forward pass.

    Args:
        encoded: whose photos.
        first: number of the pass's first example since training began.
        count: examples of the pass.
        key: what the orders follow from.
        size: (height, width) of latents that the photos must have; None takes what the order gives.
    """
    by_size: dict[tuple[int, int], list[int]] = {}
    for photo, photo_size in enumerate(encoded.latent_sizes[: encoded.num_photos]):
        by_size.setdefault(photo_size, []).append(photo)
    if size is None and len(by_size) > 1:
        return _photos_of_one_size(list(by_size.values()), first // count, count, key)
    photos = by_size[size] if size is not None else range(encoded.num_photos)
    return [photos[photo_of(len(photos), first + place, *key)] for place in range(count)]


def photo_of(num_photos: int, position: int, *key: int | str) -> int:
    """Return which photo is at a position of the endless row of passes, each in an order of its own."""
    passes, place = divmod(position, num_photos)
    return _order(num_photos, *key, "order", passes)[place]


def _photos_of_one_size(groups: Sequence[list[int]], number: int, count: int, key: Key) -> list[int]:
    """Return the photos of a forward pass by its number: all of one group.

    A pass over the album takes every group in batches, the last of a group filled up from its start, and all
    batches in an order of their own.

    Source: BucketBatchSampler of diffusers' train_dreambooth_lora_flux_kontext.py.
    """
    batches = [(group, start) for group in groups for start in range(0, len(group), count)]
    passes, place = divmod(number, len(batches))
    group, start = batches[_order(len(batches), *key, "batches", passes)[place]]
    order = _order(len(group), *key, "order", passes, group[0])
    return [group[order[(start + offset) % len(group)]] for offset in range(count)]


def _order(count: int, *key: int | str) -> list[int]:
    """Return the numbers 0 to count - 1 in the order that belongs to a key."""
    return torch.randperm(count, generator=randomness.generator(*key)).tolist()


def _example(encoded: Encoded, photo: int, num_train_timesteps: int, key: Key) -> _Example:
    """Return one example."""
    flip = torch.randint(2, (), generator=randomness.generator(*key, "flip"))
    row = photo + encoded.num_photos * int(flip) * encoded.with_flips
    mean, std = encoded.moments_of(row, key).chunk(2)
    height, width = encoded.latent_sizes[row]
    return _Example(
        latents=mean + std * torch.randn(mean.shape, generator=randomness.generator(*key, "latents")),
        loss_mask=encoded.loss_mask[row, :, :height, :width],
        subject_share=encoded.subject_share[row, :, :height, :width],
        noise=torch.randn(mean.shape, generator=randomness.generator(*key, "noise")),
        timestep=torch.randint(num_train_timesteps, (), generator=randomness.generator(*key, "timestep")),
        conditions=encoded.conditions.rows(row),
        input_ids=tuple(ids[row : row + 1] for ids in encoded.input_ids),
        name=encoded.names[photo],
    )


def _shifted(example: _Example, noise_offset: float, key: Key) -> _Example:
    """Return an example whose noise is shifted channel by channel.

    Source: Guttenberg 2023, Diffusion with Offset Noise; --offset_noise of diffusers' train_dreambooth.py.
    """
    if not noise_offset:
        return example
    channels = len(example.noise)
    offset = torch.randn(channels, 1, 1, generator=randomness.generator(*key, "offset"))
    return replace(example, noise=example.noise + noise_offset * offset)


def _without_prompt(example: _Example, encoded: Encoded, caption_dropout: float, key: Key) -> _Example:
    """Return an example, as often as wanted without its prompt."""
    if float(torch.rand((), generator=randomness.generator(*key, "caption"))) >= caption_dropout:
        return example
    nothing = encoded.no_prompt
    return replace(
        example,
        conditions=replace(nothing.conditions, time_ids=example.conditions.time_ids),
        input_ids=nothing.input_ids,
    )
