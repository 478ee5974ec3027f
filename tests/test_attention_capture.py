"""Reading a UNet's cross-attention: the right layers, diffusers' own numbers, and nothing changed by it."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from tiny_steps import SIDE, WORD, ddpm, random_batch, tiny_networks

from persam_dreambooth.diffusion.adapters import add_lora
from persam_dreambooth.diffusion.attention_capture import (
    CapturedAttention,
    captured_attention,
    level_of,
    size_at,
    token_attention,
)
from persam_dreambooth.diffusion.attention_loss import token_positions
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.networks import predict
from persam_dreambooth.diffusion.step import diffusion_loss

LOOK = Objective(attention_mask_weight=0.01, identifier_ids=((WORD,),))


def test_heads_are_averaged():
    # The first head's two numbers ask for token 0, the second's for none: 1 / (1 + e^-1) and 1/2.
    captured = CapturedAttention(latent_size=(1, 1))
    captured.keep(
        2, torch.tensor([[[math.sqrt(2), 0.0, 0, 0]]]), torch.tensor([[[1.0, 0, 9, 9], [0, 0, 9, 9]]])
    )
    expected = (1 / (1 + math.exp(-1)) + 1 / 2) / 2
    assert token_attention(captured, torch.tensor([[True, False]])).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("latent_size", "sides", "kept"),
    [
        pytest.param(64, [64, 64, 32, 16, 16, 8, 16, 16, 16, 32, 64], 16, id="Stable Diffusion at 512"),
        pytest.param(96, [96, 48, 24, 12, 24, 48, 96], 24, id="Stable Diffusion 2 at 768"),
        pytest.param(128, [64, 64, 32, 32, 32, 32, 32, 64], 32, id="Stable Diffusion XL at 1024"),
        pytest.param(16, [16, 8, 8, 16], 8, id="two levels"),
        pytest.param(64, [8, 32, 8], 32, id="as near on both sides"),
        pytest.param(63, [63, 32, 16, 8, 16], 16, id="odd"),
    ],
)
def test_which_layers_are_kept(latent_size, sides, kept):
    captured = CapturedAttention((latent_size, latent_size))
    for side in sides:
        captured.keep(1, torch.zeros(1, side * side, 1), torch.zeros(1, 2, 1))
    assert captured.size == (kept, kept)
    assert len(captured.layers) == sides.count(kept)


def test_pictures_that_are_no_squares():
    assert [size_at((48, 80), level) for level in range(4)] == [(48, 80), (24, 40), (12, 20), (6, 10)]
    assert level_of(12 * 20, (48, 80)) == 2
    with pytest.raises(ValueError, match=r"7 places of attention at no halving of \(48, 80\) latents"):
        level_of(7, (48, 80))


class KeepsProbabilities(AttnProcessor):
    """Diffusers' attention of before PyTorch had its own: it forms the probabilities, and here keeps them."""

    def __init__(self, kept):
        self.kept = kept

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
        query, key = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states)
        scores = attn.get_attention_scores(attn.head_to_batch_dim(query), attn.head_to_batch_dim(key))
        self.kept.append(scores.unflatten(0, (-1, attn.heads)))
        return super().__call__(attn, hidden_states, encoder_hidden_states, **kwargs)


@pytest.mark.parametrize("family", [SD, SDXL], ids=lambda family: family.name)
@pytest.mark.parametrize("use_lora", [False, True])
def test_it_is_the_attention_that_diffusers_pays(family, use_lora):
    networks, batch, kept = tiny_networks(family), random_batch(family), []
    if use_lora:
        add_lora(networks.unet, rank=2, target_modules=("to_q", "to_k"), seed=0, name="unet")
        for name, parameter in networks.unet.named_parameters():
            parameter.data += 0.3 * torch.randn_like(parameter) * ("lora_B" in name)
    inputs = (networks, batch.latents, batch.timesteps, batch.conditions)
    positions = token_positions(batch.input_ids[0], ((WORD,),))
    with captured_attention(networks.unet, (SIDE, SIDE)) as captured:
        predict(*inputs)
    attention = token_attention(captured, positions)
    gradient = torch.autograd.grad(attention[:, 1, 2].sum(), captured.layers[0][1])[0]
    for layer in networks.unet.modules():
        if isinstance(layer, Attention) and layer.is_cross_attention:
            layer.set_processor(KeepsProbabilities(kept))
    predict(*inputs)
    quarter = [scores for scores in kept if scores.shape[2] == (SIDE // 4) ** 2]
    assert len(quarter) == len(captured.layers) == 4
    maps = torch.stack(quarter).mean(dim=(0, 2))
    expected = torch.stack([maps[row][:, positions[row]].sum(dim=-1) for row in range(2)])
    torch.testing.assert_close(attention, expected.unflatten(1, (SIDE // 4, SIDE // 4)))
    assert (gradient[:, 4 * 1 + 2] != 0).any()


def hooks_of(unet):
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in unet.modules())


def test_reading_changes_no_prediction_and_leaves_nothing_behind():
    networks, batch = tiny_networks(), random_batch()
    inputs = (networks, batch.latents, batch.timesteps, batch.conditions)
    plain = predict(*inputs)
    with captured_attention(networks.unet, (SIDE, SIDE)):
        assert torch.equal(predict(*inputs), plain)
        assert hooks_of(networks.unet) > 0
    assert hooks_of(networks.unet) == 0
    with pytest.raises(KeyError), captured_attention(networks.unet, (SIDE, SIDE)):
        raise KeyError
    assert hooks_of(networks.unet) == 0


def test_without_its_weight_it_costs_nothing():
    networks, seen = tiny_networks(), []
    networks.unet.conv_out.register_forward_hook(lambda *_: seen.append(hooks_of(networks.unet)))
    losses = diffusion_loss(
        networks, ddpm(), random_batch(masked=True), replace(LOOK, attention_mask_weight=0.0)
    )
    assert seen == [1]
    assert losses.attention == 0
    assert torch.equal(losses.total, losses.instance)


@pytest.mark.parametrize("use_lora", [False, True])
def test_gradient_checkpointing_counts_no_layer_twice(use_lora):
    gradients, losses = [], []
    for checkpointed in (False, True):
        networks = tiny_networks()
        if use_lora:
            add_lora(networks.unet, rank=2, target_modules=("to_q", "to_k"), seed=0, name="unet")
        if checkpointed:
            networks.unet.enable_gradient_checkpointing()
        losses.append(diffusion_loss(networks, ddpm(), random_batch(masked=True), LOOK))
        losses[-1].total.backward()
        gradients.append({n: p.grad for n, p in networks.unet.named_parameters() if p.grad is not None})
    assert torch.equal(losses[0].attention, losses[1].attention)
    assert gradients[0].keys() == gradients[1].keys() != set()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
