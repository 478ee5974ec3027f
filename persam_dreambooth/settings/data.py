"""Photos and prompts."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import at_least, between

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Photos and prompts."""

    instance_data_dir: Path | None = None
    """Folder with the photos of the subject; without it, the sample cat."""
    instance_prompt: str = "a photo of sks cat"
    """What every photo is called in training: a rare word and the kind of thing."""
    identifier: str | None = None
    """The rare word, for example sks: written into LoRA files; --attention_mask_weight needs it."""
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
    prior_generation_precision: Literal["no", "fp32", "fp16", "bf16"] | None = None
    """Precision in which class pictures are generated; without it, fp16 on a GPU and fp32 elsewhere."""
    dataset_name: Path | None = None
    """Photos with captions from a dataset in a folder, instead of --instance_data_dir."""
    image_column: str = "image"
    """Column of the dataset with the photos."""
    caption_column: str | None = None
    """Column of the dataset with a caption for each photo; without it, every one is --instance_prompt."""
    caption_dropout: float = 0.0
    """Share of examples that are trained with an empty prompt, 0 to 1."""
    repeats: int = 1
    """Times that each photo counts in a pass over the photos."""
    resolution: int | None = None
    """Side of the training pictures in pixels; without it, the model's own: 512 for SD 1.5, 1024 for SDXL."""
    center_crop: bool = False
    """Cut the square from the middle of a photo instead of a place drawn for each photo."""
    random_flip: bool = False
    """Mirror half of the examples left to right, mask included."""
    image_interpolation_mode: Interpolation | None = None
    """How photos are resized; without it, bilinear, with LoRA lanczos."""
    use_aspect_ratio_buckets: bool = False
    """Said by --aspect_ratio_buckets already, which it needs."""
    aspect_ratio_buckets: str | None = None
    """Sizes instead of one square, each photo in the nearest in shape: "height,width;height,width"."""

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        at_least("prior_loss_weight", self.prior_loss_weight, 0)
        for name in ("num_class_images", "sample_batch_size", "repeats"):
            at_least(name, getattr(self, name), 1)
        between("caption_dropout", self.caption_dropout, 0, 1)
        if self.resolution is not None:
            at_least("resolution", self.resolution, 8)
        if not self.instance_prompt.strip():
            raise UserError('--instance_prompt: empty; a prompt is needed. For example "a photo of sks cat".')
        self._check_pairs()
        _ = self.buckets

    def _check_pairs(self) -> None:
        """Raise UserError where two settings do not go together."""
        if self.with_prior_preservation and not (self.class_prompt or "").strip():
            raise UserError(
                "--class_prompt: missing; --with_prior_preservation needs it. "
                'Give the kind of thing, for example "a photo of a cat".'
            )
        if self.dataset_name is not None and self.instance_data_dir is not None:
            raise UserError(
                "--dataset_name and --instance_data_dir: both given; one place for the photos is needed. "
                "Drop the other."
            )
        if self.use_aspect_ratio_buckets and self.aspect_ratio_buckets is None:
            raise UserError(
                "--use_aspect_ratio_buckets: the sizes are missing; --aspect_ratio_buckets is needed. "
                'For example --aspect_ratio_buckets "512,768;768,512;512,512".'
            )
        if self.caption_column is not None and self.dataset_name is None:
            raise UserError(
                f"--caption_column {self.caption_column}: given without --dataset_name, which it needs. "
                "With --instance_data_dir, write a photo's caption beside it: 00.txt for 00.jpg."
            )

    @property
    def buckets(self) -> tuple[tuple[int, int], ...] | None:
        """(height, width) of every bucket, from --aspect_ratio_buckets; None where there is one square."""
        if self.aspect_ratio_buckets is None:
            return None
        sizes = self.aspect_ratio_buckets.strip().strip(";").split(";")
        found = [re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", size) for size in sizes]
        wrong = [size for size, match in zip(sizes, found, strict=True) if match is None]
        if wrong:
            raise UserError(
                f"--aspect_ratio_buckets {wrong[0]!r}: no size; height,width in pixels is needed. "
                'For example "512,768;768,512;512,512".'
            )
        return tuple((int(match[1]), int(match[2])) for match in found if match is not None)
