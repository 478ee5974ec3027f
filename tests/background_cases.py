"""Trainings of tiny pipelines whose background is asked about, and other places for them."""

import dataclasses

import numpy as np
from tiny_albums import draw_album, encode_photos, prepared
from tiny_pipelines import tiny_models
from tiny_training import SETTINGS

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.background_swaps import elsewhere
from persam_dreambooth.diffusion.backgrounds import Background
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.settings import resolve_train


def places(count: int, side: int = 24) -> list[np.ndarray]:
    """Pictures without a subject, no two alike."""
    return [
        np.random.default_rng(100 + number).integers(90, 256, (side, side + number, 3), dtype=np.uint8)
        for number in range(count)
    ]


def begin_on(mode: str = "keep", *, kind: str = "sd", settings=SETTINGS, objective=None, each_step=False):
    """A training of discs, the same photos ready to be asked, and the same discs in front of other places."""
    models = tiny_models(kind)
    photos, masks = draw_album(3)
    pairs = zip(photos, places(3), strict=True)
    moved = [elsewhere(photo, masks[photo.stem], place) for photo, place in pairs]
    preparation = prepared(background=Background(mode=mode), cache_latents=not each_step)
    options = {"class_photos": draw_album(5)[0][3:]}
    true, swapped = (encode_photos(models, album, masks, preparation, **options) for album in (photos, moved))
    state = training.start(
        models,
        Examples(true, None, 0),
        resolve_train(settings, models.family.name),
        objective or Objective(),
        accelerator=training.build_accelerator("no"),
        max_train_steps=2,
    )
    return state, dataclasses.replace(state.examples, instance=swapped)
