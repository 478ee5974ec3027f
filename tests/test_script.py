"""train_dreambooth.py on tiny models, photos to pictures: what it writes, reruns, resumes and refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from sam_models import random_sam
from tiny_pipelines import RESOLUTION, build_pipeline_folder, draw_photo

from persam_dreambooth.config import parse
from persam_dreambooth.diffusion import checkpoint
from persam_dreambooth.diffusion.models import load_models
from train_dreambooth import main

ROOT = Path(__file__).parent.parent
SIZE = (40, 48)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with a small Stable Diffusion, a small SAM, and photos of which one has a mask."""
    folder = tmp_path_factory.mktemp("models")
    build_pipeline_folder(folder / "sd")
    random_sam().save_pretrained(folder / "sam")
    (folder / "album").mkdir()
    for number in range(3):
        photo, mask = draw_photo(number, SIZE)
        Image.fromarray(photo.pixels).save(folder / "album" / photo.path.name)
        if number == 0:
            Image.fromarray(mask).save(folder / "album" / "00.mask.png")
    return folder


def arguments(models: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--pretrained_model_name_or_path", str(models / "sd"), "--sam", str(models / "sam")),
        *("--instance_data_dir", str(models / "album"), "--output_dir", str(out)),
        *("--max_train_steps", "4", "--train_batch_size", "2", "--learning_rate", "1e-3"),
        *("--validation_prompt", "a photo of sks cat on the beach", "--num_validation_images", "2"),
        # A SAM with random weights is sure of nothing.
        *("--num_inference_steps", "2", "--min_confidence", "0", *more),
    ]


def steps_logged(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict:
    return load_file(out / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")


def contents(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def refusal(capsys: pytest.CaptureFixture, argv: list[str]) -> str:
    """Run the script; return the one line with which it refuses."""
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


def test_from_photos_to_pictures(models, tmp_path, capsys):
    out = tmp_path / "out"
    argv = arguments(models, out, "--use-persam")
    main(argv)
    said = capsys.readouterr().out
    assert "3 photos, 3 masks: the subject covers" in said
    for stem in ("00", "01", "02"):
        with Image.open(out / "masks" / f"{stem}.png") as mask:
            assert mask.size == (SIZE[1], SIZE[0])
    assert {"masks.json", "contact_sheet.png"} <= {path.name for path in (out / "masks").iterdir()}
    assert steps_logged(out) == [1, 2, 3, 4]
    assert load_models(str(out / "pipeline")).default_resolution == RESOLUTION
    assert {path.name for path in (out / "samples").iterdir()} == {
        "00_0.png",
        "00_1.png",
        "prompts.json",
        "grid.png",
    }
    assert parse(["--config", str(out / "config.yaml")]) == parse(argv)
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []

    before = contents(out)
    main(argv)
    assert "already trained with these settings" in capsys.readouterr().out
    changed = {path.name for path, time in contents(out).items() if before.get(path) != time}
    assert changed <= {"config.yaml", "masks.json", "masks.html", "contact_sheet.png"}


def test_masks_change_what_is_learnt(models, tmp_path, capsys):
    for name, flags in (("plain", []), ("masked", ["--use_persam"])):
        main(arguments(models, tmp_path / name, *flags))
    assert "no masks: the background is learnt as well" in capsys.readouterr().out
    plain, masked = weights(tmp_path / "plain"), weights(tmp_path / "masked")
    assert any((plain[name] != masked[name]).any() for name in plain)


def test_a_run_that_is_cut_off_goes_on_to_the_same_weights(models, tmp_path, capsys):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    main(arguments(models, straight, "--use_persam"))
    main(arguments(models, resumed, "--use_persam", "--max_train_steps=3", "--checkpointing_steps=2"))
    # As if the first run had been meant to take four steps and was cut off after three.
    shutil.rmtree(resumed / "pipeline")
    main(arguments(models, resumed, "--use_persam"))
    assert f"going on from {resumed / 'checkpoint-2'}" in capsys.readouterr().out
    assert steps_logged(resumed) == [1, 2, 3, 4]
    ours, theirs = weights(resumed), weights(straight)
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_other_settings_start_anew_and_a_named_checkpoint_is_refused(models, tmp_path, capsys):
    out = tmp_path / "out"
    main(arguments(models, out, "--checkpointing_steps=2"))
    main(arguments(models, out, "--learning_rate=1e-4"))
    assert "going on" not in capsys.readouterr().out
    assert steps_logged(out) == [1, 2, 3, 4]
    line = refusal(capsys, arguments(models, out, "--seed=3", "--resume_from_checkpoint=latest"))
    assert "checkpoint-4: --seed was 0 there and is 3 now" in line or "changed since" in line
    assert "no such checkpoint" in refusal(
        capsys, arguments(models, out, "--seed=3", "--resume_from_checkpoint=x")
    )


def test_lora_with_class_pictures_and_flips(models, tmp_path):
    out = tmp_path / "out"
    flags = [
        "--use_lora",
        "--rank=2",
        "--random_flip",
        "--with_prior_preservation",
        "--class_prompt=a photo of a cat",
    ]
    main(arguments(models, out, *flags, "--num_class_images=2", "--outside_prior_weight=0.5", "--use_persam"))
    assert (out / "pytorch_lora_weights.safetensors").is_file()
    assert not (out / "pipeline").exists()
    assert len(list((out / "class_images").glob("*.png"))) == 2
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert last["prior_loss"] > 0
    assert last["outside_loss"] > 0


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
    assert f"trained: {tmp_path / 'out' / 'pipeline'}" in done.stdout
    assert checkpoint.list_checkpoints(tmp_path / "out") == []
