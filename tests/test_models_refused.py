"""Models that cannot be trained are refused in one line, which says why."""

import json
import shutil

import pytest
from tiny_pipelines import (
    build_pipeline_folder,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    tiny_folder,
)

from persam_dreambooth.diffusion.model_folders import REASONS
from persam_dreambooth.diffusion.models import load_models, save_pipeline
from persam_dreambooth.errors import UserError

FLAG = "--pretrained_model_name_or_path"


def test_models_that_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"{FLAG} .*/emtpy: no such folder; .*Did you mean .*/empty\?"):
        load_models(str(tmp_path / "emtpy"))
    with pytest.raises(UserError, match=rf"{FLAG} .*/empty: no model_index\.json"):
        load_models(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=rf"{FLAG} someone/model: neither a folder nor reachable on the hub"):
        load_models("someone/model")


def test_a_single_file_is_answered_with_how_to_convert_it(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(
        UserError, match=rf"{FLAG} .*: a single file; .*from_single_file\('{path}'\)\.save_pretrained"
    ):
        load_models(str(path))


@pytest.mark.parametrize("kind", [*REASONS, "AudioLDMPipeline"])
def test_pipelines_of_another_kind(tmp_path, kind):
    # Refused by the index, before anything else is read or fetched.
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(
        UserError, match=rf"{FLAG} .*: a {kind}.*; only Stable Diffusion 1\.x or 2\.x .* XL"
    ) as raised:
        load_models(str(tmp_path))
    assert REASONS.get(kind, "") in str(raised.value)


@pytest.mark.parametrize(
    ("channels", "purpose"), [(9, "inpainting"), (8, "editing by instruction"), (6, "unknown")]
)
def test_unets_that_take_more_than_latents(tmp_path, channels, purpose):
    folder = build_pipeline_folder(tmp_path / "model", in_channels=channels)
    with pytest.raises(
        UserError, match=rf"{FLAG} .*its UNet takes {channels} channels and returns 4 \({purpose}\)"
    ):
        load_models(str(folder))


def replaced(part, folder):
    """A copy of the tiny SDXL in which a part is another's."""
    shutil.copytree(tiny_folder("sdxl"), folder)
    part.save_pretrained(folder / ("unet" if hasattr(part, "conv_in") else "text_encoder"))
    return str(folder)


def test_parts_that_do_not_fit_each_other(tmp_path):
    with pytest.raises(
        UserError, match=r"its UNet is told nothing beside the prompt; Stable Diffusion XL is told text_time"
    ):
        load_models(replaced(build_unet(cross_attention_dim=32), tmp_path / "a"))
    narrow = {"cross_attention_dim": 32, "addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    refiner = build_unet(**narrow, projection_class_embeddings_input_dim=5 * 4 + 8)
    with pytest.raises(UserError, match=r"told of sizes in 28 numbers, and 32 are needed \(the refiner"):
        load_models(replaced(refiner, tmp_path / "b"))
    wide = build_text_encoder(build_tokenizer(), hidden_size=24, num_hidden_layers=2)
    with pytest.raises(
        UserError, match=r"its UNet reads prompts 32 wide and its text encoders write them 40 wide"
    ):
        load_models(replaced(wide, tmp_path / "c"))


def test_predictions_without_a_target(tmp_path):
    folder = shutil.copytree(tiny_folder(), tmp_path / "model")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "flow"}))
    with pytest.raises(UserError, match=r"predicts 'flow'; one of epsilon, v_prediction, sample is needed"):
        load_models(str(folder))


@pytest.mark.parametrize(
    "broken",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "tokenizer",
        "tokenizer_2",
        "text_encoder_2",
        "scheduler",
    ],
)
def test_folders_that_are_damaged(tmp_path, broken):
    folder = shutil.copytree(tiny_folder("sdxl"), tmp_path / "model")
    path = folder / broken
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"/model: cannot be loaded \("):
        load_models(str(folder))


def test_adapters_are_not_saved_as_a_pipeline(tmp_path):
    models = load_models(str(tiny_folder()))
    models.unet.peft_config = {"default": None}
    with pytest.raises(ValueError, match="save_lora"):
        save_pipeline(models, tmp_path / "out")
    assert not (tmp_path / "out").exists()
