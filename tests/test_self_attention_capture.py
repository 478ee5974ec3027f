"""Reading a UNet's self-attention: every layer, its own numbers, and nothing changed by it."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from tiny_steps import SIDE, TOKENS, WIDTH, tiny_unet

from persam_dreambooth.diffusion import self_attention_capture
from persam_dreambooth.diffusion.adapters import add_lora
from persam_dreambooth.diffusion.self_attention_capture import (
    ReadingProcessor,
    captured_maps,
    queries_and_keys,
)

LATENTS = torch.randn(2, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
PROMPTS = torch.randn(2, TOKENS, WIDTH, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def predicted(unet, rows=slice(None)):
    return unet(LATENTS[rows], 300, PROMPTS[rows], return_dict=False)[0]


def read(unet, rows=slice(None), **options):
    with captured_maps(unet, **options) as captured:
        output = predicted(unet, rows)
    return captured, output


def test_the_prediction_and_the_processors_are_the_same_to_the_bit():
    unet = tiny_unet().eval()
    before, processors = predicted(unet), dict(unet.attn_processors)
    captured, output = read(unet, with_tokens=True)
    assert torch.equal(output, before)
    assert torch.equal(predicted(unet), before)
    assert unet.attn_processors == processors
    assert captured.of_places.sums


def test_they_are_restored_where_the_forward_pass_fails():
    unet = tiny_unet().eval()
    before, processors = predicted(unet), dict(unet.attn_processors)
    with pytest.raises(RuntimeError), captured_maps(unet):
        unet(LATENTS, 300, PROMPTS[:, :, :3])
    assert unet.attn_processors == processors
    assert torch.equal(predicted(unet), before)


def test_rows_sum_to_1_and_examples_do_not_mix():
    unet = tiny_unet().eval()
    both = read(unet, with_tokens=True)[0]
    each = [read(unet, slice(row, row + 1), with_tokens=True)[0] for row in range(2)]
    for maps, single in (
        (both.of_places.means(), [one.of_places.means() for one in each]),
        (both.of_tokens.means(), [one.of_tokens.means() for one in each]),
    ):
        for side, values in maps.items():
            assert (values.sum(dim=-1) - 1).abs().max() < 1e-6
            assert torch.allclose(values, torch.cat([one[side] for one in single]), atol=1e-6)
    assert list(both.of_places.means()) == [16, 8, 4]
    assert not read(unet)[0].of_tokens.sums
    words = read(unet, with_places=False, with_tokens=True)[0]
    assert not words.of_places.sums
    assert all(
        torch.equal(values, both.of_tokens.means()[side]) for side, values in words.of_tokens.means().items()
    )


@pytest.mark.parametrize("own", [None, AttnProcessor()], ids=["fused", "spelt out"])
def test_maps_times_values_are_what_the_layer_computes(own):
    unet = tiny_unet().eval()
    layer = next(m for m in unet.modules() if isinstance(m, Attention) and not m.is_cross_attention)
    if own is not None:
        layer.set_processor(own)
    hidden = torch.randn(1, 64, layer.to_q.in_features)
    query, key = queries_and_keys(layer, hidden, hidden)
    probabilities = (query @ key.transpose(-1, -2) * layer.scale).softmax(dim=-1)
    values = layer.to_v(hidden).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    explicit = layer.to_out[0]((probabilities @ values).transpose(1, 2).flatten(2))
    assert (layer(hidden) - explicit).abs().max() < 1e-5


def test_maps_do_not_depend_on_how_many_rows_are_held(monkeypatch):
    unet = tiny_unet().eval()
    whole = read(unet)[0].of_places.means()
    monkeypatch.setattr(self_attention_capture, "_PROBABILITIES_AT_ONCE", 1000)
    for side, values in read(unet)[0].of_places.means().items():
        assert torch.allclose(values, whole[side], atol=1e-7)


def unet_like(**config):
    torch.manual_seed(3)
    small = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "cross_attention_dim": WIDTH,
        "norm_num_groups": 4,
        "layers_per_block": 2,
    }
    return UNet2DConditionModel(**small, **config).eval()


SHAPES = {
    "Stable Diffusion 1.5": (
        {"block_out_channels": (8, 8, 8, 8), "attention_head_dim": 2},
        # At 512 pixels 64, 32, 16 and 8.
        {16: 5, 8: 5, 4: 5, 2: 1},
    ),
    "Stable Diffusion XL": (
        {
            "block_out_channels": (8, 8, 8),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (1, 2, 4),
            "use_linear_projection": True,
        },
        # At 1024 pixels 64 and 32.
        {8: 10, 4: 60},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layer_counts(shape):
    config, expected = SHAPES[shape]
    captured, _ = read(unet_like(**config), slice(0, 1))
    assert captured.of_places.counts == expected


def test_a_layer_that_looks_at_its_own_half_shows_two_blocks():
    unet = tiny_unet().eval()
    layers = [m for m in unet.modules() if isinstance(m, Attention) and not m.is_cross_attention]
    layer = next(one for one in layers if one.to_q.in_features == 8)
    half = (torch.arange(16)[None] >= 8).expand(16, 16).flatten()
    planted = torch.where(half[:, None], 1.0, -1.0) * torch.eye(8)[0]
    # Queries and keys of one half agree in one number, those of different halves have opposite signs.
    for projection in (layer.to_q, layer.to_k):
        projection.weight.data.copy_(20 * torch.eye(8))
    captured = self_attention_capture.SummedMaps()
    captured.add(layer, planted[None], planted[None])
    (found,) = captured.means()[16]
    same = half[:, None] == half
    # The first of two heads sees that number and looks at its half alone; the second sees zeros.
    assert layer.heads == 2
    assert torch.allclose(found[same], torch.tensor(0.75 / 128), atol=1e-6)
    assert torch.allclose(found[~same], torch.tensor(0.25 / 128), atol=1e-6)


def test_adapters_are_read_as_they_are():
    unet = tiny_unet().eval()
    plain = read(unet)[0].of_places.means()
    add_lora(unet, rank=2, target_modules=("to_q", "to_k"), seed=0, name="unet")
    for name, weight in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted = read(unet)[0].of_places.means()
    assert not torch.allclose(plain[8], adapted[8], atol=1e-4)


def test_what_its_own_processor_takes_goes_through():
    seen = {}

    def own(attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **more):
        seen.update(more)
        return hidden_states

    processor = ReadingProcessor(own, lambda *inputs: None)
    assert processor(None, LATENTS, temb=3) is LATENTS
    assert seen == {"temb": 3}


def test_an_oblong_is_refused():
    layer = next(m for m in tiny_unet().modules() if isinstance(m, Attention))
    hidden = torch.zeros(1, 128, 8)
    with pytest.raises(ValueError, match="128 places of attention; a square"):
        self_attention_capture.SummedMaps().add(layer, hidden, hidden)
