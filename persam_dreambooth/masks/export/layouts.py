"""Where each trainer looks for photos and masks, and the settings with which it uses them.

Source: the trainers' documents and behaviour, noted in docs/export.md.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from persam_dreambooth.masks.export.trainers import (
    CONFIG_FILES,
    IMAGES,
    MASKS,
    ONETRAINER_MASK,
    Trainer,
)


@dataclass(frozen=True)
class Layout:
    """What an export for one trainer looks like."""

    mask: str | None
    """Path of a photo's mask, by its stem; None where the photo's alpha channel is the mask."""
    configs: Callable[[Path, int], tuple[str, ...]]
    """(folder of the export, resolution) to the texts of the trainer's CONFIG_FILES."""
    start: str
    """The command that starts the training; {out} is the folder of the export."""
    advice: tuple[str, ...]
    """What to know."""

    def image_path(self, stem: str) -> str:
        """Return where a photo lies in the export."""
        return f"{IMAGES}/{stem}.png"

    def caption_path(self, stem: str) -> str:
        """Return where a caption lies in the export."""
        return f"{IMAGES}/{stem}.txt"

    def mask_path(self, stem: str) -> str | None:
        """Return where a photo's mask lies in the export, or None where it is the alpha channel."""
        return self.mask and self.mask.format(stem=stem)


def config_texts(to: Trainer, out: Path, resolution: int) -> dict[str, str]:
    """Return the trainer's settings, by file name.

    Args:
        to: the trainer.
        out: folder of the export; settings name it by its absolute path.
        resolution: side in pixels that the trainer works at.
    """
    texts = LAYOUTS[to].configs(Path(out).absolute(), resolution)
    return dict(zip(CONFIG_FILES[to], texts, strict=True))


def readme_text(to: Trainer, out: Path) -> str:
    """Return what a person needs to know about an export."""
    layout = LAYOUTS[to]
    lines = [
        f"Photos and masks for {to}. White is trained, black is not.",
        "",
        "Start:",
        f"  {layout.start.format(out=Path(out).absolute().as_posix())}",
        "",
        "To know:",
        *(f"- {line}" for line in layout.advice),
        f"- After any change: persam-dreambooth verify-export --export {Path(out).absolute().as_posix()}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """Return a path as TOML text; JSON's escapes are TOML's."""
    return json.dumps(path.as_posix(), ensure_ascii=False)


def _kohya_dataset(out: Path, resolution: int, mask_line: str) -> str:
    """Return kohya's dataset.toml."""
    return (
        "[[datasets]]\n"
        f"resolution = {resolution}\n"
        "batch_size = 1\n"
        "enable_bucket = true\n"
        "\n"
        "[[datasets.subsets]]\n"
        f"image_dir = {_quoted(out / IMAGES)}\n"
        f"{mask_line}\n"
        'caption_extension = ".txt"\n'
        "num_repeats = 1\n"
    )


def _kohya(out: Path, resolution: int) -> tuple[str, str]:
    """Return kohya's dataset.toml and train.toml, with a folder of masks."""
    mask_line = f"conditioning_data_dir = {_quoted(out / MASKS)}"
    train = f"dataset_config = {_quoted(out / 'dataset.toml')}\nmasked_loss = true\n"
    return _kohya_dataset(out, resolution, mask_line), train


def _kohya_alpha(out: Path, resolution: int) -> tuple[str, str]:
    """Return kohya's dataset.toml and train.toml, with masks in the alpha channel."""
    train = f"dataset_config = {_quoted(out / 'dataset.toml')}\n"
    return _kohya_dataset(out, resolution, "alpha_mask = true"), train


def _onetrainer(out: Path, resolution: int) -> tuple[str, str]:
    """Return OneTrainer's concepts.json and config.json."""
    concept = {
        "name": out.name,
        "path": (out / IMAGES).as_posix(),
        "enabled": True,
        "type": "STANDARD",
        "include_subdirectories": False,
        "text": {"prompt_source": "sample"},
    }
    config = {
        "concept_file_name": (out / "concepts.json").as_posix(),
        "resolution": str(resolution),
        "masked_training": True,
        "unmasked_probability": 0.0,
        "unmasked_weight": 0.0,
        "normalize_masked_area_loss": True,
        "masked_prior_preservation_weight": 0.0,
        "clear_cache_before_training": True,
    }
    return _json([concept]), _json(config)


def _simpletuner(out: Path, resolution: int) -> tuple[str]:
    """Return SimpleTuner's multidatabackend.json."""
    shared = {
        "type": "local",
        "resolution": resolution,
        "resolution_type": "pixel_area",
        "crop": False,
        "caption_strategy": "textfile",
    }
    subject = {
        "id": "subject",
        "dataset_type": "image",
        "instance_data_dir": (out / IMAGES).as_posix(),
        "conditioning_data": "subject-masks",
        "cache_dir_vae": (out / "cache/vae").as_posix(),
    }
    masks = {
        "id": "subject-masks",
        "dataset_type": "conditioning",
        "conditioning_type": "mask",
        "instance_data_dir": (out / MASKS).as_posix(),
        "cache_dir_vae": (out / "cache/masks").as_posix(),
    }
    text = {
        "id": "text",
        "type": "local",
        "dataset_type": "text_embeds",
        "default": True,
        "cache_dir": (out / "cache/text").as_posix(),
    }
    return (_json([subject | shared, masks | shared, text]),)


def _ai_toolkit(out: Path, resolution: int) -> tuple[str]:
    """Return the part of ai-toolkit's config that names the data."""
    dataset = {
        "folder_path": (out / IMAGES).as_posix(),
        "mask_path": (out / MASKS).as_posix(),
        "mask_min_value": 0.0,
        "invert_mask": False,
        "buckets": True,
        "caption_ext": "txt",
        "resolution": [resolution],
    }
    config = {"config": {"process": [{"datasets": [dataset], "train": {"batch_size": 1}}]}}
    return (yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000),)


