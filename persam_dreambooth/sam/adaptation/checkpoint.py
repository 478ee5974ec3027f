"""The state between two steps as one file, whole or absent: a run goes on from it to the bit."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.files import atomic_path
from persam_dreambooth.sam.adaptation.lora import LoraLinear, lora_weights, set_lora_weights

CHECKPOINT_FILE = "checkpoint.pt"

_FORMAT = 1


@dataclass(eq=False)
class Progress:
    """How far a run is, and the best that it has seen."""

    step: int = 0
    """Steps that are done."""
    best: float = -1.0
    """The highest mean consistency so far."""
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """The adapters that had it."""
    anchor_losses: list[float] = field(default_factory=list)
    """Of each step: how far the masks are from the source's."""
    looks: list[list[float]] = field(default_factory=list)
    """(step, mean consistency) of each look."""
    stopped: str | None = None
    """Why the run ended before its last step."""


def save(
    folder: Path,
    progress: Progress,
    adapters: dict[str, LoraLinear],
    optimizer: torch.optim.Optimizer,
    inputs: str,
    *,
    teacher: bool,
) -> None:
    """Write a checkpoint.

    Args:
        folder: of the run.
        progress: of the run.
        adapters: as they are after the step.
        optimizer: of the adapters.
        inputs: digest of everything that the steps depend on.
        teacher: it has adapters of its own.
    """
    content = {
        "format": _FORMAT,
        "inputs": inputs,
        "progress": vars(progress),
        "student": lora_weights(adapters),
        "teacher": lora_weights(adapters, teacher=True) if teacher else {},
        "optimizer": optimizer.state_dict(),
    }
    with atomic_path(folder / CHECKPOINT_FILE) as temporary:
        torch.save(content, temporary)


def resume(
    folder: Path, adapters: dict[str, LoraLinear], optimizer: torch.optim.Optimizer, inputs: str
) -> Progress | None:
    """Put back what a checkpoint holds; return None where there is none of these inputs.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = one_line(error).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path}: damaged ({reason}). Remove it and start anew.") from error
    if content.get("format") != _FORMAT or content["inputs"] != inputs:
        return None
    set_lora_weights(adapters, content["student"])
    if content["teacher"]:
        set_lora_weights(adapters, content["teacher"], teacher=True)
    optimizer.load_state_dict(content["optimizer"])
    return Progress(**content["progress"])
