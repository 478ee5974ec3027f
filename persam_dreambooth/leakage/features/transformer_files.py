"""Vision transformers in transformers' folder format, or on the hub; what is wrong becomes one line."""

from collections.abc import Container, Mapping
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError, one_line

_SAFETY_CHECKER = "safety_checker"

# What transformers raises for models that are missing, cut off, or of other shapes than their config says.
_UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)


def read_config(kind: str, name_or_path: str, known: Container[str], example: str) -> PreTrainedConfig:
    """Return a model's config.

    Args:
        kind: name of the features.
        name_or_path: a folder (also of a pipeline with a safety checker), or a hub id (with /folder behind it
            where the model lies in a folder of the repository).
        known: model types that will do.
        example: a hub id that would do.

    Raises:
        UserError: there is no such model, or it is of another kind.
    """
    source, options = _source(kind, name_or_path, example)
    try:
        with quiet():
            found, _ = PreTrainedConfig.get_config_dict(source, **options)
            if found.get("model_type") in known:
                return AutoConfig.from_pretrained(source, **options)
    except _UNLOADABLE as error:
        raise UserError(_unloadable(kind, name_or_path, example, error)) from error
    raise UserError(
        f"--features {kind}:{name_or_path}: the model's type is {found.get('model_type')!r}; a {kind} model "
        f"is needed. Name one, for example {kind}:{example}."
    )


def load_model(
    kind: str,
    name_or_path: str,
    model_class: str,
    config: PreTrainedConfig,
    example: str,
    key_mapping: Mapping[str, str] | None = None,
) -> PreTrainedModel:
    """Return a frozen model in float32.

    Args:
        kind: name of the features.
        name_or_path: as for `read_config`.
        model_class: of transformers.
        config: of that class.
        example: a hub id that would do.
        key_mapping: patterns in the names of weights, and what to put there.

    Raises:
        UserError: the weights cannot be read or are incomplete.
    """
    source, options = _source(kind, name_or_path, example)
    try:
        with quiet():
            model, loading = getattr(transformers, model_class).from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                key_mapping=key_mapping,
                output_loading_info=True,
                **options,
            )
    except _UNLOADABLE as error:
        raise UserError(_unloadable(kind, name_or_path, example, error)) from error
    if missing := sorted(loading["missing_keys"]):
        raise UserError(
            f"--features {kind}:{name_or_path}: {len(missing)} of the weights are missing ({missing[0]}); "
            "a complete model is needed. Download or save it again."
        )
    return model.eval().requires_grad_(False)


def _source(kind: str, name_or_path: str, example: str) -> tuple[Path | str, dict[str, str]]:
    """Return where a model lies, and what else transformers has to be told.

    Raises:
        UserError: the name can only be a folder, and there is none.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        inner = path / _SAFETY_CHECKER
        return inner if kind == "clip" and inner.is_dir() else path, {}
    parts = name_or_path.split("/")
    if name_or_path.startswith((".", "/", "~")) or len(parts) > 3 or not all(parts):
        raise UserError(
            f"--features {kind}:{name_or_path}: no such folder; a folder in transformers' format or a hub "
            f"id is needed. Check the path, or take {kind}:{example}."
        )
    return "/".join(parts[:2]), {"subfolder": parts[2]} if len(parts) == 3 else {}


def _unloadable(kind: str, name_or_path: str, example: str, error: Exception) -> str:
    """Return the error text for a model that cannot be loaded."""
    reason = one_line(error).split(". ")[0].rstrip(".")[:300]
    return (
        f"--features {kind}:{name_or_path}: cannot be loaded ({reason}); a folder in transformers' format or "
        f"a hub id that can be reached is needed, for example {kind}:{example}. "
        "Check the name, or download it again."
    )
