"""The base model as a judge of scenes: the formula, its pairs of noise, masks, and the toy world's places."""

import numpy as np
import pytest
import torch
from leakage_cases import SIDE, place
from tiny_pipelines import tiny_models

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.diffusion.scene_classifier import scene_errors, timesteps_of
from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.scene import render

PROMPTS = ["a cat on a beach", "a cat in the snow", "a cat"]


def test_noise_levels_are_spread_evenly():
    assert timesteps_of(3, 1000).tolist() == [400, 600, 800]
    assert timesteps_of(1, 100).tolist() == [60]


@torch.no_grad()
def by_the_formula(models, pixels, mask, prompt, num_draws):
    """Return one scene's error, one forward pass at a time, in the plainest way."""
    side = models.default_resolution
    assert pixels.shape[:2] == (side, side)
    shown = torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    latents = moments(models.vae, shown)[:, :4]
    ids = models.tokenizers[0](prompt, padding="max_length", return_tensors="pt").input_ids
    embeds = models.text_encoders[0](ids)[0]
    noise = torch.randn(num_draws, *latents.shape[1:], generator=randomness.generator(0, "scene classifier"))
    factor = side // latents.shape[-1]
    touched = mask.reshape(latents.shape[-1], factor, -1, factor).any(axis=(1, 3))
    grown = np.pad(touched, 1)
    near = sum(np.roll(grown, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1))[1:-1, 1:-1] > 0
    squares = []
    for draw, timestep in enumerate(timesteps_of(num_draws, 1000).tolist()):
        noisy = models.noise_scheduler.add_noise(latents, noise[draw : draw + 1], torch.tensor([timestep]))
        answer = models.unet(noisy, timestep, embeds).sample
        squares.append((answer - noise[draw]).square()[0].mean(dim=0).numpy()[~near].mean())
    return np.mean(squares)


def sized(models, number: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of the model's own size, and its subject's mask."""
    side = models.default_resolution
    mask = np.zeros((side, side), bool)
    mask[:2, :2] = True
    return place(number, side=side), mask


def test_errors_are_the_formulas():
    models = tiny_models()
    pixels, mask = sized(models)
    found = scene_errors(models, [pixels], [mask], PROMPTS, num_draws=3)
    assert found.shape == (1, 3)
    wanted = [by_the_formula(models, pixels, mask, prompt, 3) for prompt in PROMPTS]
    assert found[0] == pytest.approx(wanted, rel=1e-5)


def test_all_scenes_are_asked_about_the_same_noise():
    models = tiny_models()
    found = scene_errors(models, [sized(models)[0]], [None], [PROMPTS[0]] * 3, num_draws=2)
    assert found[0] == pytest.approx(np.full(3, found[0, 0]), rel=1e-6)


def test_pictures_do_not_change_one_another_and_are_counted():
    models = tiny_models()
    pictures = [sized(models, number)[0] for number in range(2)]
    done = []
    both = scene_errors(models, pictures, [None, None], PROMPTS[:2], num_draws=2, on_done=done.append)
    alone = scene_errors(models, pictures[1:], [None], PROMPTS[:2], num_draws=2)
    assert np.array_equal(both[1], alone[0])
    assert done == [1, 1]


def test_a_picture_without_background_has_no_scene():
    models = tiny_models()
    full = np.ones((SIDE, SIDE), bool)
    found = scene_errors(models, [place(1)] * 2, [full, None], PROMPTS[:2], num_draws=1)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("kind", ["sdxl", "sdxl_edm", "sd_v"])
def test_every_family_can_judge(kind):
    found = scene_errors(tiny_models(kind), [place(1)], [None], PROMPTS[:2], num_draws=2)
    assert np.isfinite(found).all()
    assert found[0, 0] != found[0, 1]


@pytest.mark.slow
def test_the_toy_model_knows_its_places():
    """Rendered photos of four places: by chance one in four is recognised."""
    places = list(backgrounds.PHRASES)[:4]
    prompts = [f"a photo of a cat {backgrounds.PHRASES[name][0]}" for name in places]
    scenes = [render("cat", name, identity=30_001, seed=seed) for name in places for seed in range(2)]
    found = scene_errors(
        load_models("toy"), [scene.image for scene in scenes], [scene.mask for scene in scenes], prompts
    )
    right = found.argmin(axis=1) == np.repeat(np.arange(4), 2)
    assert right.mean() >= 0.75
