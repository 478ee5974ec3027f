"""Adapters: what they start as, what is trained, off and on, checkpoints to the bit."""

import pytest
import torch
from tiny_adapters import PROVENANCE, adapted, build_pipeline, networks_of, outputs, sd_unet, shake

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.adapters import (
    LORA_FILE,
    add_lora,
    frozen_copy,
    has_lora,
    load_weights,
    save_lora,
    save_weights,
    without_lora,
)
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.lora_targets import UNET_LAYERS, unet_layers
from persam_dreambooth.diffusion.low_rank import adapters_of
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.errors import UserError

UNET_OPTIONS = {"rank": 4, "target_modules": UNET_LAYERS, "seed": 0, "name": "unet"}


def trained(module):
    return {name: value.detach().clone() for name, value in module.named_parameters() if value.requires_grad}


def all_trained(networks):
    return {(n, name): v for n, part in enumerate(networks.modules) for name, v in trained(part).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("use_dora", [False, True])
def test_new_adapters_change_nothing_and_are_all_that_is_trained(use_dora):
    networks = networks_of(build_pipeline(SD))
    before = outputs(networks)
    add_lora(networks.unet, **UNET_OPTIONS, use_dora=use_dora)
    add_lora(
        networks.text_encoders[0],
        rank=2,
        target_modules=("q_proj",),
        seed=0,
        name="text_encoder",
        use_dora=use_dora,
    )
    for value, now in zip(before, outputs(networks), strict=True):
        # DoRA divides by the very length it multiplies with, up to rounding.
        torch.testing.assert_close(now, value, rtol=0, atol=1e-5 if use_dora else 0)
    names = [name for module in networks.modules for name in trained(module)]
    assert names
    assert all("lora_" in name for name in names)
    assert len(trained(networks.unet)) == (3 if use_dora else 2) * 4 * 2 * 6


def test_values_follow_from_seed_name_and_layer_alone():
    one, again, other_seed, other_name = (sd_unet() for _ in range(4))
    before = torch.random.get_rng_state()
    add_lora(one, **UNET_OPTIONS)
    assert torch.equal(torch.random.get_rng_state(), before)
    # Other layers beside them, and other numbers drawn before, are no difference.
    torch.rand(3)
    add_lora(again, **{**UNET_OPTIONS, "target_modules": (*UNET_LAYERS, "conv1")})
    add_lora(other_seed, **{**UNET_OPTIONS, "seed": 1})
    add_lora(other_name, **{**UNET_OPTIONS, "name": "text_encoder"})
    values = trained(one)
    assert same(values, {name: value for name, value in trained(again).items() if name in values})
    assert not same(values, trained(other_seed))
    assert not same(values, trained(other_name))


def test_first_values_are_those_of_the_reference():
    unet = sd_unet()
    add_lora(unet, **{**UNET_OPTIONS, "rank": 8})
    downs = torch.cat([adapter.down.flatten() for adapter in adapters_of(unet).values()])
    # "gaussian" of peft, which diffusers asks for: a standard deviation of 1 / rank.
    assert abs(downs.mean()) < 0.01
    assert abs(downs.std() - 1 / 8) < 0.01
    assert all(not adapter.up.any() for adapter in adapters_of(unet).values())


def test_alpha_is_the_rank_unless_it_is_given():
    one, other = sd_unet(), sd_unet()
    add_lora(one, **UNET_OPTIONS)
    add_lora(other, **UNET_OPTIONS, alpha=1)
    assert {adapter.alpha for adapter in adapters_of(one).values()} == {4.0}
    assert {adapter.alpha for adapter in adapters_of(other).values()} == {1.0}
    assert {adapter.rank for adapter in adapters_of(other).values()} == {4}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("use_dora", [False, True])
def test_adapters_are_float32_whatever_the_network_is(dtype, use_dora):
    unet = sd_unet().to(dtype)
    add_lora(unet, **UNET_OPTIONS, use_dora=use_dora)
    assert {value.dtype for value in trained(unet).values()} == {torch.float32}
    assert unet.conv_in.weight.dtype == dtype


def test_a_step_too_small_for_half_precision_moves_an_adapter():
    unet = sd_unet().to(torch.bfloat16)
    add_lora(unet, **UNET_OPTIONS)
    shake(unet, 0.3)
    before = trained(unet)
    optimizer = torch.optim.AdamW(list(unet.parameters()), lr=1e-6, weight_decay=0)
    latents, prompt = torch.randn(1, 4, 8, 8).bfloat16(), torch.randn(1, 3, 16).bfloat16()
    unet(latents, torch.tensor([10]), prompt).sample.float().square().mean().backward()
    optimizer.step()
    moved = torch.cat([(value != before[name]).flatten() for name, value in trained(unet).items()])
    # A step of 1e-6 is less than a thousandth of what bfloat16 tells apart at 0.3.
    assert moved.float().mean() > 0.95


def test_dropout_follows_from_the_key_of_a_pass():
    networks = adapted(SD, dropout=0.5)
    quiet = outputs(networks)
    for module in networks.modules:
        module.train()

    def drawn(step):
        with randomness.seeded(0, "dropout", step):
            return outputs(networks)[0]

    first = drawn(0)
    torch.rand(5)
    assert torch.equal(drawn(0), first)
    assert not torch.equal(drawn(1), first)
    assert not torch.equal(first, quiet[0])


def test_without_lora_the_base_model_speaks_and_afterwards_the_adapters_again():
    networks, base = adapted(SDXL), networks_of(build_pipeline(SDXL))
    with_adapters, as_base = outputs(networks), outputs(base)
    before = all_trained(networks)
    with without_lora(networks):
        inside = outputs(networks)
    assert all(torch.equal(one, other) for one, other in zip(inside, as_base, strict=True))
    assert not torch.equal(inside[0], with_adapters[0])
    after = outputs(networks)
    assert all(torch.equal(one, other) for one, other in zip(after, with_adapters, strict=True))
    assert same(before, all_trained(networks))
    with without_lora(base):
        assert torch.equal(outputs(base)[0], as_base[0])


def test_a_frozen_copy_stays_behind():
    unet = sd_unet()
    copied = frozen_copy(unet)
    unet.conv_in.weight.data.zero_()
    assert copied.conv_in.weight.any()
    assert not any(value.requires_grad for value in copied.parameters())
    assert not has_lora(copied)


@pytest.mark.parametrize(
    ("family", "with_text", "use_dora"), [(SD, False, False), (SD, True, True), (SDXL, True, True)]
)
def test_checkpoints_of_adapters_are_read_back_to_the_bit(tmp_path, family, with_text, use_dora):
    layers = (*UNET_LAYERS, "conv1")
    networks = adapted(family, with_text=with_text, use_dora=use_dora, layers=layers)
    save_weights(networks, tmp_path)
    fresh = adapted(family, with_text=with_text, use_dora=use_dora, layers=layers, effect=0.1)
    assert not same(all_trained(fresh), all_trained(networks))
    load_weights(fresh, tmp_path)
    assert same(all_trained(fresh), all_trained(networks))


@pytest.mark.parametrize(("family", "with_text"), [(SD, False), (SDXL, True)])
def test_checkpoints_of_whole_networks_are_read_back_to_the_bit(tmp_path, family, with_text):
    networks = networks_of(build_pipeline(family), with_text=with_text)
    for module in networks.modules:
        shake(module.requires_grad_(True), 0.1)
    save_weights(networks, tmp_path)
    assert (tmp_path / "unet/diffusion_pytorch_model.safetensors").is_file()
    assert (tmp_path / "text_encoder/model.safetensors").is_file() == with_text
    fresh = networks_of(build_pipeline(family), with_text=with_text)
    load_weights(fresh, tmp_path)
    assert all(
        same(one.state_dict(), other.state_dict())
        for one, other in zip(fresh.modules, networks.modules, strict=True)
    )


def test_a_result_is_read_back_as_a_checkpoint_is(tmp_path):
    networks = adapted(SD)
    save_lora(networks, tmp_path, PROVENANCE)
    fresh = adapted(SD, effect=0.1)
    load_weights(fresh, tmp_path)
    assert same(all_trained(fresh), all_trained(networks))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2}, "another rank or kind"),
        ({"use_dora": True}, "no unet.*magnitude"),
        ({"layers": (*UNET_LAYERS, "conv1")}, "no unet.*conv1"),
        ({"layers": ("to_k",)}, "belongs to no adapter"),
    ],
)
def test_a_file_of_other_adapters_is_refused_and_nothing_is_changed(tmp_path, options, message):
    save_weights(adapted(SD), tmp_path)
    fresh = adapted(SD, effect=0.1, **options)
    before = all_trained(fresh)
    with pytest.raises(RuntimeError, match=message):
        load_weights(fresh, tmp_path)
    assert same(all_trained(fresh), before)


