"""The steps of a run and what goes on beside them: resuming, log, checkpoints, pictures, signals, the end.

    log.jsonl                              a line a step
    checkpoint-<step>/                     enough to go on to the bit
    validation/                            pictures during the training
    model_index.json, unet/, vae/, ...     the trained model, as diffusers loads it
    pytorch_lora_weights.safetensors       ... or its adapters, with --use_lora

A training that is done, with the same settings, is read back and not done again.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from persam_dreambooth import signals
from persam_dreambooth.config import public_settings
from persam_dreambooth.diffusion import checkpoint, checkpoint_files, training
from persam_dreambooth.diffusion.adapters import KOHYA_FILE, LORA_FILE, has_lora, load_weights, save_lora
from persam_dreambooth.diffusion.model_folders import PIPELINE_INDEX
from persam_dreambooth.diffusion.models import Models, save_pipeline
from persam_dreambooth.diffusion.provenance import Provenance
from persam_dreambooth.diffusion.trackers import start_trackers
from persam_dreambooth.diffusion.training import TrainingState
from persam_dreambooth.disk import check_room, tells_of_full_disk
from persam_dreambooth.dreambooth.background_watch import BackgroundWatch, advantage_text
from persam_dreambooth.dreambooth.validation import draw_validation, forget_validation_after, is_due
from persam_dreambooth.errors import UserError
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.settings import Config

PROJECTS = {
    (False, "sd"): "dreambooth",
    (False, "sdxl"): "dreambooth-sd-xl",
    (True, "sd"): "dreambooth-lora",
    (True, "sdxl"): "dreambooth-lora-sd-xl",
}
"""What trackers call the run, by --use_lora and family: diffusers' names, where it has one."""

UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


def fit(
    state: TrainingState,
    models: Models,
    run: RunFolder,
    config: Config,
    provenance: Provenance,
    watch: BackgroundWatch | None = None,
) -> Path:
    """Train to the end and write the result.

    A run that is finished is read back. One that was cut off goes on from its last checkpoint: of those in
    the folder, the newest that was trained with these settings, unless another is named.

    Args:
        state: before its first step.
        models: whose networks are in training; they hold the result afterwards.
        run: for everything that is written.
        config: resolved. What of it the weights follow from is in `state` already.
        provenance: what the files tell of the training.
        watch: what is measured of the background on the way.

    Returns:
        What was written: the run's folder, which is a pipeline's now, or the adapters' file.

    Raises:
        UserError: the named checkpoint does not exist or is of a run with other settings; the loss is no
            number any more; memory or disk do not suffice.
        Interrupted: a signal asked to stop; a checkpoint is written.
    """
    say = state.accelerator.print
    adapters, digest = has_lora(state.trained.unet), training_digest(state, config)
    result = run.path / LORA_FILE if adapters else run.path
    if run.is_done("train", digest, [LORA_FILE, KOHYA_FILE] if adapters else [PIPELINE_INDEX, UNET_FILE]):
        say(f"{run.path}: already trained with these settings")
        load_weights(state.trained, run.path)
        training.finish(state)
        return result
    if watch is not None:
        # Before a checkpoint is read: it is measured against the untrained model.
        say(watch.begin(state, run))
    _begin(state, run, config)
    told = tells_of_full_disk(run.path, "log and results", lambda: checkpoint.what_is_safe(run.path))
    with signals.held_back() as request, told:
        _take_steps(state, models, run, config, request, watch)
        training.finish(state)
        if state.accelerator.is_main_process:
            if adapters:
                save_lora(state.trained, run.path, provenance)
            else:
                save_pipeline(models, result, skip_text_encoder=config.results.skip_save_text_encoder)
            run.mark_done("train", digest)
    if watch is not None and watch.last is not None:
        say(advantage_text(watch.last))
    if request.signum is not None:
        raise request.interrupt(f"the training is finished and saved in {result}.")
    return result


def training_digest(state: TrainingState, config: Config) -> str:
    """Return a digest of everything that the files at the end follow from."""
    return digest_of(state.what_matters, state.max_train_steps, config.results.skip_save_text_encoder)


def _begin(state: TrainingState, run: RunFolder, config: Config) -> None:
    """Go on from a checkpoint, if there is one, and forget what an earlier run wrote beyond it."""
    accelerator = state.accelerator
    with accelerator.main_process_first():
        path = _checkpoint(state, run.path, config.resume_from_checkpoint)
    if path is not None:
        checkpoint.resume(state, path)
        accelerator.print(f"going on from {path}")
    if accelerator.is_main_process:
        _check_room(state, run, config.checkpointing_steps, config.checkpoints_total_limit)
        run.remove_halves()
        run.forget("train")
        run.forget_log_after(state.step)
        forget_validation_after(run, state.step)
    project = PROJECTS[config.train.use_lora, state.networks.family.name]
    start_trackers(accelerator, project, public_settings(config), first_step=state.step + 1)


