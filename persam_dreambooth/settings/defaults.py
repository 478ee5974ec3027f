"""The defaults that depend on other settings, and those of diffusers' three scripts, by what is trained.

    full fine-tuning   train_dreambooth.py
    LoRA               train_dreambooth_lora.py
    LoRA on SDXL       train_dreambooth_lora_sdxl.py

Source: the argument parsers of those scripts (diffusers 0.40).
"""

import dataclasses
from pathlib import Path

from persam_dreambooth.settings.config import Config
from persam_dreambooth.settings.train import TrainConfig
from persam_dreambooth.settings.validation import ValidationConfig

SDXL = "sdxl"
"""Name of the family whose LoRA script has defaults of its own."""

FULL_DIR, LORA_DIR = Path("dreambooth-model"), Path("lora-dreambooth-model")


def resolve_defaults(config: Config, family_name: str) -> Config:
    """Return the settings with every None that depends on what is trained put right.

    Filled in: output_dir, learning_rate, text_encoder_lr, adam_weight_decay,
    adam_weight_decay_text_encoder, image_interpolation_mode, outside_prior_weight, validation_steps or
    validation_epochs. The resolution stays None where the model's own is meant. What is given stays as it is.

    Args:
        config: as parsed.
        family_name: "sd" or "sdxl", of the model that is trained.
    """
    use_lora = config.train.use_lora
    interpolation = config.data.image_interpolation_mode or ("lanczos" if use_lora else "bilinear")
    return dataclasses.replace(
        config,
        output_dir=config.output_dir or default_output_dir(use_lora=use_lora),
        data=dataclasses.replace(config.data, image_interpolation_mode=interpolation),
        masks=dataclasses.replace(config.masks, outside_prior_weight=outside_prior_weight(config)),
        train=resolve_train(config.train, family_name),
        validation=_resolve_validation(config.validation, use_lora=use_lora),
    )


def outside_prior_weight(config: Config) -> float:
    """Return how much the outside of the masks is held to what the model predicted before.

    Not at all without masks, where class pictures hold the model, or where the photos' own background is the
    target. Otherwise as the benchmark in docs/leakage.md found best: the prompted places are kept more often
    than with the mask alone, with the subject as alike.
    """
    masks = config.masks
    is_held = config.data.with_prior_preservation or masks.outside_weight == 1
    return _first(masks.outside_prior_weight, 1.0 if masks.wanted and not is_held else 0.0)


def resolve_train(train: TrainConfig, family_name: str = "sd") -> TrainConfig:
    """Return how to train with rates and weight decays filled in, as `resolve_defaults` does."""
    sdxl_lora, prodigy = train.use_lora and family_name == SDXL, train.optimizer == "prodigy"
    if prodigy:
        # It finds the rate itself and takes this as a factor.
        usual_rate = 1.0
    elif train.use_lora:
        usual_rate = 1e-4 if sdxl_lora else 5e-4
    else:
        usual_rate = 5e-6
    rate = _first(train.learning_rate, usual_rate)
    decay = _first(train.adam_weight_decay, 1e-4 if sdxl_lora else 1e-2)
    return dataclasses.replace(
        train,
        learning_rate=rate,
        text_encoder_lr=_first(train.text_encoder_lr, 5e-6 if sdxl_lora and not prodigy else rate),
        adam_weight_decay=decay,
        adam_weight_decay_text_encoder=_first(
            train.adam_weight_decay_text_encoder, 1e-3 if sdxl_lora else decay
        ),
    )


def default_output_dir(*, use_lora: bool) -> Path:
    """Return the folder of a run that names none."""
    return LORA_DIR if use_lora else FULL_DIR


def _first(given: float | None, default: float) -> float:
    """Return what is given, or the default where nothing is."""
    return default if given is None else given


def _resolve_validation(validation: ValidationConfig, *, use_lora: bool) -> ValidationConfig:
    """Return when pictures are drawn: by steps, or with LoRA by passes; one of the two stays None."""
    if validation.validation_steps is not None or validation.validation_epochs is not None:
        return validation
    return dataclasses.replace(
        validation, **{"validation_epochs": 50} if use_lora else {"validation_steps": 100}
    )
