"""What a comparison of models needs, small: photos with masks, and trained models of every form."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sam_models import random_sam, scene
from tiny_adapters import PROVENANCE
from tiny_pipelines import tiny_folder, tiny_models

from persam_dreambooth.diffusion.adapters import add_lora, save_lora, save_weights
from persam_dreambooth.diffusion.lora_targets import UNET_LAYERS
from persam_dreambooth.diffusion.models import save_pipeline
from persam_dreambooth.diffusion.networks import Networks

SIZE = (40, 48)


def write_album(folder, count=3, size=SIZE):
    """Photos of a disc in photos/, its masks in masks/."""
    for number in range(count):
        pixels, mask = scene(*size, seed=number)
        write(folder / "photos" / f"{number:02d}.png", pixels)
        write(folder / "masks" / f"{number:02d}.png", np.where(mask, 255, 0).astype(np.uint8))
    return folder


def write_places(folder, count=4, size=(32, 32)):
    """Pictures without a subject."""
    for number in range(count):
        rng = np.random.default_rng(100 + number)
        write(folder / f"{number:02d}.png", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return folder


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_sam(folder):
    random_sam().save_pretrained(folder)
    return str(folder)


def moved(module, by, seed=0):
    """The same network with every weight changed a little."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(by * value.abs().mean() * torch.randn(value.shape, generator=rng))
    return module


def write_run(folder, kind="sd", *, by=0.2, steps=()):
    """A finished training of all weights, with its log and checkpoints after so many steps."""
    models = tiny_models(kind)
    networks = Networks(models.unet, (), models.family)
    for step in steps:
        moved(models.unet, by / 2, seed=step)
        save_weights(networks, folder / f"checkpoint-{step}")
    moved(models.unet, by)
    save_pipeline(models, folder)
    write_log(folder, steps)
    return folder


def write_lora(folder, kind="sd", *, size=0.3, steps=()):
    """A finished training of adapters, with its checkpoints."""
    models = tiny_models(kind)
    add_lora(models.unet, rank=2, target_modules=UNET_LAYERS, seed=0, name="unet")
    networks = Networks(models.unet, (), models.family)
    ups = [value for name, value in models.unet.named_parameters() if "lora_B" in name]
    for step in steps:
        grow(ups, size)
        save_weights(networks, folder / f"checkpoint-{step}")
    grow(ups, size)
    save_lora(networks, folder, PROVENANCE)
    write_log(folder, steps)
    return folder


@torch.no_grad()
def grow(weights, by):
    for value in weights:
        value.add_(by)


def write_log(folder: Path, steps):
    (folder / "config.yaml").write_text("seed: 0\n")
    lines = [f'{{"step": {step}, "loss": 0.5}}\n' for step in (steps or (1,))]
    (folder / "log.jsonl").write_text("".join(lines))


def other_folder(folder, kind="sd", **changes):
    """The tiny pipeline with a changed UNet config, weights left as they are."""
    shutil.copytree(tiny_folder(kind), folder)
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder
