"""Find and load a SAM: the embedded toy, a folder or hub id as transformers has them, or a .pth.

What a person can put right (a wrong name, a file cut short, another kind of model) becomes one line.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.photos import file_digest
from persam_dreambooth.sam.adaptation.adapter_file import adapter_digest, apply_adapter
from persam_dreambooth.sam.families import FAMILIES, family_for
from persam_dreambooth.sam.original import read_checkpoint, sam_from_original_weights

TOY_SAM = Path(__file__).parents[1] / "toyworld" / "models" / "sam"

_NEEDED = "a SAM folder in transformers' format, a hub id, an original checkpoint (.pth) or `toy`"

# What transformers raises for models that are missing, cut off, or of other shapes than their config says.
_UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)

CONFIG_FILE = "config.json"

_FILE_ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def load_model(name_or_path: str, adapter: Path | None = None) -> PreTrainedModel:
    """Return a SAM in float32: `toy` (the embedded one), a folder, a hub id or an original checkpoint's file.

    Args:
        name_or_path: which one.
        adapter: a file of adapt-sam's, folded into the weights.

    Raises:
        UserError: there is no such model, it is no SAM, or its weights are incomplete; the adapter is none,
            or another model's.
    """
    model = _base(name_or_path)
    if adapter is not None:
        apply_adapter(model, adapter, name_or_path)
    return model


def _base(name_or_path: str) -> PreTrainedModel:
    """Return a SAM as it was saved."""
    source = _source(name_or_path)
    if isinstance(source, Path) and source.is_file():
        where = f"--sam {name_or_path}"
        return sam_from_original_weights(read_checkpoint(source, where), where)
    family = family_for(_config_dict(name_or_path, source)["model_type"])
    model_class = getattr(transformers, family.model_class)
    try:
        with _quiet():
            model, loading = model_class.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True
            )
    except ImportError as error:
        raise UserError(_lacking(name_or_path, error)) from error
    except _UNLOADABLE as error:
        raise UserError(_unloadable(name_or_path, error)) from error
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise UserError(
            f"--sam {name_or_path}: {len(missing)} of the weights are missing ({missing[0]}); "
            "a complete SAM is needed. Download or save it again."
        )
    return model


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write a SAM as `load_model` and transformers read it, its config last: without one it is no model."""
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet(), tempfile.TemporaryDirectory(prefix=".", dir=folder) as parts:
        model.save_pretrained(parts)
        for path in sorted(Path(parts).iterdir(), key=lambda path: path.name == CONFIG_FILE):
            path.replace(folder / path.name)


def model_digest(name_or_path: str, adapter: Path | None = None) -> str:
    """Return a text that changes when the model does: sha256 of its files, or a hub model's commit.

    Args:
        name_or_path: as for `load_model`.
        adapter: the same.

    Raises:
        UserError: there is no such model, or no such adapter.
    """
    base = _base_digest(name_or_path)
    return base if adapter is None else f"{base} {adapter_digest(adapter)}"


def _base_digest(name_or_path: str) -> str:
    """Return a text that changes when the model without adapters does."""
    source = _source(name_or_path)
    if isinstance(source, Path) and source.is_file():
        return file_digest(source)
    config = _config_dict(name_or_path, source)
    if isinstance(source, str):
        return f"{source}@{config.get('_commit_hash')}"
    digest = hashlib.sha256()
    for path in sorted(source.iterdir()):
        if path.suffix in (".json", ".safetensors", ".bin"):
            digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def _source(name_or_path: str) -> Path | str:
    """Return the model's folder or file, or the name itself where it is a hub id.

    Raises:
        UserError: the name can only be a path, and there is nothing at it.
    """
    source = TOY_SAM if name_or_path == "toy" else Path(name_or_path).expanduser()
    if name_or_path and source.exists():
        return source
    if name_or_path == "toy":
        raise UserError(
            f"--sam toy: {source} is missing; the installation is incomplete. Install the package again."
        )
    if name_or_path.endswith(_FILE_ENDINGS):
        raise UserError(f"--sam {name_or_path}: no such file; {_NEEDED} is needed. Check the path.")
    # A hub id is `name` or `owner/name`; everything else can only be meant as a folder.
    if name_or_path.count("/") > 1 or name_or_path[:1] in ("/", ".", "~", ""):
        raise UserError(f"--sam {name_or_path}: no such folder; {_NEEDED} is needed. Check the path.")
    return name_or_path


def _config_dict(name_or_path: str, source: Path | str) -> dict:
    """Return the config of a SAM.

    Raises:
        UserError: it cannot be read, or belongs to another kind of model.
    """
    if isinstance(source, Path) and not (source / CONFIG_FILE).is_file():
        raise UserError(
            f"--sam {name_or_path}: no {CONFIG_FILE} in this folder; {_NEEDED} is needed. Check the path."
        )
    try:
        with _quiet():
            config, _ = PreTrainedConfig.get_config_dict(source)
    except _UNLOADABLE as error:
        raise UserError(_unloadable(name_or_path, error)) from error
    model_type = config.get("model_type")
    if family_for(model_type) is None:
        known = ", ".join(name for family in FAMILIES for name in family.model_types)
        raise UserError(
            f"--sam {name_or_path}: the model's type is {model_type!r}; one of {known} is needed. "
            f"Try {FAMILIES[0].example}."
        )
    return config


def _unloadable(name_or_path: str, error: Exception) -> str:
    """Return the error text for a model that cannot be loaded."""
    reason = one_line(error).split(". ")[0].rstrip(".")
    return (
        f"--sam {name_or_path}: cannot be loaded ({reason}); "
        f"{_NEEDED} is needed. Check the name, or download it again."
    )


def _lacking(name_or_path: str, error: ImportError) -> str:
    """Return the error text for a model whose image encoder is another package's: EdgeTAM's is timm's."""
    reason = one_line(error).split(". ")[0].rstrip(".")
    return (
        f"--sam {name_or_path}: a package that its image encoder comes from cannot be imported ({reason}); "
        "this model needs it. Install it (for EdgeTAM: timm and torchvision), or name another SAM."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers silent inside the block: what matters becomes an error here."""
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
