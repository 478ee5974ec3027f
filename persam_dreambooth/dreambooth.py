"""The parts of a DreamBooth run that join stages: checks, class pictures, the loop with its log, results.

    log.jsonl                              a line a step
    checkpoint-<step>/                     enough to go on to the bit
    pipeline/                              the trained model, as diffusers loads it
    pytorch_lora_weights.safetensors       ... or its adapters, with --use_lora
    samples/                               pictures of the validation prompt

A part whose results are in the folder, made from the same inputs, is not done again.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from persam_dreambooth.diffusion import checkpoint, training
from persam_dreambooth.diffusion.adapters import LORA_FILE, UNET_FILE, has_lora, load_weights, save_lora
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.encode import Geometry, check_resolution, encode
from persam_dreambooth.diffusion.generate import GRID_FILE, PROMPTS_FILE, generate
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.models import Models, build_pipeline, save_pipeline, token_ids
from persam_dreambooth.diffusion.prior import generate_class_images, missing_numbers
from persam_dreambooth.diffusion.training import TrainingState
from persam_dreambooth.masks.stage import SubjectMask, find_masks
from persam_dreambooth.photos import Photo, read_photo
from persam_dreambooth.run import PIPELINE_FOLDER, RunFolder, digest_of
from persam_dreambooth.settings import Config, DataConfig, MaskConfig, ValidationConfig

MASKS_FOLDER = "masks"
CLASS_FOLDER = "class_images"
SAMPLES_FOLDER = "samples"


def check(models: Models, config: Config) -> Geometry:
    """Return how squares are taken from photos, once prompts and resolution are known to suit the model.

    Raises:
        UserError: a prompt is longer than the text encoder allows, or the VAE cannot take the resolution.
    """
    prompts = {
        "--instance_prompt": config.data.instance_prompt,
        "--class_prompt": config.data.class_prompt,
        "--validation_prompt": config.validation.validation_prompt,
    }
    for flag, prompt in prompts.items():
        if prompt is not None:
            token_ids(models.tokenizer, prompt, flag)
    resolution = config.data.resolution or models.default_resolution
    check_resolution(models, resolution)
    return Geometry(
        resolution=resolution,
        center_crop=config.data.center_crop,
        random_flip=config.data.random_flip,
        seed=config.seed,
    )


def find_subject(
    photos: Sequence[Photo], masks: MaskConfig, run: RunFolder, *, sam: str, latent_side: int, device: str
) -> dict[str, SubjectMask] | None:
    """Return the subject's mask in every photo where it is found, by stem; None where no masks are wanted.

    Args:
        photos: of the subject.
        masks: whether, and how.
        run: they go into its masks folder.
        sam: name of the SAM.
        latent_side: cells to a side of the latents, for the contact sheet.
        device: where SAM runs.
    """
    if not masks.wanted:
        return None
    return find_masks(
        list(photos),
        masks,
        sam=sam,
        method=masks.mask_method,
        out_dir=run.path / MASKS_FOLDER,
        device=device,
        latent_size=(latent_side, latent_side),
    )


def with_masks(photos: Sequence[Photo], masks: dict[str, SubjectMask] | None) -> list[Photo]:
    """Return the photos that can be trained on: those with a mask, or all where no masks are wanted."""
    return [photo for photo in photos if masks is None or photo.stem in masks]


def draw_class_images(models: Models, data: DataConfig, run: RunFolder, *, device: str) -> list[Photo] | None:
    """Return the class pictures, missing ones drawn by the untrained model; None where none are wanted."""
    if not data.with_prior_preservation:
        return None
    folder = data.class_data_dir or run.path / CLASS_FOLDER
    missing = len(missing_numbers(folder, data.num_class_images))
    with tqdm(total=missing, desc="class pictures", unit="picture", disable=None) as bar:
        paths = generate_class_images(
            build_pipeline(models, device=device),
            folder,
            prompt=data.class_prompt,
            num_images=data.num_class_images,
            model_name=models.name_or_path,
            batch_size=data.sample_batch_size,
            on_drawn=bar.update,
        )
    return [read_photo(path) for path in paths]


def encode_examples(
    models: Models,
    photos: Sequence[Photo],
    masks: dict[str, SubjectMask] | None,
    class_images: Sequence[Photo] | None,
    *,
    geometry: Geometry,
    config: Config,
    device: str,
) -> Examples:
    """Return everything that the steps of the training read."""
    pixels = None if masks is None else {stem: subject.mask for stem, subject in masks.items()}
    instance = encode(
        models,
        photos,
        pixels,
        prompt=config.data.instance_prompt,
        geometry=geometry,
        mask_mode=config.masks.mask_mode,
        device=device,
    )
    if class_images is None:
        return Examples(instance=instance, class_images=None, seed=config.seed)
    of_class = encode(
        models,
        class_images,
        None,
        prompt=config.data.class_prompt,
        geometry=geometry,
        prompt_flag="--class_prompt",
        device=device,
    )
    return Examples(instance=instance, class_images=of_class, seed=config.seed)


def objective(config: Config) -> Objective:
    """Return the weights of the loss that the settings ask for."""
    return Objective(
        prior_loss_weight=config.data.prior_loss_weight,
        outside_prior_weight=config.masks.outside_prior_weight,
        mask_normalization=config.masks.mask_normalization,
    )


def summary(masks: dict[str, SubjectMask] | None, num_photos: int) -> str:
    """Return in one line what the loss will see of the photos."""
    if masks is None:
        return f"{num_photos} photos, no masks: the background is learnt as well (--use_persam keeps it out)"
    areas = [mask.area_fraction for mask in masks.values()]
    return (
        f"{num_photos} photos, {len(areas)} masks: the subject covers {min(areas):.0%} to {max(areas):.0%} "
        f"of a photo, {sum(areas) / len(areas):.0%} on average; only that part of a photo is a target"
    )


def fit(
    state: TrainingState,
    models: Models,
    run: RunFolder,
    *,
    checkpointing_steps: int,
    checkpoints_total_limit: int | None = None,
    resume_from_checkpoint: str | None = None,
) -> Path:
    """Train to the end, with a progress bar, a log and checkpoints, and write the result.

    A run that is finished is read back. One that was cut off goes on from its last checkpoint: of those in
    the folder, the newest that was trained with these settings, unless another is named.

    Returns:
        What was written: the pipeline's folder, or the adapters' file. `models` holds the trained UNet.

    Raises:
        UserError: the named checkpoint does not exist or is of a run with other settings.
    """
    unet = state.accelerator.unwrap_model(state.unet)
    folder = run.path if has_lora(unet) else run.path / PIPELINE_FOLDER
    weights = folder / (LORA_FILE if has_lora(unet) else UNET_FILE)
    if run.is_done("train", _digest(state), [str(weights.relative_to(run.path))]):
        state.accelerator.print(f"{run.path}: already trained with these settings")
        load_weights(unet, folder)
        training.finish(state)
        return weights if has_lora(unet) else folder
    path = _checkpoint_to_resume(state, run.path, resume_from_checkpoint)
    if path is not None:
        checkpoint.resume(state, path)
        state.accelerator.print(f"going on from {path}")
    if state.accelerator.is_main_process:
        run.forget("train")
        run.forget_log_after(state.step)
    _take_steps(state, run, checkpointing_steps, checkpoints_total_limit)
    training.finish(state)
    if state.accelerator.is_main_process:
        save_lora(unet, folder) if has_lora(unet) else save_pipeline(models, folder)
        run.mark_done("train", _digest(state))
    return weights if has_lora(unet) else folder


def draw_samples(
    models: Models, validation: ValidationConfig, run: RunFolder, *, state: TrainingState
) -> Path | None:
    """Draw the validation prompt; return the grid's path, or None where there is no prompt.

    Args:
        models: trained.
        validation: the prompt, how many pictures, how they are drawn.
        run: the pictures go into its samples folder.
        state: of the training that is done.
    """
    if validation.validation_prompt is None:
        return None
    folder, digest = run.path / SAMPLES_FOLDER, digest_of(_digest(state), dataclasses.asdict(validation))
    outputs = [f"{SAMPLES_FOLDER}/{name}" for name in (PROMPTS_FILE, GRID_FILE)]
    if not run.is_done("samples", digest, outputs):
        count = validation.num_validation_images
        with tqdm(total=count, desc="pictures", unit="picture", disable=None) as bar:
            generate(
                build_pipeline(models, device=state.accelerator.device),
                [validation.validation_prompt],
                range(count),
                out_dir=folder,
                num_inference_steps=validation.num_inference_steps,
                guidance_scale=validation.guidance_scale,
                on_drawn=bar.update,
            )
        run.mark_done("samples", digest)
    return folder / GRID_FILE


def _take_steps(state: TrainingState, run: RunFolder, every: int, total_limit: int | None) -> None:
    """Take the remaining steps, with their log and checkpoints."""
    is_main = state.accelerator.is_main_process
    with tqdm(
        total=state.max_train_steps,
        initial=state.step,
        desc="training",
        unit="step",
        # None: no bar where the output is a file.
        disable=None if is_main else True,
    ) as bar:
        for progress in training.train(state):
            if is_main:
                run.log(dataclasses.asdict(progress))
            bar.set_postfix(loss=f"{progress.loss:.4f}", lr=f"{progress.lr:.1e}", refresh=False)
            bar.update()
            if progress.step % every == 0:
                checkpoint.save(state, run.path, total_limit=total_limit)


def _digest(state: TrainingState) -> str:
    """Return a digest of everything that the weights at the end follow from."""
    return digest_of(state.what_matters, state.max_train_steps)


def _checkpoint_to_resume(state: TrainingState, folder: Path, name: str | None) -> Path | None:
    """Return the checkpoint to go on from: the one named, or the newest of a run with these settings."""
    if name is not None:
        return checkpoint.find(folder, name)
    now = json.loads(json.dumps(state.what_matters))
    for path in reversed(checkpoint.list_checkpoints(folder)):
        record = checkpoint.read_record(path)
        if record["trained_with"] == now and record["step"] <= state.max_train_steps:
            return path
    return None
