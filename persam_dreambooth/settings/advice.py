"""A word about settings that are allowed and almost certainly not meant."""

from persam_dreambooth.settings.train import TrainConfig

REAL_MODEL = 100_000_000
"""UNets with as many weights are no toys: Stable Diffusion 1.5's has 860 million."""

# A learning rate that destroys a whole UNet within a DreamBooth run; the usual one is 5e-6 or less.
_TOO_HIGH_FOR_UNET = 1e-4
# One that moves no adapters within a run; their usual one is 1e-4 or more. Source: diffusers, issue 3301.
_TOO_LOW_FOR_ADAPTERS = 1e-6


def rate_hint(train: TrainConfig, num_parameters: int) -> str | None:
    """Return one line about a learning rate that is far off for what is trained; None where it is not.

    Args:
        train: resolved by `resolve_defaults`.
        num_parameters: weights of the UNet, trained or not.
    """
    if train.optimizer == "prodigy" or num_parameters < REAL_MODEL:
        return None
    rate = f"hint: --learning_rate {train.learning_rate:g}"
    if not train.use_lora and train.learning_rate >= _TOO_HIGH_FOR_UNET:
        return (
            f"{rate} is far above what a whole UNet bears (5e-6 is usual): it will forget everything else. "
            "If adapters are meant, add --use_lora."
        )
    if train.use_lora and train.learning_rate <= _TOO_LOW_FOR_ADAPTERS:
        return f"{rate} is far below what moves adapters (1e-4 is usual): they will hardly learn anything."
    return None
