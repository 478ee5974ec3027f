"""The adapter as a file: A and B of every layer, and which base they are for; folded into it when loaded.

A small safetensors file (0.6 MB for ViT-B at rank 4). Its metadata has the digest of the base's layers, so
that another base is refused, whatever format the same base comes in.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.files import atomic_path
from persam_dreambooth.photos import file_digest
from persam_dreambooth.sam.adaptation.lora import fold, lora_targets

FORMAT = "persam-dreambooth-sam-adapter/1"
ADAPTER_FILE = "sam_adapter.safetensors"

_NEEDED = "an adapter that `persam-dreambooth adapt-sam` wrote is needed"


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """What the file holds."""

    weights: Mapping[str, Tensor]
    """By the names of `lora.lora_weights`."""
    told: Mapping[str, object]
    """Metadata: base, base_digest, rank, input, reverted, and how it was made."""


def base_digest(model: PreTrainedModel) -> str:
    """Return the sha256 (hex) of the layers that adapters go to, in float32, in their order."""
    digest = hashlib.sha256()
    for name, (layer, _) in lora_targets(model).items():
        for value in (layer.weight, layer.bias):
            if value is not None:
                digest.update(f"{name} {tuple(value.shape)}".encode())
                values = value.detach().to("cpu", torch.float32).contiguous()
                digest.update(values.reshape(-1).numpy().view("uint8"))
    return digest.hexdigest()


def write_adapter(path: Path, weights: Mapping[str, Tensor], told: Mapping[str, object]) -> None:
    """Write an adapter atomically.

    Args:
        path: of the file.
        weights: from `lora.lora_weights`.
        told: at least base, base_digest, rank, input and reverted.
    """
    metadata = {"format": FORMAT, "adapter": json.dumps(dict(told), sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary, metadata)


def read_adapter(path: Path) -> AdapterFile:
    """Return what an adapter's file holds.

    Raises:
        UserError: there is no such file, or it is no adapter.
    """
    where = f"--sam_adapter {path}"
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file; {_NEEDED}. Check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise UserError(f"{where}: cannot be read ({one_line(error).rstrip('.')}); {_NEEDED}.") from error
    if metadata.get("format") != FORMAT:
        raise UserError(f"{where}: a safetensors file, but no adapter of a SAM; {_NEEDED}.")
    return AdapterFile(weights, json.loads(metadata["adapter"]))


def adapter_digest(path: Path) -> str:
    """Return the sha256 (hex) of an adapter's file.

    Raises:
        UserError: there is no such file.
    """
    if not Path(path).is_file():
        raise UserError(f"--sam_adapter {path}: no such file; {_NEEDED}. Check the path.")
    return file_digest(path)


def apply_adapter(model: PreTrainedModel, path: Path, name: str) -> None:
    """Fold an adapter's file into the model that it was made for.

    Args:
        model: without adapters; changed in place.
        path: of the file.
        name: what the model is called on the command line, for the error text.

    Raises:
        UserError: the file is no adapter, is another model's, or sees photos as only adapt-sam shows them.
    """
    adapter = read_adapter(path)
    where = f"--sam_adapter {path}"
    if adapter.told["base_digest"] != base_digest(model):
        raise UserError(
            f"{where}: made for another base ({adapter.told['base']}) than --sam {name}; its digest must be "
            "the base's. Name that base, or adapt this one."
        )
    if adapter.told["input"] != "sam":
        raise UserError(
            f"{where}: made with --input {adapter.told['input']}, photos as the authors' program feeds them; "
            "here they are fed as SAM was trained. Adapt again with --input sam."
        )
    fold(model, adapter.weights)
