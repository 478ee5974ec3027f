"""The UNet read in the middle: the very output of its up-block, averaged over draws of noise."""

import pytest
import torch
from tiny_pipelines import KINDS, tiny_models

from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.families import added_cond_kwargs, time_ids
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.diffusion.randomness import generator
from persam_dreambooth.diffusion.unet_features import unet_features, unet_reader

PIXEL_VALUES = torch.linspace(-1, 1, 3 * 40 * 64).reshape(1, 3, 40, 64).sin()


def read(models, up_block=1, **options):
    return unet_features(unet_reader(models, up_block=up_block), PIXEL_VALUES, **options)


@torch.no_grad()
def expected(models, draw: int) -> torch.Tensor:
    """The output of the last up-block in a whole forward pass of diffusers' own UNet and scheduler."""
    reader = unet_reader(models)
    latents = moments(models.vae, PIXEL_VALUES)[:, :4]
    noise = torch.randn(latents.shape[1:], generator=generator("unet features", 0, draw))[None]
    noisy = models.noise_scheduler.add_noise(latents, noise, torch.tensor([261]))
    conditions = Conditions(reader.told.prompt_embeds, reader.told.pooled_prompt_embeds)
    sizes = time_ids(models.family, (40, 64), (0, 0), (40, 64))
    if sizes is not None:
        conditions = Conditions(conditions.prompt_embeds, conditions.pooled_prompt_embeds, sizes)
    outputs = []
    handle = models.unet.up_blocks[1].register_forward_hook(lambda *seen: outputs.append(seen[2]))
    models.unet(
        noisy, torch.tensor([261]), conditions.prompt_embeds, added_cond_kwargs=added_cond_kwargs(conditions)
    )
    handle.remove()
    return outputs[0][0]


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sdxl"])
def test_it_is_the_mean_over_draws_of_what_the_block_returns(kind):
    models = tiny_models(kind)
    draws = [expected(models, draw) for draw in range(2)]
    assert torch.allclose(read(models, num_draws=2), torch.stack(draws).mean(dim=0), atol=1e-5)
    assert not torch.allclose(draws[0], draws[1], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_is_read_and_left_as_it_was(kind):
    models = tiny_models(kind)
    before = {name: weight.clone() for name, weight in models.unet.state_dict().items()}
    features = read(models)
    assert features.shape == (16, 5, 8)
    assert torch.isfinite(features).all()
    assert torch.equal(features, read(models))
    assert all(torch.equal(before[name], weight) for name, weight in models.unet.state_dict().items())
    assert not any(block._forward_hooks for block in models.unet.up_blocks)


def test_another_seed_is_another_noise():
    models = tiny_models()
    assert not torch.equal(read(models), read(models, seed=1))


@pytest.mark.parametrize(("up_block", "channels", "stride"), [(0, 32, 8), (1, 16, 8), (9, 16, 8)])
def test_the_reader_knows_what_a_block_returns(up_block, channels, stride):
    """Two up-blocks, of which only the first enlarges: both return what has the latents' size."""
    reader = unet_reader(tiny_models(), up_block=up_block)
    assert (reader.num_features, reader.stride) == (channels, stride)
    assert unet_features(reader, PIXEL_VALUES, num_draws=1).shape == (channels, 40 // stride, 64 // stride)
