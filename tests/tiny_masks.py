"""Masks that are hard for latent cells, and albums that differ in their backgrounds alone."""

from collections.abc import Sequence

import numpy as np
import torch

from persam_dreambooth.photos import Photo, array_digest

SIDE, RADIUS = 512, 120


def disc_with_whiskers() -> torch.Tensor:
    """A disc of 120 px radius in a square of 512 px; from its rim to the right three whiskers, 4 px thick."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    disc = (x - SIDE // 2) ** 2 + (y - SIDE // 2) ** 2 < RADIUS**2
    return (disc | whiskers())[None].float()


def whiskers() -> torch.Tensor:
    """The whiskers alone, True on them; each starts two rows below the edge of a cell."""
    lines = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for top in (194, 250, 306):
        lines[top : top + 4, SIDE // 2 + RADIUS : SIDE // 2 + RADIUS + 80] = True
    return lines


def elsewhere(photos: Sequence[Photo], masks: dict[str, np.ndarray], *, seed: int = 0) -> list[Photo]:
    """The same subjects on other backgrounds: noise, a colour in each channel, or as bright as can be."""
    rng = np.random.default_rng(seed)
    moved = []
    for number, photo in enumerate(photos):
        backgrounds = (
            rng.integers(0, 256, photo.pixels.shape, dtype=np.uint8),
            np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), photo.pixels.shape),
            np.full_like(photo.pixels, 255),
        )
        pixels = np.where(masks[photo.stem][..., None], photo.pixels, backgrounds[(number + seed) % 3])
        moved.append(Photo(photo.path, pixels, array_digest(pixels)))
    return moved
