"""Models in and out: what is saved loads elsewhere, and what cannot be trained is refused in a line."""

import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.optimization import get_scheduler
from safetensors import safe_open
from tiny_pipelines import RESOLUTION, build_pipeline_folder, rename_pipeline, tiny_folder, tiny_models

from persam_dreambooth.diffusion.adapters import LORA_FILE, add_lora, load_weights, save_lora, without_lora
from persam_dreambooth.diffusion.models import (
    build_pipeline,
    learning_rates,
    load_models,
    save_pipeline,
    token_ids,
)
from persam_dreambooth.errors import UserError

INPUTS = (torch.ones(1, 4, 4, 4), 500, torch.ones(1, 16, 16))


def shake(unet):
    """Change what is trained, as training would."""
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


def test_loading_is_quiet_frozen_and_in_float32(tmp_path, capfd):
    build_pipeline_folder(tmp_path / "half", dtype=torch.float16)
    capfd.readouterr()
    models = load_models(str(tmp_path / "half"))
    assert capfd.readouterr() == ("", "")
    for part in (models.unet, models.vae, models.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert not part.training
    assert models.vae_scale_factor == 8
    assert models.default_resolution == RESOLUTION
    assert type(models.scheduler).__name__ == "PNDMScheduler"
    assert models.noise_scheduler.config.prediction_type == "epsilon"


def test_velocity_models_load(tmp_path):
    models = load_models(str(build_pipeline_folder(tmp_path / "v", prediction_type="v_prediction")))
    assert models.noise_scheduler.config.prediction_type == "v_prediction"
    assert type(models.scheduler).__name__ == "DDIMScheduler"


def test_a_saved_pipeline_loads_in_diffusers_and_here(tmp_path, capfd):
    models = tiny_models()
    models.unet.requires_grad_(True)
    shake(models.unet)
    capfd.readouterr()
    save_pipeline(models, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline.scheduler).__name__ == "PNDMScheduler"
    again = load_models(str(tmp_path / "out"))
    for unet in (pipeline.unet, again.unet):
        assert all(torch.equal(value, unet.state_dict()[k]) for k, value in models.unet.state_dict().items())
    save_pipeline(again, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_saved_lora_loads_in_diffusers_scale_included(tmp_path):
    models = tiny_models()
    add_lora(models.unet, rank=2, alpha=6, seed=0)
    shake(models.unet)
    path = save_lora(models.unet, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [LORA_FILE]
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    assert all(name.startswith("unet.") and ".lora." in name for name in names)
    pipeline = build_pipeline(tiny_models())
    with torch.no_grad():
        trained, base = models.unet(*INPUTS).sample, pipeline.unet(*INPUTS).sample
        pipeline.load_lora_weights(tmp_path)
        torch.testing.assert_close(pipeline.unet(*INPUTS).sample, trained)
        assert not torch.allclose(trained, base)
        with without_lora(models.unet):
            assert torch.equal(models.unet(*INPUTS).sample, base)
        assert torch.equal(models.unet(*INPUTS).sample, trained)
    other = tiny_models()
    add_lora(other.unet, rank=2, alpha=6, seed=1)
    load_weights(other.unet, tmp_path)
    assert all(torch.equal(v, other.unet.state_dict()[name]) for name, v in models.unet.state_dict().items())
    with pytest.raises(ValueError, match="save_lora"):
        save_pipeline(models, tmp_path / "pipeline")


def test_adapters_of_another_unet_are_refused(tmp_path):
    models, other = tiny_models(), tiny_models()
    add_lora(models.unet, rank=2, alpha=None, seed=0)
    save_lora(models.unet, tmp_path)
    add_lora(other.unet, rank=3, alpha=None, seed=0)
    with pytest.raises(RuntimeError):
        load_weights(other.unet, tmp_path)


def test_another_scheduler_for_drawing():
    models = tiny_models()
    pipeline = build_pipeline(models, scheduler="DPMSolverMultistepScheduler")
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert pipeline.scheduler.config.beta_end == 0.012
    with pytest.raises(UserError, match=r"scheduler DDIMSchedular: .*Did you mean DDIMScheduler\?"):
        build_pipeline(models, scheduler="DDIMSchedular")


def test_models_that_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    flag = "--pretrained_model_name_or_path"
    with pytest.raises(UserError, match=rf"{flag} .*/emtpy: no such folder; .*Did you mean .*/empty\?"):
        load_models(str(tmp_path / "emtpy"))
    with pytest.raises(UserError, match=rf"{flag} .*/empty: no model_index\.json"):
        load_models(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=rf"{flag} someone/model: neither a folder nor reachable on the hub"):
        load_models("someone/model")


def test_models_of_another_kind(tmp_path):
    flag = "--pretrained_model_name_or_path"
    folder = build_pipeline_folder(tmp_path / "nine", in_channels=9)
    with pytest.raises(UserError, match=rf"{flag} .*its UNet takes 9 channels and returns 4 \(inpainting\)"):
        load_models(str(folder))
    folder = build_pipeline_folder(tmp_path / "sample", prediction_type="sample")
    with pytest.raises(UserError, match=rf"{flag} .*predicts 'sample'; only epsilon and v_prediction"):
        load_models(str(folder))
    rename_pipeline(folder, "StableDiffusionXLPipeline")
    with pytest.raises(
        UserError, match=rf"{flag} .*: a StableDiffusionXLPipeline; only Stable Diffusion 1\.x"
    ):
        load_models(str(folder))


@pytest.mark.parametrize(
    "broken", ["unet/diffusion_pytorch_model.safetensors", "vae/config.json", "tokenizer", "scheduler"]
)
def test_folders_that_are_damaged(tmp_path, broken):
    folder = shutil.copytree(tiny_folder(), tmp_path / "model")
    path = folder / broken
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"/model: cannot be loaded \("):
        load_models(str(folder))


def test_prompts_as_token_numbers():
    tokenizer = tiny_models().tokenizer
    ids = token_ids(tokenizer, "a photo of sks cat")
    assert ids.shape == (1, tokenizer.model_max_length)
    assert ids[0, 0] == tokenizer.bos_token_id
    assert (ids[0, 6:] == tokenizer.eos_token_id).all()
    with pytest.raises(UserError, match=r"prompt 'a a .*: 19 tokens with start and end; at most 16"):
        token_ids(tokenizer, " ".join("a" * 17), "prompt")
    assert token_ids(tokenizer, " ".join("a" * 14)).shape == (1, 16)


@pytest.mark.parametrize(
    "name", ["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]
)
def test_learning_rates_are_those_of_diffusers(name):
    rate = learning_rates(name, 3e-4, warmup_steps=4, num_steps=20, num_cycles=2, power=2.0)
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=3e-4)
    schedule = get_scheduler(
        name, optimizer, num_warmup_steps=4, num_training_steps=20, num_cycles=2, power=2.0
    )
    for step in range(20):
        assert rate(step) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
