"""Other places than the photos', to hold a background against, and the photos as the VAE sees them.

Decoys are drawn by the base model, never by a model under test, and so carry its VAE's signature. The photos
take the same way once, in and out of the VAE, before their background enters the bank: else a sharp photo
would differ from everything drawn by its sharpness alone. So do decoys from a folder.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from tqdm import tqdm

from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.drawing import Request, read_key, write_keyed
from persam_dreambooth.leakage.prompts import Prompt
from persam_dreambooth.leakage.scenes import DECOY_KINDS
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import Photo, read_photo, read_photos
from persam_dreambooth.run import digest_of
from persam_dreambooth.toyworld import backgrounds

TOY_SEEDS = (100, 101, 102, 103)
"""Views of each place of the toy world."""
DECOY_SEED = 100
"""Beyond those of the pictures, so that no decoy starts from the noise of one."""


def toy_decoys(seeds: Sequence[int] = TOY_SEEDS) -> list[Request]:
    """Return the toy world's places, views of one next to each other, also of those in the photos.

    Another room than the photos' is as good a decoy as any.

    Args:
        seeds: a view of each place for each.
    """
    places = [phrases[0].split(" ", 1)[1] for phrases in backgrounds.PHRASES.values()]
    texts = [f"a photo of {place}" for place in places]
    prompts = [Prompt(f"d{number:02d}", "none", text, text, text) for number, text in enumerate(texts)]
    return [Request(prompt, seed, prompt.text) for prompt in prompts for seed in seeds]


def place_decoys(*, is_quick: bool = False) -> list[Request]:
    """Return places for any model: 19 kinds with three of each next to each other, or with one."""
    each = 1 if is_quick else None
    texts = [f"a photo of {place}" for kind in DECOY_KINDS for place in kind[:each]]
    prompts = [Prompt(f"d{number:02d}", "none", text, text, text) for number, text in enumerate(texts)]
    return [Request(prompt, DECOY_SEED, prompt.text) for prompt in prompts]


def read_decoys(folder: Path, num_banks: int) -> list[Photo]:
    """Return the pictures of a folder of decoys, by name: neighbours go to one bank.

    Raises:
        UserError: there are fewer than banks, or the folder cannot be read.
    """
    found = read_photos(folder)
    if len(found) < num_banks:
        raise UserError(
            f"--decoys {folder}: {len(found)} pictures; {num_banks} banks need at least one each. Add "
            f"pictures of other places without the subject, or ask for --num_banks {len(found)}."
        )
    return found


def through_vae(
    photos: Sequence[Photo],
    masks: Mapping[str, SubjectMask],
    folder: Path,
    *,
    digest: str,
    side: int,
    load: Callable[[], Models],
    device: str,
) -> list[tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]]:
    """Return photos as the VAE gives them back, with their masks at the same size; kept in a folder.

    Args:
        photos: of any size; shrunk, or enlarged, to the size that the model draws.
        masks: by stem.
        folder: of the files.
        digest: of the model.
        side: of the model's pictures in pixels: the shorter side afterwards.
        load: returns the model; called only where something is missing.
        device: where the VAE runs.
    """
    seen = photos_through_vae(photos, folder, digest=digest, side=side, load=load, device=device)
    return [
        (one.pixels, resized_mask(masks[photo.stem].mask, one.pixels.shape[:2]))
        for photo, one in zip(photos, seen, strict=True)
    ]


def photos_through_vae(
    photos: Sequence[Photo],
    folder: Path,
    *,
    digest: str,
    side: int,
    load: Callable[[], Models],
    device: str,
) -> list[Photo]:
    """Return photos as the VAE gives them back; arguments as for `through_vae`."""
    keys = [digest_of("vae", digest, photo.digest, side) for photo in photos]
    paths = [folder / f"{photo.stem}-{key[:8]}.png" for photo, key in zip(photos, keys, strict=True)]
    missing = [number for number, path in enumerate(paths) if read_key(path) != keys[number]]
    if missing:
        models = load()
        models.vae.to(device)
        for number in tqdm(missing, desc="photos through the VAE", unit="photo", disable=None):
            picture = round_trip(models, photos[number].pixels, side)
            write_keyed(Image.fromarray(picture), paths[number], keys[number])
    return [read_photo(path) for path in paths]


@torch.no_grad()
def round_trip(models: Models, pixels: UInt8[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture encoded and decoded once, its shorter side at a size and both in whole latent cells.

    Args:
        models: whose VAE.
        pixels: RGB, 0 to 255.
        side: pixels of the shorter side, near enough.
    """
    cell = models.vae_scale_factor
    scale = side / min(pixels.shape[:2])
    height, width = (max(cell, cell * round(length * scale / cell)) for length in pixels.shape[:2])
    scaled = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)[None].to(models.vae.device, torch.float32)
    # The mode of the posterior: nothing random.
    latents = models.vae.encode(values / 127.5 - 1).latent_dist.mode()
    decoded = models.vae.decode(latents).sample[0].clamp(-1, 1)
    return ((decoded + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def resized_mask(mask: Bool[np.ndarray, "H W"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return a mask at another size: a pixel is subject where at least half of it is.

    A subject that all but vanishes stays where most of it is.
    """
    if mask.shape == tuple(size):
        return mask
    grey = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    share = np.asarray(grey.resize((size[1], size[0]), Image.Resampling.BOX))
    return share >= max(1, min(128, int(share.max())))
