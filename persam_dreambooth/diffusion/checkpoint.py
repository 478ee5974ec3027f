"""Checkpoints of a training: whole or not there, and enough to go on to the bit.

    checkpoint-400/
      unet/ or pytorch_lora_weights.safetensors    the trained weights, in the formats of diffusers
      optimizer.pt                                 AdamW's moments, and the fp16 scaler where there is one
      state.json                                   step, and what the run was trained with

The random numbers need no state: they follow from seed and step.
"""

import json
import pickle
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError

from persam_dreambooth.diffusion.adapters import load_weights, save_weights
from persam_dreambooth.diffusion.folders import atomic_folder
from persam_dreambooth.diffusion.training import TrainingState
from persam_dreambooth.errors import UserError, did_you_mean, one_line

STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.pt"
LATEST = "latest"
FORMAT = 1

_NAME = re.compile(r"checkpoint-(\d+)")

# What reading a damaged or foreign file raises.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    SafetensorError,
)

_NO_FLAG = {
    "examples_per_step": "examples a step (--train_batch_size x --gradient_accumulation_steps x processes)",
    "instance_data": "the photos, their masks or crops, --instance_prompt or the base model",
    "class_data": "the class pictures or --class_prompt",
}
"""What to call what is no flag."""


def save(state: TrainingState, output_dir: Path, *, total_limit: int | None = None) -> Path:
    """Write checkpoint-<step>, then remove the oldest beyond the limit; return its path.

    Every process calls this; the main one writes.
    """
    path = Path(output_dir) / f"checkpoint-{state.step}"
    if state.accelerator.is_main_process:
        _remove_halves(Path(output_dir))
        with atomic_folder(path) as temporary:
            save_weights(state.accelerator.unwrap_model(state.unet), temporary)
            scaler = state.accelerator.scaler
            moments = {
                "optimizer": state.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
            }
            torch.save(moments, temporary / OPTIMIZER_FILE)
            record = {"format": FORMAT, "step": state.step, "trained_with": state.what_matters}
            (temporary / STATE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if total_limit is not None:
            prune(Path(output_dir), total_limit, keep=path)
    state.accelerator.wait_for_everyone()
    return path


def find(output_dir: Path, name: str) -> Path | None:
    """Return the checkpoint that --resume_from_checkpoint names.

    Args:
        output_dir: the run's folder.
        name: "latest", the name of a checkpoint in `output_dir`, or the path of one. "latest" where there is
            none returns None: the run starts at step 0.

    Raises:
        UserError: no checkpoint has that name.
    """
    if name == LATEST:
        return latest(output_dir)
    for path in (Path(output_dir) / name, Path(name)):
        if path.is_dir():
            return path
    known = [path.name for path in list_checkpoints(output_dir)]
    raise UserError(
        f"--resume_from_checkpoint {name}: no such checkpoint; {LATEST} or one of "
        f"{', '.join(known) or 'none so far'} in {output_dir} is needed.{did_you_mean(name, known)}"
    )


def latest(output_dir: Path) -> Path | None:
    """Return the checkpoint with the most steps, or None."""
    return next(reversed(list_checkpoints(output_dir)), None)


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the folders named checkpoint-<number>, fewest steps first."""
    folder = Path(output_dir)
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of)


def prune(output_dir: Path, total_limit: int, *, keep: Path | None = None) -> list[Path]:
    """Remove the checkpoints with the fewest steps until `total_limit` are left; return the removed.

    `keep` is never removed: it is the one just written, even where an older run left some with more steps.
    """
    checkpoints = [path for path in list_checkpoints(output_dir) if path != keep]
    spare = len(checkpoints) - (total_limit - (keep is not None))
    removed = checkpoints[: max(0, spare)]
    for path in removed:
        shutil.rmtree(path)
    return removed


def resume(state: TrainingState, path: Path) -> None:
    """Take a training that has not begun to where a checkpoint stands.

    Raises:
        UserError: the checkpoint is incomplete, damaged, another program's, or of a run with other settings.
    """
    path = Path(path)
    record = read_record(path)
    _check_same(path, record["trained_with"], json.loads(json.dumps(state.what_matters)))
    try:
        load_weights(state.accelerator.unwrap_model(state.unet), path)
        moments = torch.load(path / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        state.optimizer.load_state_dict(moments["optimizer"])
        if state.accelerator.scaler is not None and moments["scaler"] is not None:
            state.accelerator.scaler.load_state_dict(moments["scaler"])
    except _UNREADABLE as error:
        raise UserError(f"{path}: incomplete or damaged ({one_line(error)[:200]}). {_other(path)}") from error
    state.step = record["step"]


def read_record(path: Path) -> dict:
    """Return state.json of a checkpoint.

    Raises:
        UserError: there is none, or it is another program's.
    """
    try:
        record = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: no {STATE_FILE}; incomplete, or another program's checkpoint. {_other(path)}"
        ) from error
    except ValueError as error:
        raise UserError(f"{path / STATE_FILE}: damaged ({error}). {_other(path)}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path / STATE_FILE}: not of this version's format {FORMAT}. {_other(path)}")
    return record


def _check_same(path: Path, then: dict, now: dict) -> None:
    """Raise UserError naming the first setting that differs from the checkpoint's run."""
    for name in sorted(then.keys() | now.keys()):
        old, new = then.get(name), now.get(name)
        if old == new:
            continue
        difference = "changed since" if name.endswith("_data") else f"was {old} there and is {new} now"
        raise UserError(
            f"{path}: {_NO_FLAG.get(name, '--' + name)} {difference}; a run goes on only with what it began "
            "with. Set it back, or start anew in another --output_dir."
        )


def _other(path: Path) -> str:
    """Return what to do about a checkpoint that cannot be used."""
    others = [other for other in list_checkpoints(path.parent) if other != path]
    return f"Remove it, or resume from {others[-1].name}." if others else "Remove it and start anew."


def _remove_halves(output_dir: Path) -> None:
    """Remove what a killed process was writing."""
    for path in output_dir.glob(".checkpoint-*.*"):
        shutil.rmtree(path, ignore_errors=True)


def _step_of(path: Path) -> int:
    """Return the steps in a checkpoint's name."""
    return int(_NAME.fullmatch(path.name)[1])
