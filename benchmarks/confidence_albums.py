"""Albums of the toy world on which a mask may go wrong, with the truth, for mask_confidence.py."""

from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, Scene, render

PHOTOS = 5
"""Of the subject in an album, the reference among them."""
FIRST_IDENTITY = 30_000
"""No training saw an individual of this number."""


def scenes_of(album: int) -> list[Scene]:
    """Return an album's scenes: the reference, the subject elsewhere, and last another individual."""
    rng = Random(f"confidence {album}")
    subject, other = rng.choice(list(SUBJECTS)), rng.choice(list(SUBJECTS))
    identity = FIRST_IDENTITY + album
    *scenes, crowded, poor = (
        render(subject, rng.choice(list(BACKGROUNDS)), identity, rng.getrandbits(20)) for _ in range(PHOTOS)
    )
    absent = render(other, rng.choice(list(BACKGROUNDS)), identity + 500_000, rng.getrandbits(20))
    return [*scenes, with_another(crowded, absent), worse(poor, album), absent]


def with_another(scene: Scene, other: Scene) -> Scene:
    """Return a scene with the other's subject behind its own, at the side where there is more room."""
    centres = [np.nonzero(each.mask)[1].mean() for each in (scene, other)]
    width = scene.mask.shape[1]
    goal = width * (0.2 if centres[0] > width / 2 else 0.8)
    shift = round(goal - centres[1])
    pixels, mask = np.roll(other.image, shift, axis=1), np.roll(other.mask, shift, axis=1)
    image = np.where((mask & ~scene.mask)[..., None], pixels, scene.image)
    return replace(scene, image=image)


def worse(scene: Scene, seed: int) -> Scene:
    """Return a scene photographed badly: dark, out of focus, noisy."""
    blurred = Image.fromarray(scene.image).filter(ImageFilter.GaussianBlur(1.2))
    noise = np.random.default_rng(seed).normal(0, 12, scene.image.shape)
    return replace(scene, image=(np.asarray(blurred) * 0.55 + noise).clip(0, 255).astype(np.uint8))
