"""Background learning advantage: worked by hand, blind to what is learnt of every picture alike."""

import numpy as np
import pytest
import torch
from tiny_albums import draw_photo, encode_photos, photo_of, prepared
from tiny_pipelines import tiny_models
from tiny_steps import ddpm, tiny_networks
from torch import nn

from persam_dreambooth.diffusion.background_advantage import (
    DRAWS,
    LEVELS,
    Probe,
    advantage,
    all_errors,
    denoising_errors,
    questions,
)
from persam_dreambooth.diffusion.background_probes import build_probe
from persam_dreambooth.diffusion.background_swaps import cover, elsewhere, on_background
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.families import SD
from persam_dreambooth.diffusion.geometry import place
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.diffusion.networks import Networks


def test_worked_by_hand():
    # Two photos; the true background and two decoys of each. Before, the error is 1 or 2 everywhere.
    before = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    now = np.array([[0.5, 0.9, 1.0], [1.2, 1.6, 1.8]])
    # Gains 0.5 0.1 0 and 0.4 0.2 0.1; means 0.45 0.15 0.05; the decoys' mean is 0.1.
    found = advantage(before, now, np.array([1.0, 4.0]), np.array([0.8, 2.0]))
    assert found.value == pytest.approx(0.35)
    assert (found.low, found.high) == pytest.approx((-0.05, 0.05))
    assert (found.rank, found.count) == (1, 3)
    assert found.background_gain == pytest.approx(0.45)
    assert found.subject_gain == pytest.approx((0.2 + 0.5) / 2)


def test_what_is_learnt_of_every_picture_alike_is_no_advantage():
    before = np.random.default_rng(0).uniform(0.5, 2, (3, 20))
    found = advantage(before, 0.25 * before, before[:, 0], before[:, 0])
    assert found.value == pytest.approx(0)
    assert found.background_gain == pytest.approx(0.75)


def test_a_model_that_is_ruined_has_learnt_nothing():
    ones = np.ones((2, 4))
    found = advantage(ones, np.full((2, 4), np.nan), np.ones(2), np.full(2, np.nan))
    assert (found.rank, found.count) == (4, 4)


def test_of_equals_the_rank_is_the_last():
    errors, none = np.ones((2, 20)), np.ones(2)
    untrained = advantage(errors, errors, none, none)
    assert (untrained.value, untrained.rank, untrained.count) == (0, 20, 20)
    now = errors.copy()
    now[:, 7] = 0.5
    assert advantage(errors, now, none, none).rank == 20
    now[:, 0] = 0.6
    assert advantage(errors, now, none, none).rank == 2


