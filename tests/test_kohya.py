"""LoRA files in kohya's layout, against the rules by which ComfyUI, A1111 and LyCORIS look layers up."""

import hashlib
import json
import re

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_adapters import PROVENANCE, adapted, sd_unet, sdxl_unet
from torch import nn

from persam_dreambooth.diffusion import kohya
from persam_dreambooth.diffusion.adapters import KOHYA_FILE, save_lora
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.lora_targets import UNET_LAYERS

LAYERS = (*UNET_LAYERS, "ff.net.0.proj", "proj_in", "conv1", "conv2", "conv_shortcut", "time_emb_proj")
TEXT_PARTS = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj")
TENSORS = {"lora_down.weight", "lora_up.weight", "alpha"}


def layer_names(unet):
    return [name for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def saved(family, folder, **options):
    networks = adapted(family, **options)
    save_lora(networks, folder, PROVENANCE)
    return networks, load_file(folder / KOHYA_FILE)


def by_layer(tensors):
    layers = {}
    for name, value in tensors.items():
        layer, part = name.split(".", 1)
        layers.setdefault(layer, {})[part] = value
    return layers


@pytest.mark.parametrize("unet", [sd_unet(), sdxl_unet()], ids=["sd", "sdxl"])
def test_original_paths_are_those_that_diffusers_converts_from(unet):
    checkpoint = {
        f"model.diffusion_model.{kohya.original_path(unet, name)}.{part}": value
        for name in layer_names(unet)
        for part, value in unet.get_submodule(name).state_dict().items()
    }
    converted = convert_ldm_unet_checkpoint(checkpoint, dict(unet.config))
    own = unet.state_dict()
    assert {name.rpartition(".")[0] for name in converted} == set(layer_names(unet))
    assert all(torch.equal(value, own[name]) for name, value in converted.items())


def test_names_of_published_files():
    # As in LoRA files of kohya's sd-scripts for Stable Diffusion 1.5 and Stable Diffusion XL.
    attention = "attentions.1.transformer_blocks.0.attn2.to_out.0"
    sd, sdxl = sd_unet(), sdxl_unet()
    assert (
        kohya.unet_name(SD, sd, f"down_blocks.0.{attention}")
        == "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_out_0"
    )
    assert (
        kohya.unet_name(SDXL, sdxl, f"down_blocks.1.{attention}")
        == "lora_unet_input_blocks_5_1_transformer_blocks_0_attn2_to_out_0"
    )
    assert (
        kohya.unet_name(SDXL, sdxl, f"up_blocks.1.{attention}")
        == "lora_unet_output_blocks_4_1_transformer_blocks_0_attn2_to_out_0"
    )
    assert kohya.unet_name(SDXL, sdxl, "mid_block.attentions.0.proj_in") == "lora_unet_middle_block_1_proj_in"
    layer = "encoder.layers.3.self_attn.q_proj"
    flat = "text_model_encoder_layers_3_self_attn_q_proj"
    assert kohya.text_name(SD, "text_encoder", layer) == f"lora_te_{flat}"
    assert kohya.text_name(SDXL, "text_encoder", layer) == f"lora_te1_{flat}"
    assert kohya.text_name(SDXL, "text_encoder_2", f"text_model.{layer}") == f"lora_te2_{flat}"


def comfyui_names(family, unet):
    """Layers that ComfyUI finds: the original model's by their paths, diffusers' names, and CLIP's by number.

    Source: ComfyUI, comfy/lora.py, model_lora_keys_unet and model_lora_keys_clip.
    """
    names = {f"lora_unet_{kohya.original_path(unet, name)}" for name in layer_names(unet)}
    names |= {f"lora_unet_{name}" for name in layer_names(unet)}
    prefixes = ("lora_te", "lora_te1") if family is SD else ("lora_te", "lora_te1", "lora_te2")
    text = [f"text_model_encoder_layers_{layer}_{part}" for layer in range(32) for part in TEXT_PARTS]
    return {name.replace(".", "_") for name in names} | {f"{p}_{name}" for p in prefixes for name in text}


def a1111_finds(family, unet, name):
    """Whether A1111 finds a layer: names are turned into paths of the original modules by fixed patterns.

    Source: AUTOMATIC1111/stable-diffusion-webui, extensions-builtin/Lora/networks.py.
    """
    modules = {f"diffusion_model_{kohya.original_path(unet, path)}" for path in layer_names(unet)}
    modules = {path.replace(".", "_") for path in modules}
    clip = {f"transformer_text_model_encoder_layers_{n}_{part}" for n in range(2) for part in TEXT_PARTS}
    if family is SDXL:
        modules |= {f"0_{path}" for path in clip}
        modules |= {f"1_model_transformer_resblocks_{n}_attn" for n in range(2)}
        modules |= {f"1_model_transformer_resblocks_{n}_attn_out_proj" for n in range(2)}
    else:
        modules |= clip
    key = a1111_path(name)
    if key in modules or re.sub(r"_[qkv]_proj$", "", key) in modules:
        return True
    if "lora_unet" in name:
        return name.replace("lora_unet", "diffusion_model") in modules
    return name.replace("lora_te1_text_model", "0_transformer_text_model") in modules


def a1111_path(name):
    resnet = {
        "conv1": "in_layers_2",
        "conv2": "out_layers_3",
        "time_emb_proj": "emb_layers_1",
        "conv_shortcut": "skip_connection",
    }
    if match := re.match(r"lora_unet_(down|up)_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)", name):
        side, block, kind, number, rest = match.groups()
        rest = resnet.get(rest, rest) if kind == "resnets" else rest
        place = int(block) * 3 + int(number) + (side == "down")
        side = {"down": "input", "up": "output"}[side]
        return f"diffusion_model_{side}_blocks_{place}_{int(kind == 'attentions')}_{rest}"
    if match := re.match(r"lora_unet_mid_block_(attentions|resnets)_(\d+)_(.+)", name):
        kind, number, rest = match.groups()
        rest = resnet.get(rest, rest) if kind == "resnets" else rest
        return f"diffusion_model_middle_block_{1 if kind == 'attentions' else int(number) * 2}_{rest}"
    if match := re.match(r"lora_te_text_model_encoder_layers_(\d+)_(.+)", name):
        return "transformer_text_model_encoder_layers_{}_{}".format(*match.groups())
    if match := re.match(r"lora_te2_text_model_encoder_layers_(\d+)_(.+)", name):
        layer, part = match.groups()
        return f"1_model_transformer_resblocks_{layer}_{part.replace('self_attn', 'attn')}"
    return name


@pytest.mark.parametrize("family", [SD, SDXL], ids=["sd", "sdxl"])
def test_comfyui_and_a1111_find_every_layer(tmp_path, family):
    networks, tensors = saved(family, tmp_path, layers=LAYERS)
    layers, unet = by_layer(tensors), sd_unet() if family is SD else sdxl_unet()
    assert all(parts.keys() == TENSORS for parts in layers.values())
    expected = [name for name in layer_names(unet) if name.endswith(LAYERS)]
    per_encoder = 2 * len(TEXT_PARTS)
    assert len(layers) == len(expected) + per_encoder * len(networks.text_encoders)
    assert set(layers) <= comfyui_names(family, unet)
    assert [name for name in layers if not a1111_finds(family, unet, name)] == []
    # The rules do tell names apart: those of diffusers' converter for text encoders are not found.
    assert not a1111_finds(family, unet, "lora_te1_encoder_layers_0_self_attn_q_proj")
    assert "lora_te1_encoder_layers_0_self_attn_q_proj" not in comfyui_names(family, unet)


@pytest.mark.parametrize("use_dora", [False, True])
def test_weights_follow_from_the_file_as_lycoris_computes_them(tmp_path, use_dora):
    networks, tensors = saved(SD, tmp_path, layers=("to_q", "conv1"), use_dora=use_dora, rank=3, alpha=5)
    parts = by_layer(tensors)
    for path in ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "up_blocks.0.resnets.0.conv1"):
        layer = networks.unet.get_submodule(path)
        stored, weight = parts[f"lora_unet_{path.replace('.', '_')}"], layer.get_base_layer().weight.detach()
        product = stored["lora_up.weight"].flatten(1) @ stored["lora_down.weight"].flatten(1)
        merged = weight + (stored["alpha"] / 3 * product).reshape(weight.shape)
        if use_dora:
            # Source: KohakuBlueleaf/LyCORIS, modules/locon.py, apply_weight_decompose, on the output's axis.
            norm = merged.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
            assert stored["dora_scale"].shape == norm.shape
            merged = merged * (stored["dora_scale"] / norm)
        x = torch.randn(2, weight.shape[1], *([5, 5] if weight.dim() == 4 else []))
        expected = layer(x)
        layer.get_base_layer().weight.data.copy_(merged)
        torch.testing.assert_close(layer.get_base_layer()(x), expected, rtol=1e-4, atol=1e-5)


