"""Pictures during the training and after it: the same seeds each time, and no trace of them in the training.

validation/step-000100/    00_0.png, ..., grid.png: the validation prompt after 100 steps
samples/                   the same after the last step
"""

import dataclasses
import math
import shutil
from pathlib import Path

from tqdm import tqdm

from persam_dreambooth.diffusion.generate import GRID_FILE, PROMPTS_FILE, GeneratedImage, generate
from persam_dreambooth.diffusion.models import Models, build_pipeline
from persam_dreambooth.diffusion.trackers import track_pictures
from persam_dreambooth.diffusion.training import TrainingState, drawing
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.settings import ValidationConfig

VALIDATION_FOLDER = "validation"
SAMPLES_FOLDER = "samples"


def is_due(step: int, validation: ValidationConfig, num_photos: int, examples_per_step: int) -> bool:
    """Return whether pictures are drawn after a step.

    Args:
        step: steps done.
        validation: by steps, by passes over the photos, or both.
        num_photos: of the subject, repeats counted.
        examples_per_step: photos in a step.
    """
    if validation.validation_prompt is None:
        return False
    passes = validation.validation_epochs or 0
    intervals = (validation.validation_steps or 0, math.ceil(passes * num_photos / examples_per_step))
    return any(interval and step % interval == 0 for interval in intervals)


def draw_validation(
    state: TrainingState, models: Models, validation: ValidationConfig, run: RunFolder
) -> None:
    """Draw the validation prompt between two steps; training goes on as if it had not been drawn.

    Every process calls this; the main one draws.
    """
    if state.accelerator.is_main_process:
        with drawing(state):
            images = _draw(state, models, validation, validation.validation_prompt, _folder(run, state.step))
        track_pictures(state.accelerator, "validation", [image.path for image in images], state.step)
    state.accelerator.wait_for_everyone()


def draw_samples(
    state: TrainingState, models: Models, validation: ValidationConfig, run: RunFolder, trained: str
) -> Path | None:
    """Draw with the finished model; return the grid's path, or None where nothing is wanted.

    Pictures of the same model, drawn in the same way, are not drawn again.

    Args:
        state: of the training that is done.
        models: trained.
        validation: the prompt, how many pictures, how they are drawn.
        run: the pictures go into its samples folder.
        trained: digest of the training that made the model.
    """
    if validation.final_prompt is None:
        return None
    folder = run.path / SAMPLES_FOLDER
    digest = digest_of(trained, dataclasses.asdict(validation))
    outputs = [f"{SAMPLES_FOLDER}/{name}" for name in (PROMPTS_FILE, GRID_FILE)]
    if not run.is_done("samples", digest, outputs):
        images = _draw(state, models, validation, validation.final_prompt, folder)
        run.mark_done("samples", digest)
        track_pictures(state.accelerator, "test", [image.path for image in images], state.step)
    return folder / GRID_FILE


def forget_validation_after(run: RunFolder, step: int) -> None:
    """Remove the pictures of later steps: those steps are taken again, or were another training's."""
    for folder in (run.path / VALIDATION_FOLDER).glob("step-*"):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)


def _folder(run: RunFolder, step: int) -> Path:
    """Return where the pictures of a step go."""
    return run.path / VALIDATION_FOLDER / f"step-{step:06d}"


def _draw(
    state: TrainingState, models: Models, validation: ValidationConfig, prompt: str, folder: Path
) -> list[GeneratedImage]:
    """Draw a prompt with seeds 0, 1, 2, ... into a folder."""
    count = validation.num_validation_images
    with tqdm(total=count, desc="pictures", unit="picture", disable=None, leave=False) as bar:
        return generate(
            build_pipeline(
                models, scheduler=validation.validation_scheduler, device=state.accelerator.device
            ),
            [prompt],
            range(count),
            out_dir=folder,
            num_inference_steps=validation.num_inference_steps,
            guidance_scale=validation.guidance_scale,
            on_drawn=bar.update,
        )