class Says(nn.Module):
    """A UNet that answers with its input, times a number."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, sample, *_, **__):
        return (self.factor * sample,)


def probe_of(latents: torch.Tensor, is_background: torch.Tensor) -> Probe:
    noise, timesteps = questions(tuple(latents.shape[1:]), 1000, "a photo")
    conditions = Conditions(torch.zeros(1, 2, 3))
    return Probe(latents, is_background, conditions, (torch.zeros(1, 2).long(),), noise, timesteps)


@pytest.mark.parametrize("factor", [0.0, 0.3])
def test_the_error_is_the_formula(factor):
    scheduler, generator = ddpm(), torch.Generator().manual_seed(0)
    latents = torch.randn(3, 4, 2, 3, generator=generator)
    is_background = torch.tensor([[True, False, True], [True, True, False]])
    probe = probe_of(latents, is_background)
    on_background, on_subject = denoising_errors(Networks(Says(factor), (), SD), scheduler, probe)
    signal = scheduler.alphas_cumprod[probe.timesteps][:, None, None, None].sqrt().double()
    spread = (1 - scheduler.alphas_cumprod[probe.timesteps])[:, None, None, None].sqrt().double()
    for picture in range(3):
        answer = factor * (signal * latents[picture].double() + spread * probe.noise.double())
        squares = (answer - probe.noise.double()).square().mean(dim=1)
        assert on_background[picture].item() == pytest.approx(
            squares[:, is_background].mean().item(), rel=1e-5
        )
        if picture == 0:
            assert on_subject.item() == pytest.approx(squares[:, ~is_background].mean().item(), rel=1e-5)


def test_the_questions_are_fixed():
    noise, timesteps = questions((4, 2, 2), 1000, 0, "a")
    assert timesteps.tolist() == [t for t in (50, 190, 330, 470, 610, 750) for _ in range(DRAWS)]
    assert len(noise) == len(LEVELS) * DRAWS
    again, other = (questions((4, 2, 2), 1000, 0, name)[0] for name in ("a", "b"))
    assert torch.equal(noise, again)
    assert not torch.equal(noise, other)
    assert not torch.equal(noise[0], noise[1])


def test_the_prompt_is_what_text_encoders_in_training_read_now():
    networks = tiny_networks(with_text=True)
    probe = probe_of(torch.randn(2, 4, 16, 16), torch.ones(16, 16, dtype=torch.bool))
    probe = Probe(**{**vars(probe), "input_ids": (torch.tensor([[0, 9, 7, 12, 11, 49]]),)})
    before, _ = all_errors(networks, ddpm(), [probe])
    with torch.no_grad():
        next(networks.text_encoders[0].parameters()).mul_(3)
    now, _ = all_errors(networks, ddpm(), [probe])
    assert before.shape == (1, 2)
    assert not np.allclose(before, now)


@pytest.fixture(scope="module")
def models():
    return tiny_models()


def probe_for(models, photo, mask, decoys, **geometry):
    preparation = prepared(geometry)
    instance = encode_photos(models, [photo], {photo.stem: mask}, preparation)
    return build_probe(
        models.vae,
        photo,
        mask,
        decoys,
        placement=place(photo.size, preparation.geometry, photo.digest),
        geometry=preparation.geometry,
        instance=instance,
        num_train_timesteps=1000,
    ), instance


def test_a_probe_is_the_photo_as_it_is_trained_on_then_the_decoys(models):
    photo, mask = draw_photo(1)
    decoy = np.full((10, 30, 3), 200, np.uint8)
    probe, instance = probe_for(models, photo, mask, [decoy, photo.pixels], seed=4)
    assert probe.latents.shape == (3, 4, 4, 4)
    mean = instance.moments.chunk(2, dim=1)[0][0]
    assert torch.equal(probe.latents[0], mean)
    # The photo's own background behind it: the photo.
    assert torch.equal(probe.latents[2], mean)
    assert not torch.equal(probe.latents[1], mean)
    assert torch.equal(probe.is_background, instance.subject_share[0, 0] == 0)
    assert torch.equal(probe.conditions.prompt_embeds, instance.conditions.prompt_embeds)


def test_a_crop_without_background_is_not_asked_about(models):
    photo, _ = draw_photo(1)
    assert probe_for(models, photo, np.ones(photo.size, bool), [photo.pixels])[0] is None


def test_the_subject_goes_elsewhere_to_the_bit():
    photo, mask = draw_photo(2)
    decoy = np.arange(20 * 60 * 3, dtype=np.uint8).reshape(20, 60, 3)
    moved = on_background(photo.pixels, mask, decoy)
    assert (moved[mask] == photo.pixels[mask]).all()
    assert (moved[~mask] == cover(decoy, photo.size)[~mask]).all()
    assert elsewhere(photo, mask, decoy).digest == photo.digest
    # Of twice the width the middle half is taken.
    wide = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None], 4, axis=0).repeat(3, axis=2)
    assert (cover(wide, (4, 4))[0, :, 0] == [2, 3, 4, 5]).all()
    assert cover(photo_of(photo.pixels, "x").pixels, (7, 91)).shape == (7, 91, 3)


def test_latents_keep_a_gradient_only_where_pixels_ask_for_one(models):
    pixels = torch.zeros(1, 3, 16, 16)
    assert not moments(models.vae, pixels).requires_grad
    assert moments(models.vae, pixels.requires_grad_()).requires_grad
