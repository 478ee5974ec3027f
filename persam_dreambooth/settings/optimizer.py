"""The optimizer and its rates."""

from dataclasses import dataclass
from typing import Literal

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import above_zero, at_least, below_one, given


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its rates."""

    learning_rate: float | None = None
    """Step size after the warm-up; without it, 5e-6, with LoRA 5e-4, LoRA on SDXL 1e-4, prodigy 1."""
    text_encoder_lr: float | None = None
    """Step size for the text encoders; without it, --learning_rate, with LoRA on SDXL 5e-6."""
    scale_lr: bool = False
    """Multiply --learning_rate by batch size, accumulation steps and processes; --text_encoder_lr stays."""
    optimizer: Literal["AdamW", "prodigy"] = "AdamW"
    """What takes the steps; prodigy finds its own rate (--learning_rate 1) and needs `prodigyopt`."""
    use_8bit_adam: bool = False
    """Keep AdamW's two means in 8 bits, through bitsandbytes or torchao."""
    adam_beta1: float = 0.9
    """Decay of the optimizer's mean of gradients."""
    adam_beta2: float = 0.999
    """Decay of the optimizer's mean of squared gradients."""
    adam_weight_decay: float | None = None
    """Weight decay; without it, 1e-2, with LoRA on SDXL 1e-4."""
    adam_weight_decay_text_encoder: float | None = None
    """Weight decay for the text encoders; without it, --adam_weight_decay, with LoRA on SDXL 1e-3."""
    adam_epsilon: float = 1e-8
    """Guard against division by zero in the optimizer."""
    prodigy_beta3: float | None = None
    """Decay of prodigy's estimate of the rate; without it, the root of --adam_beta2."""
    prodigy_decouple: bool = True
    """Let prodigy decay weights as AdamW does."""
    prodigy_use_bias_correction: bool = True
    """Correct prodigy's means for their start at 0."""
    prodigy_safeguard_warmup: bool = True
    """Keep the warm-up out of prodigy's estimate of the rate."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        for name, value in given(self, ("adam_weight_decay", "adam_weight_decay_text_encoder")):
            at_least(name, value, 0)
        for name, value in given(self, ("learning_rate", "text_encoder_lr", "adam_epsilon", "max_grad_norm")):
            above_zero(name, value)
        for name, value in given(self, ("adam_beta1", "adam_beta2", "prodigy_beta3")):
            below_one(name, value)
        if self.use_8bit_adam and self.optimizer != "AdamW":
            raise UserError(
                f"--use_8bit_adam: not with --optimizer {self.optimizer}; AdamW is needed for it. Drop one."
            )
