"""A word about settings that are allowed and almost certainly not meant."""

from collections.abc import Mapping

from persam_dreambooth.settings.data import DataConfig
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


def caption_hint(data: DataConfig, captions: Mapping[str, str], *, background_seen: bool) -> str | None:
    """Return one line about captions: none where the place could be named, or some without the rare word.

    Args:
        data: with the prompts.
        captions: texts of the photos that have a caption of their own, by where it is written.
        background_seen: whether the photos are shown with their background; another place cannot be named.
    """
    if not captions and background_seen:
        return (
            f"hint: every photo is called {data.instance_prompt!r}. Captions that also say where each was "
            "taken (00.txt beside 00.jpg) leave less of the place in the subject: docs/models.md"
        )
    rare = _rare_words(data)
    lacking = [where for where, text in captions.items() if rare and not rare & _words(text)]
    if not lacking:
        return None
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return (
        f"hint: {lacking[0]}{more}: without the rare word of the prompt ({' '.join(sorted(rare))}), which "
        "such a photo teaches nothing. Write it in."
    )


def _rare_words(data: DataConfig) -> set[str]:
    """Return what names the subject in the prompt; nothing where the settings do not say."""
    if data.identifier:
        return _words(data.identifier)
    return _words(data.instance_prompt) - _words(data.class_prompt) if data.class_prompt else set()


def _words(text: str) -> set[str]:
    """Return the words of a text."""
    return {word.strip(",.;:!?").lower() for word in text.split()}