def _diffusion_pipe(out: Path, resolution: int) -> tuple[str]:
    """Return diffusion-pipe's dataset.toml."""
    text = (
        f"resolutions = [{resolution}]\n"
        "enable_ar_bucket = true\n"
        "min_ar = 0.5\n"
        "max_ar = 2.0\n"
        "num_ar_buckets = 7\n"
        "\n"
        "[[directory]]\n"
        f"path = {_quoted(out / IMAGES)}\n"
        f"mask_path = {_quoted(out / MASKS)}\n"
        "num_repeats = 1\n"
    )
    return (text,)


def _json(value: object) -> str:
    """Return a value as JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


LAYOUTS: dict[Trainer, Layout] = {
    "kohya": Layout(
        f"{MASKS}/{{stem}}.png",
        _kohya,
        "accelerate launch train_network.py --config_file {out}/train.toml --network_module networks.lora"
        " --pretrained_model_name_or_path MODEL --output_dir OUTPUT",
        (
            "masked_loss (train.toml, or a flag) switches masks on; without it kohya trains whole photos.",
            "Every photo has one mask and every mask one photo: kohya stops at a missing or an extra file.",
            "No class images (is_reg) and no random_crop in this dataset; with class images use kohya-alpha.",
            "The loss is a mean over the whole picture: a small subject is learnt slowly.",
        ),
    ),
    "kohya-alpha": Layout(
        None,
        _kohya_alpha,
        "accelerate launch train_network.py --config_file {out}/train.toml --network_module networks.lora"
        " --pretrained_model_name_or_path MODEL --output_dir OUTPUT",
        (
            "The mask is the alpha channel; the pixels it hides are grey, because kohya encodes them too.",
            "Cached latents keep their alpha: delete *.npz in images after a mask has changed.",
            "Class images (is_reg = true) may stand in the same dataset.",
            "Some editors drop alpha when they save; verify-export sees that.",
        ),
    ),
    "onetrainer": Layout(
        f"{IMAGES}/{{stem}}{ONETRAINER_MASK}.png",
        _onetrainer,
        "load {out}/config.json over your settings (or copy its lines into them), then train as usual",
        (
            "config.json holds only what concerns the data and the masks.",
            "A photo without its -masklabel.png is trained whole, without a message.",
            "unmasked_weight is 0.1 unless it is set: then half of the loss may be background.",
            "Normalised area together with masked_prior_preservation_weight gives NaN on an all-white mask.",
            "unmasked_probability works for inpainting models only.",
        ),
    ),
    "simpletuner": Layout(
        f"{MASKS}/{{stem}}.png",
        _simpletuner,
        "simpletuner train --data_backend_config {out}/multidatabackend.json",
        (
            "Photo and mask have the same file name, suffix included.",
            "conditioning_type mask keeps grey; segmentation trains every cell with one pixel above 0.",
            "Both entries keep the same resolution and crop settings, or the mask is cut elsewhere.",
            "The loss is a mean over the whole picture: a small subject is learnt slowly.",
        ),
    ),
    "ai-toolkit": Layout(
        f"{MASKS}/{{stem}}.png",
        _ai_toolkit,
        "copy the dataset of {out}/config.yaml into your config, then python run.py config.yaml",
        (
            "mask_min_value is 0.1 in its web interface: set it to 0.",
            "Every mask is blurred by a random radius, up to 0.5 % of its side, whatever the settings.",
            "In a batch with masked photos, a photo without a mask is not trained at all.",
            "inverted_mask_prior is right for batch_size 1 only: it takes the first photo's mask for all.",
        ),
    ),
    "diffusion-pipe": Layout(
        f"{MASKS}/{{stem}}.png",
        _diffusion_pipe,
        "dataset = '{out}/dataset.toml' in your config, then deepspeed --num_gpus=1 train.py --deepspeed"
        " --config config.toml",
        (
            "A photo without a mask is trained whole, with a warning.",
            "A mask of another size than its photo stops it.",
            "Start once with --regenerate_cache after masks have changed.",
            "The loss is a mean over the whole picture: a small subject is learnt slowly.",
        ),
    ),
}
