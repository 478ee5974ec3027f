"""The settings of a training run as a tree of frozen records: meaning, range and default of each.

Names, meanings and defaults are diffusers' wherever diffusers has the flag. A value out of range, or two that
do not go together, is a UserError as soon as the record is made. Nothing heavy is imported here.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from persam_dreambooth.errors import UserError

DEFAULT_STEPS = 400
"""Training steps where no flag says how many: as in diffusers' DreamBooth README, without class images."""


def _at_least(flag: str, value: float, least: float) -> None:
    """Raise UserError where a value is below its least (or no number)."""
    if not value >= least:
        raise UserError(f"--{flag} {value}: out of range; at least {least} is needed.")


def _above_zero(flag: str, value: float) -> None:
    """Raise UserError where a value is not above 0."""
    if not value > 0:
        raise UserError(f"--{flag} {value}: out of range; a value above 0 is needed.")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which models."""

    pretrained_model_name_or_path: str = "toy"
    """Stable Diffusion to start from: "toy" (embedded), a folder in diffusers' layout, or a hub id."""
    revision: str | None = None
    """Revision of the model on the hub: a branch, a tag or a commit."""
    variant: str | None = None
    """Variant of the weight files, for example "fp16"."""
    sam: str = "toy"
    """Segment Anything model: "toy" (embedded), a transformers folder, a hub id, or an original .pth file."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Photos and prompts."""

    instance_data_dir: Path | None = None
    """Folder with the photos of the subject; without it, the sample cat."""
    instance_prompt: str = "a photo of sks cat"
    """What every photo is called in training: a rare word and the kind of thing."""
    class_prompt: str | None = None
    """The kind of thing without the rare word; --with_prior_preservation needs it."""
    class_data_dir: Path | None = None
    """Folder of class pictures, filled up to --num_class_images; without it, class_images in --output_dir."""
    with_prior_preservation: bool = False
    """Train on pictures of the class as well, so that the class does not turn into the subject."""
    prior_loss_weight: float = 1.0
    """Weight of the class pictures' loss; at least 0."""
    num_class_images: int = 100
    """Class pictures wanted; missing ones are generated."""
    sample_batch_size: int = 4
    """Class pictures generated at a time."""
    resolution: int | None = None
    """Side of the training pictures in pixels; without it, the model's own (512 for Stable Diffusion 1.5)."""
    center_crop: bool = False
    """Cut the square from the middle of a photo instead of a place drawn for each photo."""
    random_flip: bool = False
    """Mirror half of the examples left to right, mask included."""

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        _at_least("prior_loss_weight", self.prior_loss_weight, 0)
        _at_least("num_class_images", self.num_class_images, 1)
        _at_least("sample_batch_size", self.sample_batch_size, 1)
        if self.resolution is not None:
            _at_least("resolution", self.resolution, 8)
        if not self.instance_prompt.strip():
            raise UserError('--instance_prompt: empty; a prompt is needed. For example "a photo of sks cat".')
        if self.with_prior_preservation and not (self.class_prompt or "").strip():
            raise UserError(
                "--class_prompt: missing; --with_prior_preservation needs it. "
                'Give the kind of thing, for example "a photo of a cat".'
            )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How the subject is marked, and how it is found in the other photos."""

    reference_photo: str | None = None
    """The photo that the hint is about; without it, the one that a mask is named after, or the first."""
    reference_mask: tuple[Path, ...] | None = None
    """Masks of the subject, each in one photo; without any, files like 00.mask.png beside 00.jpg."""
    reference_box: tuple[float, float, float, float] | None = None
    """Box around the subject in the reference photo: left, top, right, bottom in pixels."""
    reference_points: tuple[float, ...] | None = None
    """Points in the reference photo: x y of the first, x y of the second, ... in pixels."""
    reference_labels: tuple[int, ...] | None = None
    """For each point: 1 on the subject, 0 beside it; without it, all are on the subject."""
    reference_scribble: Path | None = None
    """Picture of the reference photo's size on which strokes mark the subject."""
    reference_choice: int | None = None
    """Where nothing marks the subject: which proposal it is, 1 is the best; without it, the best if clear."""
    fit_solver: Literal["adamw", "lbfgs"] = "adamw"
    """persam_f's weights: where the authors' 1000 steps of AdamW end, or the minimum of their loss."""
    persam_compat: bool = False
    """Repeat the authors' programs to the letter, also where they are plainly wrong."""
    min_confidence: float = 0.2
    """Leave out photos whose mask is less sure than this, 0 to 1; 0 keeps every mask that is found."""
    save_intermediates: bool = False
    """Write what the method computed for each photo beside its mask, as .npz."""

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        if self.reference_choice is not None:
            _at_least("reference_choice", self.reference_choice, 1)
        if not 0 <= self.min_confidence <= 1:
            raise UserError(
                f"--min_confidence {self.min_confidence}: out of range; at least 0 and at most 1 is needed."
            )
        points, labels = self.reference_points, self.reference_labels
        if points is not None and (not points or len(points) % 2):
            raise UserError(
                f"--reference_points: {len(points)} numbers; an even number is needed, x and y of each point."
            )
        if labels is not None and len(labels) != len(points or ()) // 2:
            raise UserError(
                f"--reference_labels: {len(labels)} for {len(points or ()) // 2} of --reference_points; "
                "one for each point is needed."
            )
        wrong = [label for label in labels or () if label not in (0, 1)]
        if wrong:
            raise UserError(f"--reference_labels {wrong[0]}: out of range; 0 or 1 is needed.")
        given = [name for name in _HINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"--{given[0]} and --{given[1]}: both given; one hint is needed. Drop the other.")

    @property
    def has_hint(self) -> bool:
        """Whether a flag says where the subject is."""
        names = (*_HINTS, "reference_photo", "reference_choice")
        return any(getattr(self, name) is not None for name in names)