def _checkpoint(state: TrainingState, folder: Path, name: str | None) -> Path | None:
    """Return the checkpoint to go on from: the one named, or the newest of a run with these settings."""
    if name is None:
        path, damaged = checkpoint.newest(state, folder)
        for text in damaged:
            state.accelerator.print(f"passed over: {text}")
        return path
    path = checkpoint_files.find(folder, name)
    if path is None:
        state.accelerator.print(f"--resume_from_checkpoint {name}: none in {folder} so far; from step 0")
    return path


def _check_room(state: TrainingState, run: RunFolder, every: int, total_limit: int | None) -> None:
    """Raise UserError where the disk cannot hold a checkpoint, and say where it cannot hold them all."""
    each = checkpoint.num_bytes(state)
    check_room(run.path, each, "a checkpoint")
    count = (state.max_train_steps - state.step) // every
    # One more than the limit is there while the newest is written.
    count = count if total_limit is None else min(count, total_limit + 1)
    try:
        check_room(run.path, each * count, f"all of {count} checkpoints")
    except UserError as error:
        state.accelerator.print(f"note: {error} --checkpoints_total_limit keeps fewer.")


def _take_steps(
    state: TrainingState,
    models: Models,
    run: RunFolder,
    config: Config,
    request: signals.Request,
    watch: BackgroundWatch | None,
) -> None:
    """Take the remaining steps, with their log, checkpoints and pictures, until a signal asks to stop."""
    num_photos = state.examples.instance.num_photos * config.data.repeats
    with tqdm(
        total=state.max_train_steps,
        initial=state.step,
        desc="training",
        unit="step",
        # None: no bar where the output is a file.
        disable=None if state.accelerator.is_main_process else True,
    ) as bar:
        for progress in _steps(state, run):
            measures = watch is not None and watch.is_due(progress.step, state.max_train_steps)
            _tell(state, run, bar, progress, watch.measure(state) if measures else {})
            is_last = progress.step == state.max_train_steps
            asked = _asked_to_stop(state, request) and not is_last
            if asked or progress.step % config.checkpointing_steps == 0:
                path = checkpoint.save(state, run.path, total_limit=config.checkpoints_total_limit)
            if asked:
                raise request.interrupt(f"{path} is saved. Run the same command again to go on from there.")
            due = is_due(progress.step, config.validation, num_photos, state.examples_per_step)
            if due and not is_last:
                draw_validation(state, models, config.validation, run)


def _steps(state: TrainingState, run: RunFolder) -> Iterator[training.Progress]:
    """Yield the remaining steps as they are taken; where one cannot be, save what the ones before it made.

    Raises:
        UserError: the loss is no number any more, or memory does not suffice.
    """
    try:
        yield from training.train(state)
    except UserError as error:
        path = run.path / f"checkpoint-{state.step}"
        # Of several processes only one may be here, and saving waits for all.
        if state.step == 0 or path.exists() or state.accelerator.num_processes > 1:
            raise
        try:
            # Without a limit: no older one makes way for the last before an error.
            checkpoint.save(state, run.path)
        except (UserError, RuntimeError, MemoryError) as second:
            raise error from second
        raise UserError(f"{error} What was trained before that is saved in {path.name}.") from error


def _tell(
    state: TrainingState,
    run: RunFolder,
    bar: tqdm,
    progress: training.Progress,
    measured: Mapping[str, float],
) -> None:
    """Write a step, and what was measured after it, into the log, to the trackers and on the bar."""
    values = {**dataclasses.asdict(progress), **measured}
    if state.accelerator.is_main_process:
        run.log(values)
    state.accelerator.log(
        {name: value for name, value in values.items() if name != "step"}, step=progress.step
    )
    bar.set_postfix(loss=f"{progress.loss:.4f}", lr=f"{progress.lr:.1e}", refresh=False)
    bar.update()


def _asked_to_stop(state: TrainingState, request: signals.Request) -> bool:
    """Return whether any process was asked to stop: then all stop after the same step."""
    if state.accelerator.num_processes > 1:
        mine = torch.tensor([request.signum or 0], device=state.accelerator.device)
        request.signum = int(state.accelerator.gather(mine).max()) or None
    return request.signum is not None
