"""LoRA files, read by diffusers itself: the loaded networks say what the trained ones said, to the bit."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_adapters import PROVENANCE, adapted, build_pipeline, loaded, networks_of, outputs

from persam_dreambooth.diffusion.adapters import KOHYA_FILE, LORA_FILE, save_lora, save_weights
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.lora_targets import UNET_LAYERS
from persam_dreambooth.diffusion.quiet import quiet

FAMILIES = pytest.mark.parametrize("family", [SD, SDXL], ids=["sd", "sdxl"])


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def assert_equal_outputs(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@FAMILIES
@pytest.mark.parametrize("with_text", [False, True], ids=["unet", "unet and text"])
@pytest.mark.parametrize("name", [LORA_FILE, KOHYA_FILE])
def test_diffusers_loads_both_layouts_with_a_scale_other_than_one(tmp_path, family, with_text, name):
    networks = adapted(family, with_text=with_text, rank=3, alpha=5)
    save_lora(networks, tmp_path, PROVENANCE)
    expected = outputs(networks)
    base = outputs(networks_of(build_pipeline(family), with_text=with_text))
    # Unseen adapters would make any file look right.
    assert (expected[0] - base[0]).abs().max() > 0.1
    assert not with_text or (expected[1] - base[1]).abs().max() > 0.1
    assert_equal_outputs(outputs(loaded(family, tmp_path, name, with_text=with_text)), expected)


@FAMILIES
def test_diffusers_loads_dora_of_unet_and_text_encoders(tmp_path, family):
    networks = adapted(family, use_dora=True)
    save_lora(networks, tmp_path, PROVENANCE)
    expected = outputs(networks)
    base = outputs(networks_of(build_pipeline(family)))
    assert all((one - other).abs().max() > 0.05 for one, other in zip(expected, base, strict=True))
    assert_equal_outputs(outputs(loaded(family, tmp_path, LORA_FILE)), expected)


@FAMILIES
@pytest.mark.parametrize("name", [LORA_FILE, KOHYA_FILE])
def test_other_layers_than_the_attention_load_as_well(tmp_path, family, name):
    layers = (*UNET_LAYERS, "ff.net.0.proj", "ff.net.2", "proj_in", "conv1", "conv_shortcut", "time_emb_proj")
    networks = adapted(family, with_text=False, layers=layers, effect=0.1)
    save_lora(networks, tmp_path, PROVENANCE)
    got = outputs(loaded(family, tmp_path, name, with_text=False))
    assert_equal_outputs(got, outputs(networks))


def test_dropout_is_not_active_in_a_loaded_pipeline(tmp_path):
    networks = adapted(SD, dropout=0.5)
    save_lora(networks, tmp_path, PROVENANCE)
    for name in (LORA_FILE, KOHYA_FILE):
        # As people load it: nobody calls eval() on the UNet after load_lora_weights.
        assert_equal_outputs(outputs(loaded(SD, tmp_path, name)), outputs(networks))


def test_the_folder_alone_is_enough_for_diffusers(tmp_path):
    networks = adapted(SD)
    save_lora(networks, tmp_path, PROVENANCE)
    assert_equal_outputs(outputs(loaded(SD, tmp_path, None)), outputs(networks))


def test_checkpoints_load_too(tmp_path):
    networks = adapted(SDXL)
    save_weights(networks, tmp_path / "checkpoint-2")
    got = outputs(loaded(SDXL, tmp_path / "checkpoint-2", LORA_FILE))
    assert_equal_outputs(got, outputs(networks))


def test_fusing_and_unloading_what_was_loaded(tmp_path):
    networks = adapted(SD)
    save_lora(networks, tmp_path, PROVENANCE)
    pipeline = build_pipeline(SD)
    base = outputs(networks_of(pipeline))
    with quiet():
        pipeline.load_lora_weights(tmp_path, weight_name=LORA_FILE)
        pipeline.fuse_lora()
        torch.testing.assert_close(outputs(networks_of(pipeline)), outputs(networks), rtol=1e-4, atol=1e-4)
        pipeline.unfuse_lora()
        pipeline.unload_lora_weights()
    torch.testing.assert_close(outputs(networks_of(pipeline)), base, rtol=1e-4, atol=1e-4)


@FAMILIES
def test_names_are_those_that_diffusers_scripts_write(tmp_path, family):
    save_lora(adapted(family), tmp_path, PROVENANCE)
    names = set(load_file(tmp_path / LORA_FILE))
    assert all(name.startswith(("unet.", "text_encoder.", "text_encoder_2.")) for name in names)
    assert all("lora" in name for name in names)
    attention = "unet.mid_block.attentions.0.transformer_blocks.0.attn1"
    for end in ("to_q.lora.down.weight", "to_out.0.lora.up.weight"):
        assert f"{attention}.{end}" in names
    for encoder in family.text_encoder_names:
        # Also where transformers has dropped `text_model` from the path: older readers know no other.
        path = f"{encoder}.text_model.encoder.layers.1.self_attn.out_proj.lora_linear_layer"
        assert {f"{path}.down.weight", f"{path}.up.weight"} <= names


def test_files_are_float32_and_the_same_each_time(tmp_path):
    for folder in ("one", "other"):
        save_lora(adapted(SD), tmp_path / folder, PROVENANCE)
    for name in (LORA_FILE, KOHYA_FILE):
        one, other = tmp_path / "one" / name, tmp_path / "other" / name
        assert load_file(one).keys() == load_file(other).keys()
        assert {value.dtype for value in load_file(one).values()} == {torch.float32}
        assert all(torch.equal(value, load_file(other)[key]) for key, value in load_file(one).items())
        assert metadata(one) == metadata(other)


def test_scale_rank_and_layers_stand_where_diffusers_looks(tmp_path):
    save_lora(adapted(SD, rank=4, alpha=8, dropout=0.1, use_dora=True), tmp_path, PROVENANCE)
    stored = json.loads(metadata(tmp_path / LORA_FILE)["lora_adapter_metadata"])
    assert stored["unet.r"] == 4
    assert stored["unet.lora_alpha"] == 8
    assert stored["text_encoder.lora_alpha"] == 8
    assert stored["unet.use_dora"] is True
    assert stored["unet.target_modules"] == sorted(UNET_LAYERS)
    assert stored["text_encoder.target_modules"] == ["k_proj", "out_proj", "q_proj", "v_proj"]
    assert not any("dropout" in key for key in stored)
    # Beside the scales in kohya's tensors diffusers refuses it.
    assert "lora_adapter_metadata" not in metadata(tmp_path / KOHYA_FILE)


def test_both_files_tell_the_whole_training(tmp_path):
    save_lora(adapted(SD), tmp_path, PROVENANCE)
    for name in (LORA_FILE, KOHYA_FILE):
        told = metadata(tmp_path / name)
        assert told["format"] == "pt"
        assert told["base_model"] == PROVENANCE.base_model
        assert told["trigger_words"] == told["modelspec.trigger_phrase"] == "a photo of sks cat"
        assert json.loads(told["settings"]) == PROVENANCE.settings
        assert json.loads(told["mask_digests"]) == PROVENANCE.mask_digests
        assert json.loads(told["prompts"]) == PROVENANCE.prompts
        assert told["modelspec.architecture"] == "stable-diffusion-v1/lora"
        assert told["modelspec.resolution"] == "512x512"
    # A checkpoint is no result: it tells only what loading needs.
    save_weights(adapted(SD), tmp_path / "checkpoint-1")
    assert metadata(tmp_path / "checkpoint-1" / LORA_FILE).keys() == {"format", "lora_adapter_metadata"}
