"""The settings of a training run as a tree of frozen records: meaning, range and default of each.

Names, meanings and defaults are diffusers' wherever diffusers has the flag. A default that differs between
its scripts is None here, and `resolve_defaults` fills it in. A value out of range, or two that do not go
together, is a UserError as soon as the record is made. Nothing heavy is imported here.
"""

from persam_dreambooth.settings.adapters import LORA_ONLY, AdapterConfig
from persam_dreambooth.settings.advice import caption_hint, rate_hint
from persam_dreambooth.settings.config import Config
from persam_dreambooth.settings.data import DataConfig
from persam_dreambooth.settings.defaults import default_output_dir, resolve_defaults, resolve_train
from persam_dreambooth.settings.diffseg import DiffSegConfig
from persam_dreambooth.settings.masks import MaskConfig, SearchConfig
from persam_dreambooth.settings.measures import MeasureConfig
from persam_dreambooth.settings.model import ModelConfig
from persam_dreambooth.settings.optimizer import OptimizerConfig
from persam_dreambooth.settings.results import ResultConfig
from persam_dreambooth.settings.speed import SpeedConfig
from persam_dreambooth.settings.train import DEFAULT_STEPS, TrainConfig
from persam_dreambooth.settings.validation import ValidationConfig

__all__ = [
    "DEFAULT_STEPS",
    "LORA_ONLY",
    "AdapterConfig",
    "Config",
    "DataConfig",
    "DiffSegConfig",
    "MaskConfig",
    "MeasureConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ResultConfig",
    "SearchConfig",
    "SpeedConfig",
    "TrainConfig",
    "ValidationConfig",
    "caption_hint",
    "default_output_dir",
    "rate_hint",
    "resolve_defaults",
    "resolve_train",
]
