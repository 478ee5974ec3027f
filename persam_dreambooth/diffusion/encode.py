"""Photos, masks and prompts, once through the VAE and the text encoders, to what every training step reads.

What is kept of a photo is the mean and the standard deviation of its latents, so that each step still draws
latents of its own. With random_flip a mirrored copy is kept beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from persam_dreambooth.diffusion.backgrounds import Background, Key, check_has_masks
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.encode_cache import EncodeCache, device_kind
from persam_dreambooth.diffusion.geometry import Geometry, check_sizes
from persam_dreambooth.diffusion.latent_mask import LatentMask
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.pictures import Picture, PictureSource, Preparation, class_squares, prepare
from persam_dreambooth.diffusion.prompts import (
    EncodedPrompts,
    encode_no_prompt,
    encode_prompts,
    with_sizes,
)
from persam_dreambooth.photos import Photo
from persam_dreambooth.run import digest_of


@dataclass(frozen=True, eq=False)
class Encoded:
    """Photos ready for training. With random_flip, row n + i is photo i of n mirrored.

    Pictures of several sizes lie in tensors of the largest, at the top left, with 0 beside them.
    """

    moments: Float[Tensor, "rows c2 h w"]
    """Mean and standard deviation (stacked along the channels) of each row's scaled latents."""
    loss_mask: Float[Tensor, "rows 1 h w"]
    """Weight of each latent cell in the loss, 0 to 1."""
    subject_share: Float[Tensor, "rows 1 h w"]
    """How much of each latent cell's pixels is subject, 0 to 1; 1 without masks."""
    conditions: Conditions
    """What the UNet is told of each row, as the untrained text encoders read the prompts."""
    input_ids: tuple[Int[Tensor, "rows t"], ...]
    """The prompts as token numbers, for each text encoder."""
    no_prompt: EncodedPrompts
    """What it is told in place of a prompt that is dropped, as one row."""
    latent_sizes: tuple[tuple[int, int], ...]
    """(height, width) of each row's latents."""
    names: tuple[str, ...]
    """File name of each photo."""
    digest: str
    """Changes with anything that the tensors were made from."""
    source: PictureSource | None = None
    """Where latents come from that are encoded in every step."""
    num_cached: int = 0
    """Rows that were encoded in an earlier run."""

    @property
    def num_photos(self) -> int:
        """Photos, their mirrored copies not counted."""
        return len(self.names)

    @property
    def with_flips(self) -> bool:
        """Whether there are mirrored copies."""
        return len(self.moments) > self.num_photos

    def moments_of(self, row: int, key: Key) -> Float[Tensor, "c2 h w"]:
        """Return mean and standard deviation of a row's latents in a step.

        Args:
            row: which.
            key: what the row's background follows from, where each step has another.
        """
        if self.source is not None:
            return self.source.moments_of(row, key)
        height, width = self.latent_sizes[row]
        return self.moments[row, :, :height, :width]


def class_preparation(preparation: Preparation) -> Preparation:
    """Return how class pictures are prepared beside photos: whole, in every size that a batch may have."""
    return replace(preparation, latent_mask=LatentMask(), background=Background(), every_size=True)


