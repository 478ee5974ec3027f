"""Photos, masks and a prompt, once through the VAE and the text encoder, to what every training step reads.

A photo and its mask go through one geometric transform: the shorter side is resized to the resolution, a
square is cut out, and with random_flip a mirrored copy is kept beside it. What is kept of a photo is the mean
and the standard deviation of its latents, so that each step still draws latents of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.models import Models, token_ids
from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.run import digest_of

MaskMode = Literal["area", "strict"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a square is taken from a photo."""

    resolution: int
    """Side of the square in pixels."""
    center_crop: bool = False
    """From the middle; otherwise from a place drawn once for each photo, from the seed and its content."""
    random_flip: bool = False
    """Whether a mirrored copy is kept as well."""
    seed: int = 0
    """Of the place."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Photos ready for training. With random_flip, row n + i is photo i of n mirrored."""

    moments: Float[Tensor, "rows c2 h w"]
    """Mean and standard deviation (stacked along the channels) of each row's scaled latents."""
    loss_mask: Float[Tensor, "rows 1 h w"]
    """Weight of each latent cell in the loss, 0 to 1."""
    prompt_embeds: Float[Tensor, "rows t d"]
    """The text encoder's last hidden states."""
    names: tuple[str, ...]
    """File name of each photo."""
    digest: str
    """Changes with anything that the tensors were made from."""

    @property
    def num_photos(self) -> int:
        """Photos, their mirrored copies not counted."""
        return len(self.names)

    @property
    def with_flips(self) -> bool:
        """Whether there are mirrored copies."""
        return len(self.moments) > self.num_photos


def check_resolution(models: Models, resolution: int) -> None:
    """Raise UserError unless the VAE can take squares of this side.

    The UNet needs no more than that: where a side does not halve evenly, diffusers' up-sampling follows the
    sizes of the way down.
    """
    factor = models.vae_scale_factor
    if resolution >= factor and resolution % factor == 0:
        return
    below = resolution // factor * factor
    nearest = f"{below} or {below + factor}" if below else str(factor)
    raise UserError(
        f"--resolution {resolution}: not a multiple of {factor}, which the VAE needs. Use {nearest}."
    )


@torch.no_grad()
def encode(
    models: Models,
    photos: Sequence[Photo],
    masks: Mapping[str, Bool[np.ndarray, "H W"]] | None,
    *,
    prompt: str,
    geometry: Geometry,
    mask_mode: MaskMode = "area",
    prompt_flag: str = "--instance_prompt",
    device: str | torch.device = "cpu",
) -> Encoded:
    """Return what training needs of photos, on the CPU.

    Photos are encoded one at a time, so that none changes the last bits of another.

    Args:
        models: VAE and text encoder are moved to `device` for this, and back to the CPU.
        photos: at least one.
        masks: by the stem of the photo's name, at the photo's size, True on the subject; None trains on whole
            pictures.
        prompt: what every photo is called.
        geometry: which square of a photo.
        mask_mode: "area" weighs a latent cell by the subject's share of it; "strict" by 1 where all of it is
            subject and 0 elsewhere.
        prompt_flag: where the prompt came from, for error texts.
        device: where to encode.

    Raises:
        UserError: the resolution does not suit the VAE, the prompt is too long, or a mask is missing, of
            another size than its photo, or leaves nothing to learn.
    """
    check_resolution(models, geometry.resolution)
    ids = token_ids(models.tokenizer, prompt, prompt_flag)
    factor = models.vae_scale_factor
    loss_masks = [_loss_mask(photo, masks, geometry, mask_mode, factor) for photo in photos]
    squares = [_tensor(square(photo.pixels, geometry, photo.digest)) for photo in photos]
    if geometry.random_flip:
        loss_masks += [mask.flip(-1) for mask in loss_masks]
        squares += [pixels.flip(-1) for pixels in squares]
    models.vae.to(device)
    moments = [_moments(models.vae, (pixels[None] - 0.5) / 0.5) for pixels in squares]
    models.vae.to("cpu")
    prompt_embeds = models.text_encoder.to(device)(ids.to(device))[0].cpu()
    models.text_encoder.to("cpu")
    mask_digests = None if masks is None else [array_digest(masks[photo.stem]) for photo in photos]
    return Encoded(
        moments=torch.cat(moments),
        loss_mask=torch.stack(loss_masks),
        prompt_embeds=prompt_embeds.expand(len(squares), -1, -1),
        names=tuple(photo.path.name for photo in photos),
        digest=digest_of(
            models.name_or_path, prompt, vars(geometry), mask_mode, mask_digests, [p.digest for p in photos]
        ),
    )


