"""Runs of train_dreambooth.py on tiny models: folders to run on, command lines, and what is left behind."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sam_models import random_sam
from tiny_albums import draw_photo
from tiny_pipelines import build_folder

from persam_dreambooth.diffusion.model_folders import PIPELINE_INDEX, pipeline_files
from train_dreambooth import main

SIZE = (40, 48)


def build_models(folder: Path, *kinds: str, masks: int = 1) -> Path:
    """Fill a folder with tiny pipelines, a small SAM, and three photos of which some have a mask."""
    for kind in kinds:
        build_folder(kind, folder / kind)
    random_sam().save_pretrained(folder / "sam")
    (folder / "album").mkdir()
    for number in range(3):
        photo, mask = draw_photo(number, SIZE)
        Image.fromarray(photo.pixels).save(folder / "album" / photo.path.name)
        if number < masks:
            Image.fromarray(mask).save(folder / "album" / f"{photo.stem}.mask.png")
    return folder


def arguments(models: Path, out: Path, *more: str, kind: str = "sd") -> list[str]:
    """A run of four steps."""
    return [
        *("--pretrained_model_name_or_path", str(models / kind), "--sam", str(models / "sam")),
        *("--instance_data_dir", str(models / "album"), "--output_dir", str(out)),
        *("--max_train_steps", "4", "--train_batch_size", "2", "--learning_rate", "1e-3"),
        # A SAM with random weights is sure of nothing. Warm-up would leave all weights as they are.
        *("--lr_warmup_steps", "0", "--min_confidence", "0", "--report_to", "none", *more),
    ]


def pictures(*more: str) -> list[str]:
    """Flags for two small pictures of the subject."""
    return [
        *("--validation_prompt", "a photo of sks cat on the beach", "--num_validation_images", "2"),
        *("--num_inference_steps", "2", *more),
    ]


def steps_logged(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Everything that was trained, by file and name."""
    files = [*out.glob("pytorch_lora_weights*.safetensors")]
    if (out / PIPELINE_INDEX).exists():
        files += [path for path in pipeline_files(out) if path.suffix == ".safetensors"]
    assert files
    return {f"{file.name} {name}": v for file in files for name, v in load_file(file).items()}


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, to the bit."""
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def contents(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def leftovers(out: Path) -> list[str]:
    """Halves of files and folders that something left behind."""
    return [str(path) for path in out.rglob(".*")]


def refusal(capsys: pytest.CaptureFixture, argv: list[str]) -> str:
    """Run the script; return the one line with which it refuses."""
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line