def test_a_text_encoder_that_lacks_weights_is_refused(tmp_path):
    networks = networks_of(build_pipeline(SD))
    save_weights(networks, tmp_path)
    half = {k: v for k, v in networks.text_encoders[0].state_dict().items() if "layers.1" not in k}
    networks.text_encoders[0].save_pretrained(tmp_path / "text_encoder", state_dict=half)
    with pytest.raises(RuntimeError, match="text_encoder is of another network"):
        load_weights(networks, tmp_path)


def test_missing_adapters_raise_what_a_checkpoint_expects(tmp_path):
    with pytest.raises(OSError, match=LORA_FILE):
        load_weights(adapted(SD), tmp_path)


def test_layers_are_parsed_and_checked():
    unet = sd_unet()
    assert unet_layers(unet, None) == UNET_LAYERS
    assert unet_layers(unet, " to_k, ff.net.0.proj,to_k ,conv_in") == ("to_k", "ff.net.0.proj", "conv_in")
    with pytest.raises(UserError, match=r"^--lora_layers to_kk: no such layer; .* Did you mean to_k\?$"):
        unet_layers(unet, "to_q,to_kk")
    with pytest.raises(UserError, match=r"^--lora_layers ',': no such layer; the ends of names of linear"):
        unet_layers(unet, ",")
    # A group is not a layer, and part of a name is no end of it.
    for name in ("attn1", "o_k", "norm1"):
        with pytest.raises(UserError, match=f"--lora_layers {name}: no such layer"):
            unet_layers(unet, name)


def test_only_the_networks_in_training_are_written(tmp_path):
    networks = adapted(SDXL)
    save_weights(Networks(networks.unet, (), SDXL), tmp_path)
    load_weights(Networks(networks.unet, (), SDXL), tmp_path)
    with pytest.raises(RuntimeError, match="no text_encoder"):
        load_weights(networks, tmp_path)
