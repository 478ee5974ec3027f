"""Models in and out: every family loads, what is saved loads elsewhere, another's part fits or is refused."""

import shutil

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from tiny_pipelines import (
    KINDS,
    RESOLUTION,
    build_pipeline_folder,
    build_vae,
    tiny_folder,
    tiny_models,
)

from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.models import build_pipeline, load_models, save_pipeline, token_ids
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError

# Of each kind: family, prediction, class that draws, class that trains.
EXPECTED = {
    "sd": (SD, "epsilon", "PNDMScheduler", "DDPMScheduler"),
    "sd_v": (SD, "v_prediction", "DDIMScheduler", "DDPMScheduler"),
    "sd_sample": (SD, "sample", "DDIMScheduler", "DDPMScheduler"),
    "sd_learned": (SD, "epsilon", "DDPMScheduler", "DDPMScheduler"),
    "sdxl": (SDXL, "epsilon", "EulerDiscreteScheduler", "DDPMScheduler"),
    "sdxl_edm": (SDXL, "epsilon", "EDMEulerScheduler", "EDMEulerScheduler"),
}


def networks(models):
    return (models.unet, models.vae, *models.text_encoders)


def equal(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_loading_is_quiet_frozen_and_in_float32(tmp_path, capfd):
    build_pipeline_folder(tmp_path / "half", dtype=torch.float16)
    capfd.readouterr()
    models = load_models(str(tmp_path / "half"))
    assert capfd.readouterr() == ("", "")
    for part in networks(models):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert not part.training
    assert models.vae_scale_factor == 8
    assert models.default_resolution == RESOLUTION


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_loads(kind):
    models = tiny_models(kind)
    family, prediction, drawing, training = EXPECTED[kind]
    assert models.family is family
    assert models.noise_scheduler.config.prediction_type == prediction
    assert type(models.scheduler).__name__ == drawing
    assert type(models.noise_scheduler).__name__ == training
    assert models.edm == (kind == "sdxl_edm")


@pytest.mark.parametrize("kind", ["sd_v", "sdxl_edm"])
def test_what_is_saved_loads_in_diffusers_and_here(tmp_path, kind, capfd):
    models = tiny_models(kind)
    family, _, drawing, _ = EXPECTED[kind]
    with torch.no_grad():
        for parameter in models.unet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    capfd.readouterr()
    save_pipeline(models, tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    again = load_models(str(tmp_path / "out"))
    assert again.family is family
    assert type(again.scheduler).__name__ == drawing
    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline) is family.pipeline_class
    assert equal(models.unet, pipeline.unet)
    for one, other in zip(networks(models), networks(again), strict=True):
        assert equal(one, other)


def test_saving_again_replaces_the_pipeline_and_nothing_else(tmp_path):
    models, out = tiny_models(), tmp_path / "out"
    save_pipeline(models, out)
    (out / "log.jsonl").write_text("x")
    (out / "unet" / "stray").write_text("x")
    save_pipeline(models, out, skip_text_encoder=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert (out / "log.jsonl").exists()
    assert not (out / "unet" / "stray").exists()
    # A part that is no part any more is not left for somebody to load.
    assert not (out / "text_encoder").exists()


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_pipeline_may_be_saved_without_its_text_encoders(tmp_path, kind):
    models = tiny_models(kind)
    save_pipeline(models, tmp_path / "out", skip_text_encoder=True)
    names = {entry.name for entry in (tmp_path / "out").iterdir()}
    assert not names & set(models.family.text_encoder_names)
    assert set(models.family.tokenizer_names) <= names
    given = dict(zip(models.family.text_encoder_names, models.text_encoders, strict=True))
    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(tmp_path / "out", **given)
    assert equal(pipeline.unet, models.unet)
    with pytest.raises(
        UserError, match=r"cannot be loaded \(no folder text_encoder; was it saved without\?\)"
    ):
        load_models(str(tmp_path / "out"))


def test_what_a_models_index_says_of_empty_prompts_is_kept(tmp_path):
    folder = shutil.copytree(tiny_folder("sdxl"), tmp_path / "model")
    index = folder / "model_index.json"
    index.write_text(
        index.read_text().replace(
            '"force_zeros_for_empty_prompt": true', '"force_zeros_for_empty_prompt": false'
        )
    )
    save_pipeline(load_models(str(folder)), tmp_path / "out")
    with quiet():
        pipeline = StableDiffusionXLPipeline.from_pretrained(tmp_path / "out")
    assert pipeline.config.force_zeros_for_empty_prompt is False
    assert build_pipeline(tiny_models("sdxl")).config.force_zeros_for_empty_prompt is True


def test_a_variant_of_the_weight_files(tmp_path):
    models = tiny_models("sdxl")
    with quiet():
        build_pipeline(models).save_pretrained(tmp_path / "half", variant="fp16")
    assert not list((tmp_path / "half").rglob("model.safetensors"))
    again = load_models(str(tmp_path / "half"), variant="fp16")
    for one, other in zip(networks(models), networks(again), strict=True):
        assert equal(one, other)
    with pytest.raises(UserError, match=r"/half: cannot be loaded \("):
        load_models(str(tmp_path / "half"))


@pytest.mark.parametrize("where", ["vae", "."])
def test_another_vae(tmp_path, where):
    torch.manual_seed(5)
    other = build_vae(scaling_factor=0.25)
    with torch.no_grad():
        other.quant_conv.weight.add_(1)
    other.save_pretrained(tmp_path / where)
    models = tiny_models("sdxl", vae=str(tmp_path))
    assert equal(models.vae, other)
    assert models.vae.config.scaling_factor == 0.25
    assert models.vae_name_or_path == str(tmp_path)


def test_another_tokenizer(tmp_path):
    tiny_models("sd").tokenizers[0].save_pretrained(tmp_path)
    assert tiny_models("sd", tokenizer=str(tmp_path)).tokenizers[0].model_max_length == 16
    with pytest.raises(
        UserError, match=r"--tokenizer_name .*: Stable Diffusion XL has 2 tokenizers; .*Drop it"
    ):
        tiny_models("sdxl", tokenizer=str(tmp_path))
    with pytest.raises(UserError, match=r"--tokenizer_name \./none: no such folder; a folder or a hub id"):
        tiny_models("sd", tokenizer="./none")


def test_edm_style_on_request():
    models = tiny_models("sdxl", edm=True)
    assert type(models.noise_scheduler).__name__ == "EulerDiscreteScheduler"
    assert models.edm
    assert models.noise_scheduler is not models.scheduler


def test_vaes_that_do_not_fit(tmp_path):
    flag = "--pretrained_vae_model_name_or_path"
    with pytest.raises(UserError, match=rf"{flag} \./none: no such folder"):
        tiny_models("sdxl", vae="./none")
    with pytest.raises(
        UserError, match=rf"{flag} someone/vae: cannot be loaded .*an AutoencoderKL is needed"
    ):
        tiny_models("sdxl", vae="someone/vae")
    build_vae(latent_channels=16).save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=r"takes latents of 4 channels and the VAE makes 16; .*belongs to the model"
    ):
        tiny_models("sdxl", vae=str(tmp_path))


def test_another_scheduler_for_drawing():
    models = tiny_models()
    pipeline = build_pipeline(models, scheduler="DPMSolverMultistepScheduler")
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert pipeline.scheduler.config.beta_end == 0.012
    with pytest.raises(UserError, match=r"scheduler DDIMSchedular: .*Did you mean DDIMScheduler\?"):
        build_pipeline(models, scheduler="DDIMSchedular")


def test_a_unet_that_learnt_its_variance_is_drawn_by_the_scheduler_that_knows():
    pipeline = build_pipeline(tiny_models("sd_learned"), scheduler="DPMSolverMultistepScheduler")
    assert type(pipeline.scheduler).__name__ == "DDPMScheduler"
    assert pipeline.scheduler.config.variance_type == "learned_range"
    with quiet():
        (picture,) = pipeline("a cat", num_inference_steps=2, output_type="np").images
    assert picture.shape == (RESOLUTION, RESOLUTION, 3)


def test_a_tokenizer_without_a_length_gets_the_text_encoders(tmp_path):
    folder = shutil.copytree(tiny_folder(), tmp_path / "model")
    config = folder / "tokenizer" / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"model_max_length": 16', '"model_max_length": 1e30'))
    assert load_models(str(folder)).tokenizers[0].model_max_length == 16


def test_prompts_as_token_numbers():
    tokenizer = tiny_models().tokenizers[0]
    ids = token_ids(tokenizer, "a photo of sks cat")
    assert ids.shape == (1, tokenizer.model_max_length)
    assert ids[0, 0] == tokenizer.bos_token_id
    assert (ids[0, 6:] == tokenizer.eos_token_id).all()
    with pytest.raises(UserError, match=r"prompt 'a a .*: 19 tokens with start and end; at most 16"):
        token_ids(tokenizer, " ".join("a" * 17), "prompt")
    assert token_ids(tokenizer, " ".join("a" * 14)).shape == (1, 16)


def test_old_checkpoints_with_prefixed_text_encoders_load(tmp_path):
    # The published ones name CLIP's weights text_model.*; transformers 5 itself writes them without.
    folder = shutil.copytree(tiny_folder(), tmp_path / "model")
    models = tiny_models()
    state = {f"text_model.{name}": value for name, value in models.text_encoders[0].state_dict().items()}
    assert not any(".text_model." in name for name in state)
    save_file(state, folder / "text_encoder" / "model.safetensors", metadata={"format": "pt"})
    assert equal(load_models(str(folder)).text_encoders[0], models.text_encoders[0])
    with quiet():
        assert equal(StableDiffusionPipeline.from_pretrained(folder).text_encoder, models.text_encoders[0])