def test_what_kohyas_tools_and_a1111_show(tmp_path):
    saved(SD, tmp_path, rank=4, alpha=2)
    with safe_open(tmp_path / KOHYA_FILE, "pt") as file:
        told = file.metadata()
    assert told["ss_network_module"] == "networks.lora"
    assert (told["ss_network_dim"], told["ss_network_alpha"]) == ("4", "2")
    assert (told["ss_base_model_version"], told["ss_v2"]) == ("sd_v1", "False")
    assert told["ss_sd_model_name"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert told["ss_output_name"] == told["modelspec.title"] == "sks-cat"
    assert (told["ss_num_train_images"], told["ss_num_reg_images"]) == ("5", "100")
    assert (told["ss_learning_rate"], told["ss_seed"]) == ("0.0001", "7")
    assert told["ss_masked_loss"] == "True"
    assert "ss_min_snr_gamma" not in told, "a flag that was not given"
    # A1111 counts these as the words of the training.
    tags = json.loads(told["ss_tag_frequency"])
    assert tags == {"instance": {"a photo of sks cat": 4, "sks cat, asleep": 1}}


def test_the_digest_is_that_of_the_tensors_in_the_file(tmp_path):
    saved(SD, tmp_path)
    content = (tmp_path / KOHYA_FILE).read_bytes()
    header = int.from_bytes(content[:8], "little")
    with safe_open(tmp_path / KOHYA_FILE, "pt") as file:
        assert file.metadata()["sshs_model_hash"] == hashlib.sha256(content[8 + header :]).hexdigest()
