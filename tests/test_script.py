"""train_dreambooth.py on tiny models, photos to pictures: what it writes, reruns and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from tiny_pipelines import RESOLUTION
from tiny_runs import (
    SIZE,
    arguments,
    build_models,
    contents,
    leftovers,
    pictures,
    refusal,
    same_weights,
    steps_logged,
    weights,
)

from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.checkpoint_files import list_checkpoints
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.diffusion.quiet import quiet
from train_dreambooth import main

ROOT = Path(__file__).parent.parent
KINDS = ("sd", "sd_v", "sdxl", "sdxl_edm")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return build_models(tmp_path_factory.mktemp("models"), *KINDS)


def test_from_photos_to_pictures(models, tmp_path, capsys):
    out = tmp_path / "out"
    argv = arguments(models, out, *pictures(), "--use-persam")
    main(argv)
    said = capsys.readouterr().out
    assert "Masked loss: on. 3 photos, 3 masks: the subject covers" in said
    for stem in ("00", "01", "02"):
        with Image.open(out / "masks" / f"{stem}.png") as mask:
            assert mask.size == (SIZE[1], SIZE[0])
    assert {"masks.json", "contact_sheet.png"} <= {path.name for path in (out / "masks").iterdir()}
    assert steps_logged(out) == [1, 2, 3, 4]
    assert load_models(str(out)).default_resolution == RESOLUTION
    assert {path.name for path in (out / "samples").iterdir()} == {
        "00_0.png",
        "00_1.png",
        "prompts.json",
        "grid.png",
    }
    assert parse(["--config", str(out / "config.yaml")]).train.learning_rate == 1e-3
    assert (out / "README.md").is_file()
    assert leftovers(out) == []

    before = contents(out)
    main(argv)
    assert "already trained with these settings" in capsys.readouterr().out
    changed = {path.name for path, time in contents(out).items() if before.get(path) != time}
    assert changed <= {
        "config.yaml",
        "environment.json",
        "README.md",
        "provenance.json",
        "masks.json",
        "masks.html",
        "contact_sheet.png",
    }


WAYS = {
    "sd1 full": ("sd", []),
    "sd1 full with text encoder": ("sd", ["--train_text_encoder"]),
    "sd1 lora with text encoder": ("sd", ["--use_lora", "--train_text_encoder", "--lora_dropout=0.1"]),
    "sd2 v-prediction lora": ("sd_v", ["--use_lora", "--use_dora"]),
    "sdxl lora": ("sdxl", ["--use_lora", "--train_text_encoder"]),
    "sdxl edm lora": ("sdxl_edm", ["--use_lora"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_family_from_photos_to_a_pipeline_that_draws(models, tmp_path, way):
    kind, flags = WAYS[way]
    out = tmp_path / "out"
    main(arguments(models, out, "--use_persam", "--max_train_steps=2", *flags, kind=kind))
    use_lora = "--use_lora" in flags
    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(models / kind if use_lora else out)
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "output_type": "np"}

    def drawn() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        with quiet():
            return torch.from_numpy(pipeline("a photo of sks cat", generator=generator, **options).images)

    one = drawn()
    if use_lora:
        assert not (out / "model_index.json").exists()
        pipeline.load_lora_weights(out)
        assert not torch.equal(drawn(), one)
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert last["loss"] > 0


def test_masks_change_what_is_learnt(models, tmp_path, capsys):
    for name, flags in (("plain", []), ("masked", ["--use_persam"])):
        main(arguments(models, tmp_path / name, *flags))
    said = capsys.readouterr().out
    assert "Masked loss: off. 3 photos, no masks: the background is learnt as well" in said
    assert not same_weights(tmp_path / "plain", tmp_path / "masked")


def test_lora_with_class_pictures_flips_and_new_backgrounds(models, tmp_path, capsys):
    out = tmp_path / "out"
    flags = [
        *("--use_lora", "--rank=2", "--random_flip", "--background=random", "--use_persam"),
        *("--with_prior_preservation", "--class_prompt=a photo of a cat", "--num_class_images=2"),
        *("--outside_prior_weight=0.5", "--attention_mask_weight=0.1", "--identifier=sks"),
    ]
    main(arguments(models, out, *flags))
    said = capsys.readouterr().out
    assert "2 class pictures, never masked, have weight 1" in said
    assert "The VAE sees the subject on colours and noise that are new in every step" in said
    assert len(list((out / "class_images").glob("*.png"))) == 2
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert all(last[name] > 0 for name in ("instance_loss", "prior_loss", "outside_loss", "attention_loss"))


def test_backgrounds_cut_from_class_pictures_that_are_not_trained_on(models, tmp_path):
    out = tmp_path / "out"
    flags = ["--background=class", "--class_prompt=a photo of a cat", "--num_class_images=2", "--use_persam"]
    main(arguments(models, out, *flags))
    assert len(list((out / "class_images").glob("*.png"))) == 2
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert last["prior_loss"] == 0


def test_workers_change_nothing_and_captions_do(models, tmp_path):
    out = {name: tmp_path / name for name in ("plain", "workers", "captions")}
    main(arguments(models, out["plain"]))
    main(arguments(models, out["workers"], "--dataloader_num_workers=2"))
    assert same_weights(out["plain"], out["workers"])
    caption = models / "album" / "01.txt"
    caption.write_text("a photo of sks cat in snow")
    try:
        main(arguments(models, out["captions"]))
    finally:
        caption.unlink()
    assert not same_weights(out["plain"], out["captions"])


def test_what_cannot_be_is_refused_before_anything_is_written(models, tmp_path, capsys):
    out = tmp_path / "out"
    long_prompt = "cat " * 40
    nowhere = str(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    empty = tmp_path / "empty.png"
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(empty)
    cases = {
        "--resolution 36: not a multiple of 8, which the VAE needs": ["--resolution=36"],
        "--instance_prompt 'cat": [f"--instance_prompt={long_prompt}"],
        "--validation_prompt 'cat": [f"--validation_prompt={long_prompt}"],
        f"--pretrained_model_name_or_path {nowhere}: no such folder": [
            f"--pretrained_model_name_or_path={nowhere}"
        ],
        f"{nowhere}: no such folder": [f"--instance_data_dir={nowhere}"],
        f"--sam {nowhere}: no such folder": ["--use_persam", f"--sam={nowhere}"],
        f"--reference_mask {empty}: the mask is empty": [f"--reference_mask={empty}"],
        "file is a file; a folder is needed": [f"--output_dir={tmp_path / 'file' / 'out'}"],
        "--class_prompt: missing": ["--with_prior_preservation"],
        "--report_to wandb: the package wandb is not installed": ["--report_to=wandb"],
        "--push_to_hub: HF_HUB_OFFLINE is set": ["--push_to_hub"],
        "--snr_gamma 5.0: not with": [
            "--snr_gamma=5",
            f"--pretrained_model_name_or_path={models / 'sdxl_edm'}",
        ],
    }
    for text, flags in cases.items():
        assert text in refusal(capsys, arguments(models, out, *flags))
        assert not out.exists()


def test_the_whole_process(models, tmp_path):
    argv = [
        sys.executable,
        "train_dreambooth.py",
        *arguments(models, tmp_path / "out", "--max_train_steps=1"),
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"trained: {tmp_path / 'out'}\n" in done.stdout
    assert list_checkpoints(tmp_path / "out") == []
    assert weights(tmp_path / "out")