@torch.no_grad()
def encode(
    models: Models,
    photos: Sequence[Photo],
    masks: Mapping[str, Bool[np.ndarray, "H W"]] | None,
    *,
    prompts: Sequence[str],
    preparation: Preparation,
    class_photos: Sequence[Photo] = (),
    device: str | torch.device = "cpu",
    cache_dir: Path | None = None,
) -> Encoded:
    """Return what training needs of photos, on the CPU.

    Photos are encoded one at a time, so that none changes the last bits of another.

    Args:
        models: VAE and text encoders are moved to `device` for this, and back to the CPU.
        photos: at least one.
        masks: by the stem of the photo's name, at the photo's size, True on the subject; None trains on whole
            pictures.
        prompts: what each photo is called.
        preparation: how photos become training pictures.
        class_photos: that backgrounds are cut from, where they are.
        device: where to encode.
        cache_dir: folder of what was encoded before; None keeps nothing.

    Raises:
        UserError: the sizes do not suit the VAE, a prompt is too long, or a mask is missing, of another size
            than its photo, or leaves nothing to learn.
    """
    geometry, background, factor = preparation.geometry, preparation.background, models.vae_scale_factor
    check_sizes(geometry, factor)
    check_has_masks(background, has_masks=masks is not None)
    targets = geometry.sizes if preparation.every_size else (None,)
    jobs = [(photo, prompt, size) for size in targets for photo, prompt in zip(photos, prompts, strict=True)]
    pictures = [prepare(photo, masks, preparation, factor, size) for photo, _, size in jobs]
    backdrops = class_squares(
        class_photos if background.mode == "class" else (), {p.placement.target for p in pictures}, geometry
    )
    source = PictureSource(pictures, models.vae, device, background, backdrops)

    cache = EncodeCache(cache_dir)
    each_step = background.is_new_each_step or not preparation.cache_latents
    rows = _moments(source, geometry, EncodeCache(None) if each_step else cache)
    num_cached = cache.num_read
    models.vae.to("cpu")
    files, texts = [str(photo.path) for photo, _, _ in jobs], [prompt for _, prompt, _ in jobs]
    placements, copies = [picture.placement for picture in pictures], 1
    if geometry.random_flip:
        placements, copies = placements + [placement.mirrored() for placement in placements], 2
    told = encode_prompts(models, texts * copies, files * copies, device=device, cache=cache)
    return Encoded(
        moments=_stacked(rows),
        loss_mask=_cells(pictures, factor, preparation),
        subject_share=_cells(pictures, factor, replace(preparation, latent_mask=LatentMask())),
        conditions=with_sizes(models, told.conditions, placements),
        input_ids=told.input_ids,
        no_prompt=encode_no_prompt(models, device=device, cache=cache),
        latent_sizes=tuple((row.shape[-2], row.shape[-1]) for row in rows),
        names=tuple(photo.path.name for photo, _, _ in jobs),
        digest=_digest(models, source, preparation, class_photos, texts),
        source=source if each_step else None,
        num_cached=num_cached,
    )


def _moments(source: PictureSource, geometry: Geometry, cache: EncodeCache) -> list[Float[Tensor, "c2 h w"]]:
    """Return mean and deviation of the latents of every row, encoded or read."""
    found = []
    for row in range(len(source.pictures) * (2 if geometry.random_flip else 1)):
        picture = source.pictures[row % len(source.pictures)]
        key = (geometry.seed, picture.key)
        drawn_from = key if source.background.replaces else None
        inputs = (_inputs(picture), row >= len(source.pictures), vars(source.background), drawn_from)
        settings = (cache.weights_of(source.vae), geometry.interpolation, device_kind(source.device))
        make = partial(_made, source, row, key)
        found.append(cache.get(make, "photo", *inputs, *settings)["moments"])
    return found


def _made(source: PictureSource, row: int, key: Key) -> dict[str, Tensor]:
    """Return a row's moments by name, encoded now."""
    return {"moments": source.moments_of(row, key)}


def _cells(pictures: Sequence[Picture], factor: int, preparation: Preparation) -> Float[Tensor, "rows 1 h w"]:
    """Return a weight of each latent cell of every row."""
    cells = [picture.cells(factor, preparation.latent_mask) for picture in pictures]
    if preparation.geometry.random_flip:
        cells += [weights.flip(-1) for weights in cells]
    return _stacked(cells)


def _stacked(tensors: Sequence[Float[Tensor, "c _ _"]]) -> Float[Tensor, "rows c h w"]:
    """Return tensors as one, those that are smaller with 0 at the right and at the bottom."""
    height, width = (max(tensor.shape[axis] for tensor in tensors) for axis in (-2, -1))
    return torch.stack(
        [pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2])) for tensor in tensors]
    )


def _inputs(picture: Picture) -> tuple[object, ...]:
    """Return what a picture follows from, the settings aside."""
    return picture.key, picture.mask_digest, vars(picture.placement)


def _digest(
    models: Models,
    source: PictureSource,
    preparation: Preparation,
    class_photos: Sequence[Photo],
    prompts: Sequence[str],
) -> str:
    """Return a digest of everything that training reads of photos."""
    return digest_of(
        models.name_or_path,
        models.vae_name_or_path,
        list(prompts),
        vars(preparation.geometry),
        vars(preparation.latent_mask),
        vars(preparation.background),
        [photo.digest for photo in class_photos] if preparation.background.mode == "class" else [],
        [_inputs(picture) for picture in source.pictures],
    )
