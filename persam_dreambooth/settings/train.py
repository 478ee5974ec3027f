"""How to train: how long, at which rate, and what."""

import math
from dataclasses import dataclass
from typing import Literal

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.adapters import AdapterConfig
from persam_dreambooth.settings.checks import above_zero, at_least, given
from persam_dreambooth.settings.optimizer import OptimizerConfig
from persam_dreambooth.settings.speed import SpeedConfig

DEFAULT_STEPS = 400
"""Training steps where no flag says how many: as in diffusers' DreamBooth README, without class images."""

OFFSET_NOISE = 0.1
"""What --offset_noise means as a --noise_offset. Source: diffusers, train_dreambooth.py."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(SpeedConfig, OptimizerConfig, AdapterConfig):
    """How to train."""

    train_text_encoder: bool = False
    """Train the text encoders as well: whole, or with --use_lora by adapters of their own."""
    max_train_steps: int | None = None
    """Optimizer steps in all; wins over --num_train_epochs; without either, 400."""
    num_train_epochs: int | None = None
    """Passes over the photos."""
    train_batch_size: int = 4
    """Photos per forward pass and process."""
    gradient_accumulation_steps: int = 1
    """Forward passes per optimizer step."""
    lr_scheduler: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = "constant"
    """How the learning rate changes over the run; only constant has no warm-up."""
    lr_warmup_steps: int = 500
    """Steps over which the learning rate grows from 0."""
    lr_num_cycles: int = 1
    """Restarts of cosine_with_restarts."""
    lr_power: float = 1.0
    """Power of polynomial."""
    snr_gamma: float | None = None
    """Weigh the error of each photo by min(SNR, this) / SNR (5 is usual), of class pictures never; without
    it, all alike."""
    offset_noise: bool = False
    """Shift the noise of every channel by a draw of its own: the same as --noise_offset 0.1."""
    noise_offset: float = 0.0
    """Size of that shift."""
    do_edm_style_training: bool = False
    """Train SDXL in the formulation of EDM; a model with an EDM scheduler always is."""

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        OptimizerConfig.__post_init__(self)
        AdapterConfig.__post_init__(self)
        counts = ("max_train_steps", "num_train_epochs", "train_batch_size")
        for name, value in given(self, (*counts, "gradient_accumulation_steps", "lr_num_cycles")):
            at_least(name, value, 1)
        for name in ("lr_warmup_steps", "noise_offset"):
            at_least(name, getattr(self, name), 0)
        for name, value in given(self, ("lr_power", "snr_gamma")):
            above_zero(name, value)
        if self.do_edm_style_training and self.snr_gamma is not None:
            raise UserError(
                f"--snr_gamma {self.snr_gamma}: not with --do_edm_style_training, which weighs noise levels "
                "itself; one of them is needed. Drop the other."
            )
        if self.offset_noise and self.noise_offset not in (0, OFFSET_NOISE):
            raise UserError(
                f"--offset_noise and --noise_offset {self.noise_offset}: both given; --offset_noise means "
                f"{OFFSET_NOISE}. Drop one."
            )

    @property
    def noise_shift(self) -> float:
        """Size of the shift of the noise that --offset_noise or --noise_offset ask for; 0 is none."""
        return OFFSET_NOISE if self.offset_noise else self.noise_offset

    def steps(self, num_photos: int, num_processes: int = 1) -> int:
        """Return the number of optimizer steps for an album of this many photos, repeats counted."""
        if self.max_train_steps is not None:
            return self.max_train_steps
        if self.num_train_epochs is None:
            return DEFAULT_STEPS
        photos_per_step = self.train_batch_size * self.gradient_accumulation_steps * num_processes
        return self.num_train_epochs * math.ceil(num_photos / photos_per_step)
