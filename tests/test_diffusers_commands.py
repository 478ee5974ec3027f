"""Command lines of diffusers' DreamBooth READMEs on tiny models: only names, sizes and counts are changed."""

import shlex
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from tiny_runs import build_models, steps_logged

from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.quiet import quiet
from train_dreambooth import main

LORA_FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return build_models(tmp_path_factory.mktemp("models"), "sd", "sdxl", "sdxl_edm")


def run(models: Path, out: Path, kind: str, line: str) -> Path:
    """Run a command line, at most three steps of it, on pictures of 32 px; return its output folder."""
    argv = [
        f"--pretrained_model_name_or_path={models / kind}",
        f"--instance_data_dir={models / 'album'}",
        f"--output_dir={out}",
        "--resolution=32",
        *shlex.split(line),
    ]
    main(argv)
    assert steps_logged(out) == list(range(1, parse(argv).train.max_train_steps + 1))
    return out


def test_the_dog(models, tmp_path):
    out = run(
        models,
        tmp_path / "out",
        "sd",
        '--instance_prompt="a photo of sks dog" --train_batch_size=1 --gradient_accumulation_steps=1 '
        '--learning_rate=5e-6 --lr_scheduler="constant" --lr_warmup_steps=0 --max_train_steps=2',
    )
    with quiet():
        assert DiffusionPipeline.from_pretrained(out).unet.config.sample_size
    assert not (out / LORA_FILE).exists()


def test_prior_preservation_with_the_text_encoder(models, tmp_path):
    dogs = tmp_path / "dogs"
    out = run(
        models,
        tmp_path / "out",
        "sd",
        f"--train_text_encoder --class_data_dir={dogs} --with_prior_preservation --prior_loss_weight=1.0 "
        '--instance_prompt="a photo of sks dog" --class_prompt="a photo of dog" --train_batch_size=1 '
        "--sample_batch_size=1 --gradient_accumulation_steps=2 --gradient_checkpointing --set_grads_to_none "
        "--learning_rate=2e-3 --lr_scheduler=constant --lr_warmup_steps=0 --num_class_images=2 "
        "--max_train_steps=2",
    )
    assert len(list(dogs.glob("*.png"))) == 2
    before = load_file(models / "sd" / "text_encoder" / "model.safetensors")
    after = load_file(out / "text_encoder" / "model.safetensors")
    assert any((after[name] != before[name]).any() for name in before)


def test_lora(models, tmp_path):
    out = run(
        models,
        tmp_path / "out",
        "sd",
        '--use_lora --instance_prompt="a photo of sks dog" --train_batch_size=1 '
        "--gradient_accumulation_steps=1 --checkpointing_steps=2 --learning_rate=1e-4 --report_to=none "
        '--lr_scheduler="constant" --lr_warmup_steps=0 --max_train_steps=3 --train_text_encoder '
        '--validation_prompt="a photo of sks dog" --validation_epochs=50 --num_validation_images=1 '
        '--seed="0"',
    )
    names = list(load_file(out / LORA_FILE))
    assert {name.split(".")[0] for name in names} == {"unet", "text_encoder"}
    assert all("lora" in name for name in names)
    assert (out / "checkpoint-2").is_dir()
    assert list((out / "samples").glob("*.png"))


@pytest.mark.parametrize("kind", ["sdxl", "sdxl_edm"])
def test_sdxl(models, tmp_path, kind):
    own_vae = f"--pretrained_vae_model_name_or_path={models / kind / 'vae'}" if kind == "sdxl" else ""
    out = run(
        models,
        tmp_path / "out",
        kind,
        f'--use_lora {own_vae} --mixed_precision="no" --instance_prompt="a photo of sks dog" '
        "--train_batch_size=1 --gradient_accumulation_steps=4 --learning_rate=1e-4 "
        '--lr_scheduler="constant" --lr_warmup_steps=0 --max_train_steps=2 --validation_epochs=25 '
        '--seed="0" --gradient_checkpointing --output_kohya_format --random_flip --center_crop '
        "--dataloader_num_workers=2",
    )
    names = list(load_file(out / LORA_FILE))
    assert all(name.startswith("unet.") and "lora" in name for name in names)
    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(models / kind)
        pipeline.load_lora_weights(out)
    assert pipeline.get_active_adapters()


def test_a_rate_far_off_is_answered_before_the_first_step(models, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("persam_dreambooth.settings.advice.REAL_MODEL", 1)
    line = "--instance_prompt=photo --learning_rate=1e-3 --max_train_steps=1 --lr_warmup_steps=0"
    run(models, tmp_path / "out", "sd", line)
    said = capsys.readouterr().out
    assert said.count("hint: --learning_rate 0.001 is far above what a whole UNet bears") == 1
