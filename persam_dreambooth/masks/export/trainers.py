"""The trainers, by the names that `--to` takes."""

from typing import Literal, get_args

Trainer = Literal["kohya", "kohya-alpha", "onetrainer", "simpletuner", "ai-toolkit", "diffusion-pipe"]

TRAINERS: tuple[Trainer, ...] = get_args(Trainer)

MANIFEST_FILE = "manifest.json"
README_FILE = "README.txt"
IMAGES, MASKS = "images", "masks"

ONETRAINER_MASK = "-masklabel"
ONETRAINER_SUFFIXES = (ONETRAINER_MASK, "-condlabel")
"""Ends of stems that OneTrainer never takes for photos."""

CONFIG_FILES: dict[Trainer, tuple[str, ...]] = {
    "kohya": ("dataset.toml", "train.toml"),
    "kohya-alpha": ("dataset.toml", "train.toml"),
    "onetrainer": ("concepts.json", "config.json"),
    "simpletuner": ("multidatabackend.json",),
    "ai-toolkit": ("config.yaml",),
    "diffusion-pipe": ("dataset.toml",),
}
"""What each trainer is told about its data, and in which files."""
