"""What is compared and how: everything that a comparison of models follows from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from persam_dreambooth.leakage.album import Album
from persam_dreambooth.leakage.arms import Arm
from persam_dreambooth.leakage.drawing import Request, Sampler
from persam_dreambooth.leakage.model_files import ModelFolder
from persam_dreambooth.leakage.prompts import Prompt
from persam_dreambooth.leakage.summary import PLAIN
from persam_dreambooth.leakage.truth import Truth
from persam_dreambooth.photos import Photo

CLASSIFIER, CLIP, NO_SCENES = "classifier", "clip:", "none"
"""How scenes are recognised: by the base model itself, by a CLIP model, not at all."""


@dataclass(frozen=True, eq=False)
class Places:
    """What the photos' background is held against."""

    photos: Sequence[Photo]
    """Pictures of other places, neighbours for one bank."""
    source: str
    """In words."""

    @property
    def pixels(self) -> list[UInt8[np.ndarray, "H W 3"]]:
        """Their pixels."""
        return [photo.pixels for photo in self.photos]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is compared, and how."""

    album: Album
    base: ModelFolder
    arms: tuple[Arm, ...]
    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    """Of each recontext prompt."""
    other_seeds: tuple[int, ...]
    """Of each prompt of the other families."""
    out: Path
    decoys: Places | tuple[Request, ...]
    """Pictures that somebody chose, or what the base model is asked for."""
    sampler: Sampler = Sampler()  # noqa: RUF009 -- a record that cannot change
    preset: str | None = None
    sam: str = "toy"
    features: str = "auto"
    scene_judge: str = CLASSIFIER
    """CLASSIFIER, CLIP and a model's name, or NO_SCENES."""
    num_banks: int = 19
    vae_round_trip: bool = True
    checkpoints: bool = False
    drop_conflicting: bool = False
    """Leave prompts that ask for the photos' own scene out of the headline."""
    validate: bool = True
    """Say how well planted leaks are seen on these photos."""
    held_out: Album | None = None
    base_pictures: Path | None = None
    """Where the base model's pictures and the decoys are kept; None is among the others."""
    minus: str = PLAIN
    """The arm that the others are compared with."""
    truth: Truth | None = None
    device: str = "cpu"