def square(pixels: UInt8[np.ndarray, "H W *c"], geometry: Geometry, key: str) -> UInt8[np.ndarray, "R R *c"]:
    """Return the square of a photo, or of its mask as 0 and 255: the one geometric transform.

    Args:
        pixels: the photo or the mask.
        geometry: side and place of the square.
        key: the photo's digest, from which the place follows.

    Source: diffusers' train_dreambooth.py, DreamBoothDataset.image_transforms (resize, then crop).
    """
    side, (height, width) = geometry.resolution, pixels.shape[:2]
    scale = side / min(height, width)
    size = max(side, int(width * scale)), max(side, int(height * scale))
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    spare = resized.shape[0] - side, resized.shape[1] - side
    top, left = (round(space / 2) for space in spare)
    if not geometry.center_crop:
        place = torch.rand(2, generator=randomness.generator(geometry.seed, "crop", key))
        top, left = (int(share * (space + 1)) for share, space in zip(place.tolist(), spare, strict=True))
    return resized[top : top + side, left : left + side]


def latent_mask(
    mask: Float[Tensor, "1 R R"], factor: int, mask_mode: MaskMode = "area"
) -> Float[Tensor, "1 h w"]:
    """Return the weight of each latent cell.

    Args:
        mask: the subject's share of each pixel of the square, 0 to 1.
        factor: side of a latent cell in pixels.
        mask_mode: "area" averages over the cell; "strict" gives 1 where every pixel is all subject, else 0.
    """
    if mask_mode == "strict":
        return (avg_pool2d((mask < 1).float(), factor) == 0).float()
    return avg_pool2d(mask, factor)


def _loss_mask(
    photo: Photo,
    masks: Mapping[str, Bool[np.ndarray, "H W"]] | None,
    geometry: Geometry,
    mask_mode: MaskMode,
    factor: int,
) -> Float[Tensor, "1 h w"]:
    """Return a photo's weights of latent cells, or raise UserError where there is nothing to learn from."""
    if masks is None:
        return torch.ones(1, geometry.resolution // factor, geometry.resolution // factor)
    mask = masks.get(photo.stem)
    if mask is None:
        raise UserError(f"{photo.path}: has no mask, but other photos do; every photo needs one. Add a mask.")
    if mask.shape != photo.size:
        raise UserError(
            f"{photo.path}: its mask is {mask.shape[1]} x {mask.shape[0]} pixels and the photo "
            f"{photo.size[1]} x {photo.size[0]}; the two must have one size. "
            "Save the mask at the photo's size."
        )
    shares = _tensor(square(mask.astype(np.uint8) * 255, geometry, photo.digest)[..., None])
    weights = latent_mask(shares, factor, mask_mode)
    if not weights.any():
        raise UserError(
            f"{photo.path}: nothing of the subject is left for the loss ({int(mask.sum())} pixels in the "
            f"mask, {int((shares > 0).sum())} in the {geometry.resolution} px square, no latent cell by "
            f"--mask_mode {mask_mode}); some of it is needed. Crop the photo around the subject, remove it, "
            "or try --center_crop, another --seed or --mask_mode area."
        )
    return weights


def _tensor(pixels: UInt8[np.ndarray, "R R c"]) -> Float[Tensor, "c R R"]:
    """Return a picture as a tensor, 0 to 1."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


def _moments(vae: torch.nn.Module, pixel_values: Float[Tensor, "1 3 R R"]) -> Float[Tensor, "1 c2 h w"]:
    """Return mean and standard deviation of a picture's scaled latents."""
    posterior = vae.encode(pixel_values.to(vae.device)).latent_dist
    return torch.cat([posterior.mean, posterior.std], dim=1).cpu() * vae.config.scaling_factor
