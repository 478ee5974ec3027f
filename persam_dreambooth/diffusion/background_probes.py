"""Photos and their subjects on decoys, through the VAE, to what `background_advantage` asks about."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import max_pool2d

from persam_dreambooth.diffusion.background_advantage import Probe, questions
from persam_dreambooth.diffusion.background_swaps import on_background
from persam_dreambooth.diffusion.encode import Encoded
from persam_dreambooth.diffusion.geometry import Geometry, Placement, take
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.photos import Photo


@torch.no_grad()
def build_probe(
    vae: AutoencoderKL,
    photo: Photo,
    mask: Bool[np.ndarray, "H W"],
    places: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    *,
    placement: Placement,
    geometry: Geometry,
    instance: Encoded,
    num_train_timesteps: int,
) -> Probe | None:
    """Return a photo and its subject in front of each place; None where the crop shows no background.

    Args:
        vae: on any device.
        photo: as it is.
        mask: True on its subject.
        places: decoys.
        placement: what training cuts from the photo.
        geometry: how that is resized.
        instance: the photos as encoded for training, for the prompt.
        num_train_timesteps: of the noise scheduler.
    """
    height, width = placement.target
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    share = take(mask.astype(np.uint8) * 255, placement, geometry)
    is_background = max_pool2d(torch.tensor(share > 0)[None].float(), factor)[0] == 0
    if not is_background.any():
        return None
    pictures = [photo.pixels, *(on_background(photo.pixels, mask, place) for place in places)]
    # One at a time, as photos are encoded: none changes the last bits of another.
    latents = torch.cat([_mean(vae, take(pixels, placement, geometry)) for pixels in pictures])
    row = instance.names.index(photo.path.name)
    shape = (latents.shape[1], height // factor, width // factor)
    noise, timesteps = questions(shape, num_train_timesteps, geometry.seed, photo.stem)
    return Probe(
        latents=latents,
        is_background=is_background,
        conditions=instance.conditions.rows(row),
        input_ids=tuple(ids[row : row + 1] for ids in instance.input_ids),
        noise=noise,
        timesteps=timesteps,
    )


def _mean(vae: AutoencoderKL, pixels: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 c h w"]:
    """Return the mean of a picture's latents."""
    values = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1
    return moments(vae, values[None]).chunk(2, dim=1)[0]
