"""The run: every other record hangs on this one."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import at_least
from persam_dreambooth.settings.data import DataConfig
from persam_dreambooth.settings.diffseg import DiffSegConfig
from persam_dreambooth.settings.masks import MaskConfig
from persam_dreambooth.settings.measures import MeasureConfig
from persam_dreambooth.settings.model import ModelConfig
from persam_dreambooth.settings.results import ResultConfig
from persam_dreambooth.settings.train import TrainConfig
from persam_dreambooth.settings.validation import ValidationConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """The run."""

    output_dir: Path | None = None
    """Folder for everything the run writes (run the same command again to go on where it stopped); without
    it, dreambooth-model, with LoRA lora-dreambooth-model."""
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
    diffseg: DiffSegConfig = field(default_factory=DiffSegConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    measures: MeasureConfig = field(default_factory=MeasureConfig)
    results: ResultConfig = field(default_factory=ResultConfig)

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        at_least("seed", self.seed, 0)
        at_least("checkpointing_steps", self.checkpointing_steps, 1)
        if self.checkpoints_total_limit is not None:
            at_least("checkpoints_total_limit", self.checkpoints_total_limit, 1)
        self._check_pairs()

    def _check_pairs(self) -> None:
        """Raise UserError where settings of two records do not go together."""
        data, masks = self.data, self.masks
        if (
            masks.background == "class"
            and data.class_data_dir is None
            and not (data.class_prompt or "").strip()
        ):
            raise UserError(
                "--background class: no class pictures to cut from; --class_prompt or --class_data_dir is "
                'needed. Give the kind of thing, for example "a photo of a cat".'
            )
        if masks.attention_mask_weight > 0:
            flag = f"--attention_mask_weight {masks.attention_mask_weight}"
            if not (data.identifier or "").strip():
                raise UserError(
                    f"{flag}: the word that it is about is missing; --identifier is needed. "
                    "Give the rare word of --instance_prompt, for example --identifier sks."
                )
            if self.train.compile:
                raise UserError(f"{flag}: not with --compile, which hides the attention. Drop one of them.")
        if masks.mask_method == "diffseg" and self.model.sam_adapter is not None:
            raise UserError(
                f"--sam_adapter {self.model.sam_adapter}: for a SAM, and --mask_method diffseg asks none; "
                "one of the two is needed. Drop the flag, or use --mask_method persam_f."
            )
        measures = self.measures
        if measures.wanted and not masks.wanted and measures.measure_masks is None:
            raise UserError(
                f"--background_advantage_steps {measures.background_advantage_steps}: there are no masks; it "
                "needs them to know what is background. Add --use_persam, or --measure_masks to train "
                "without."
            )
        is_lost = self.train.train_text_encoder and not self.train.use_lora
        if self.results.skip_save_text_encoder and is_lost:
            raise UserError(
                "--skip_save_text_encoder: with --train_text_encoder, what was trained would be lost; one of "
                "them is needed. Drop the other."
            )
