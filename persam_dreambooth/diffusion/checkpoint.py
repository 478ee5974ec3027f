"""Checkpoints of a training: enough to go on to the bit.

    checkpoint-400/
      unet/, text_encoder/ or pytorch_lora_weights.safetensors    the trained weights, in diffusers' formats
      optimizer.pt                            the optimizer's moments, and the fp16 scaler where there is one
      state.json                              step, what the run was trained with, and the size of every file

The random numbers need no state: they follow from seed and step.
"""

import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError

from persam_dreambooth.diffusion import zero
from persam_dreambooth.diffusion.adapters import load_weights, save_weights
from persam_dreambooth.diffusion.checkpoint_files import (
    FORMAT,
    STATE_FILE,
    files_in,
    latest,
    list_checkpoints,
    other_than,
    prune,
    read_record,
    settle,
)
from persam_dreambooth.diffusion.folders import atomic_folder
from persam_dreambooth.diffusion.training import TrainingState
from persam_dreambooth.disk import size_text, tells_of_full_disk
from persam_dreambooth.errors import UserError, one_line

OPTIMIZER_FILE = "optimizer.pt"

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
    "instance_data": "the photos, their masks, crops or captions, --instance_prompt or the base model",
    "identifier_ids": "the words of --identifier",
    "class_data": "the class pictures or --class_prompt",
}
"""What to call what is no flag."""


def save(state: TrainingState, output_dir: Path, *, total_limit: int | None = None) -> Path:
    """Write checkpoint-<step>, then remove the oldest beyond the limit; return its path.

    Every process calls this; the main one writes.

    Raises:
        UserError: a weight is no number any more, or the disk is full. Older checkpoints are as they were.
    """
    path = Path(output_dir) / f"checkpoint-{state.step}"
    moments = _optimizer_state(state)
    if state.accelerator.is_main_process:
        settle(Path(output_dir))
        _check_numbers(state, Path(output_dir))
        what = f"{path.name} ({size_text(num_bytes(state))})"
        told = tells_of_full_disk(path.parent, what, lambda: what_is_safe(path.parent))
        with told, atomic_folder(path) as temporary:
            _write(state, temporary, moments)
        if total_limit is not None:
            prune(Path(output_dir), total_limit, keep=path)
    state.accelerator.wait_for_everyone()
    return path


def num_bytes(state: TrainingState) -> int:
    """Return how many bytes a checkpoint takes, near enough: the trained weights and two moments of each."""
    trained = (
        value for module in state.trained.modules for value in module.parameters() if value.requires_grad
    )
    return 3 * sum(value.numel() * value.element_size() for value in trained)


def newest(state: TrainingState, output_dir: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that this training can go on from, and a line on each that is damaged.

    One of a run with other settings is passed over in silence: it is no checkpoint of this one.
    """
    settle(Path(output_dir))
    now, damaged = _as_json(state.what_matters), []
    for path in reversed(list_checkpoints(output_dir)):
        try:
            record = read_record(path)
        except UserError as error:
            damaged.append(str(error))
            continue
        if record["trained_with"] == now and record["step"] <= state.max_train_steps:
            return path, damaged
    return None, damaged


def resume(state: TrainingState, path: Path) -> None:
    """Take a training that has not begun to where a checkpoint stands.

    Raises:
        UserError: the checkpoint is incomplete, damaged, another program's, or of a run with other settings.
    """
    path = Path(path)
    record = read_record(path)
    _check_same(path, record["trained_with"], _as_json(state.what_matters))
    if record["step"] > state.max_train_steps:
        raise UserError(
            f"{path}: has {record['step']} steps; --max_train_steps {state.max_train_steps} is less. "
            "Ask for more, or resume from an earlier one."
        )
    try:
        load_weights(state.trained, path)
        moments = torch.load(path / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        _load_optimizer_state(state, moments["optimizer"])
        if state.accelerator.scaler is not None and moments["scaler"] is not None:
            state.accelerator.scaler.load_state_dict(moments["scaler"])
    except _UNREADABLE as error:
        raise UserError(
            f"{path}: incomplete or damaged ({one_line(error)[:200]}). {other_than(path)}"
        ) from error
    state.step = record["step"]


def what_is_safe(output_dir: Path) -> str:
    """Return what is safe when the disk is full, and what to do."""
    return f"{_kept(output_dir)} Make room, or set --checkpoints_total_limit, and run the same command again."


def _optimizer_state(state: TrainingState) -> dict:
    """Return the state of the optimizer, whole; every process calls this."""
    if zero.uses_zero(state.accelerator):
        return zero.whole_state(state.optimizer)
    return state.optimizer.state_dict()


def _load_optimizer_state(state: TrainingState, saved: dict) -> None:
    """Take what `_optimizer_state` returned."""
    if zero.uses_zero(state.accelerator):
        zero.load_whole_state(state.optimizer, saved)
    else:
        state.optimizer.load_state_dict(saved)


def _write(state: TrainingState, folder: Path, moments: dict) -> None:
    """Fill a checkpoint's folder."""
    save_weights(state.trained, folder)
    scaler = state.accelerator.scaler
    saved = {"optimizer": moments, "scaler": scaler.state_dict() if scaler is not None else None}
    torch.save(saved, folder / OPTIMIZER_FILE)
    record = {
        "format": FORMAT,
        "step": state.step,
        "trained_with": state.what_matters,
        "files": {str(path.relative_to(folder)): path.stat().st_size for path in files_in(folder)},
    }
    (folder / STATE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _check_numbers(state: TrainingState, output_dir: Path) -> None:
    """Raise UserError where a trained weight is no number: a good checkpoint must not make way for that."""
    for module in state.trained.modules:
        for name, value in module.named_parameters():
            if value.requires_grad and not value.isfinite().all():
                raise UserError(
                    f"step {state.step}: the weights in {name} are no numbers any more; numbers are needed. "
                    f"{_kept(output_dir)} Try a lower --learning_rate, or --mixed_precision no."
                )


def _kept(output_dir: Path) -> str:
    """Return a sentence on the newest checkpoint."""
    path = latest(output_dir)
    return f"{path.name} is whole." if path else "There is no checkpoint so far."


def _as_json(values: dict) -> dict:
    """Return values as they come back from a JSON file."""
    return json.loads(json.dumps(values))


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