# Ways to mark the subject; one run takes one of them.
_HINTS = ("reference_mask", "reference_box", "reference_points", "reference_scribble")


@dataclass(frozen=True, kw_only=True)
class MaskConfig(SearchConfig):
    """The subject's masks."""

    use_persam: bool = False
    """Find the subject in every photo and keep the rest out of the loss; a hint for it implies it."""
    mask_method: Literal["persam_f", "persam"] = "persam_f"
    """persam_f fits how to combine SAM's three masks on the reference; persam takes SAM's best."""
    mask_mode: Literal["area", "strict"] = "area"
    """Weight of a latent cell in the loss: the subject's share of it, or 1 where it is all subject."""
    mask_normalization: Literal["area", "none"] = "area"
    """Divide each photo's loss by its mask's area, or by the whole picture's."""
    outside_prior_weight: float = 0.0
    """Weight of the base model's own prediction as target outside the mask; 0 lets the outside drift."""

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        _at_least("outside_prior_weight", self.outside_prior_weight, 0)

    @property
    def wanted(self) -> bool:
        """Whether the run uses masks: a hint that changed nothing would be a trap."""
        return self.use_persam or self.has_hint


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train."""

    use_lora: bool = False
    """Train low-rank adapters instead of the whole UNet."""
    rank: int = 4
    """Rank of the adapters."""
    lora_alpha: int | None = None
    """Scale of the adapters times their rank; without it, the rank."""
    learning_rate: float = 5e-6
    """Step size of AdamW after the warm-up."""
    max_train_steps: int | None = None
    """Optimizer steps in all; wins over --num_train_epochs; without either, 400."""
    num_train_epochs: int | None = None
    """Passes over the photos."""
    train_batch_size: int = 4
    """Photos per forward pass and process."""
    gradient_accumulation_steps: int = 1
    """Forward passes per optimizer step."""
    gradient_checkpointing: bool = False
    """Save memory by computing the UNet's forward pass twice."""
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
    adam_beta1: float = 0.9
    """Decay of AdamW's mean of gradients."""
    adam_beta2: float = 0.999
    """Decay of AdamW's mean of squared gradients."""
    adam_weight_decay: float = 1e-2
    """Weight decay of AdamW."""
    adam_epsilon: float = 1e-8
    """Guard against division by zero in AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        """Check ranges."""
        counts = ("rank", "lora_alpha", "max_train_steps", "num_train_epochs", "train_batch_size")
        for name in (*counts, "gradient_accumulation_steps", "lr_num_cycles"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        for name in ("lr_warmup_steps", "adam_weight_decay"):
            _at_least(name, getattr(self, name), 0)
        for name in ("learning_rate", "lr_power", "adam_epsilon", "max_grad_norm"):
            _above_zero(name, getattr(self, name))
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"--{name} {getattr(self, name)}: out of range; at least 0 and below 1 is needed."
                )

    def steps(self, num_photos: int, num_processes: int = 1) -> int:
        """Return the number of optimizer steps for an album of this many photos."""
        if self.max_train_steps is not None:
            return self.max_train_steps
        if self.num_train_epochs is None:
            return DEFAULT_STEPS
        photos_per_step = self.train_batch_size * self.gradient_accumulation_steps * num_processes
        return self.num_train_epochs * math.ceil(num_photos / photos_per_step)


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Pictures drawn with the finished model."""

    validation_prompt: str | None = None
    """Prompt of the pictures drawn at the end; without it, none are drawn."""
    num_validation_images: int = 4
    """Pictures of the prompt, seeds 0, 1, 2, ..."""
    num_inference_steps: int = 25
    """Denoising steps of a picture."""
    guidance_scale: float = 7.5
    """Classifier-free guidance; 1 switches it off."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _at_least("num_validation_images", self.num_validation_images, 1)
        _at_least("num_inference_steps", self.num_inference_steps, 1)
        _at_least("guidance_scale", self.guidance_scale, 0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The run."""

    output_dir: Path = Path("dreambooth-model")
    """Folder for everything the run writes; run the same command again to go on where it stopped."""
    seed: int = 0
    """Every random number of the run follows from it."""
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    """Precision of the forward pass; without it, what accelerate's own settings say."""
    checkpointing_steps: int = 500
    """Save the state of the training every so many steps."""
    checkpoints_total_limit: int | None = None
    """Keep only the newest so many checkpoints."""
    resume_from_checkpoint: str | None = None
    """Checkpoint to go on from: "latest", or the name of one in --output_dir."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        _at_least("seed", self.seed, 0)
        _at_least("checkpointing_steps", self.checkpointing_steps, 1)
        if self.checkpoints_total_limit is not None:
            _at_least("checkpoints_total_limit", self.checkpoints_total_limit, 1)
