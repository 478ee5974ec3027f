"""What a run was made with, for a reader a year later: versions, machine, digests of the inputs."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from persam_dreambooth import __version__
from persam_dreambooth.config import to_yaml
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.weights_digest import weights_digest
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import Photo
from persam_dreambooth.run import RunFolder
from persam_dreambooth.settings import Config

ENVIRONMENT_FILE = "environment.json"


def write_record(
    run: RunFolder,
    config: Config,
    accelerator: Accelerator,
    models: Models,
    photos: Sequence[Photo],
    masks: Mapping[str, SubjectMask] | None,
    class_images: Sequence[Photo] | None,
) -> None:
    """Write down settings, versions, machine and inputs; the main process does."""
    if accelerator.is_main_process:
        run.write_text("config.yaml", to_yaml(config))
        record = {**environment(accelerator), "inputs": inputs(models, photos, masks, class_images)}
        run.write_json(ENVIRONMENT_FILE, record)


def environment(accelerator: Accelerator) -> dict[str, object]:
    """Return versions of the program, of Python and of every installed package, and the machine.

    No names of users or hosts: run folders are shared.
    """
    return {
        "persam_dreambooth": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": {
            "device": str(accelerator.device),
            "device_name": _device_name(accelerator.device),
            "cpu_cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        },
        "processes": accelerator.num_processes,
        "distributed": accelerator.distributed_type.value,
        "mixed_precision": accelerator.mixed_precision,
        "packages": packages(),
    }


def inputs(
    models: Models,
    photos: Sequence[Photo],
    masks: Mapping[str, SubjectMask] | None,
    class_images: Sequence[Photo] | None,
) -> dict[str, object]:
    """Return digests of all that a training is made from, before it changes the models.

    Args:
        models: as loaded.
        photos: that are trained on.
        masks: by stem; None without.
        class_images: None without.
    """
    parts = {"unet": models.unet, "vae": models.vae}
    parts |= dict(zip(models.family.text_encoder_names, models.text_encoders, strict=True))
    return {
        "model": models.name_or_path,
        "model_family": models.family.name,
        "model_weights": {name: weights_digest(part) for name, part in parts.items()},
        "photos": {photo.path.name: photo.digest for photo in photos},
        "masks": None if masks is None else {stem: found.digest for stem, found in masks.items()},
        "class_images": None if class_images is None else {p.path.name: p.digest for p in class_images},
    }


def packages() -> dict[str, str]:
    """Return name and version of every installed package, by name."""
    # From the names of their folders: to open every package's record takes a second.
    folders = [folder.stem for entry in sys.path for folder in Path(entry).glob("*.dist-info")]
    return dict(sorted((name, version) for name, _, version in (stem.partition("-") for stem in folders)))


def _device_name(device: torch.device) -> str:
    """Return what the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
