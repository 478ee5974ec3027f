"""Class pictures for prior preservation, drawn by the base model: each from its number, only those missing.

    00000.png, 00001.png, ...    picture of the class prompt from the noise of that number
    class_images.json            what they were drawn with

Pictures that a person put into the folder count as well.

Source: Ruiz et al. 2022, DreamBooth, section 3.2.
"""

import json
from collections.abc import Callable
from pathlib import Path

from diffusers import DiffusionPipeline

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.families import family_of
from persam_dreambooth.diffusion.generate import check_prompt, draw, save_picture
from persam_dreambooth.errors import UserError
from persam_dreambooth.files import write_text
from persam_dreambooth.photos import list_photos

RECORD_FILE = "class_images.json"

NUM_INFERENCE_STEPS = 50
"""The pipelines' default, with which diffusers' scripts draw class pictures."""


def generate_class_images(
    pipeline: DiffusionPipeline,
    folder: Path,
    *,
    prompt: str,
    num_images: int,
    model_name: str,
    batch_size: int = 4,
    on_drawn: Callable[[int], object] | None = None,
) -> list[Path]:
    """Fill a folder up to a number of class pictures; return the first so many files, by name.

    Args:
        pipeline: the base model.
        folder: where they go; made if it is missing.
        prompt: the class prompt.
        num_images: wanted.
        model_name: of the base model, kept beside the pictures.
        batch_size: pictures at a time.
        on_drawn: called with the number of pictures after each batch, for a progress bar.

    Raises:
        UserError: the prompt is too long, or the folder's pictures are of another prompt or model.
    """
    check_prompt(pipeline, prompt, "--class_prompt")
    folder = Path(folder)
    missing = missing_numbers(folder, num_images)
    if missing:
        _check_same_source(folder, {"class_prompt": prompt, "pretrained_model_name_or_path": model_name})
    for first in range(0, len(missing), batch_size):
        numbers = missing[first : first + batch_size]
        pictures = draw(
            pipeline,
            [prompt] * len(numbers),
            [randomness.generator("class picture", number) for number in numbers],
            num_inference_steps=NUM_INFERENCE_STEPS,
            guidance_scale=family_of(pipeline).guidance_scale,
        )
        for number, picture in zip(numbers, pictures, strict=True):
            save_picture(picture, folder / f"{number:05d}.png")
        if on_drawn is not None:
            on_drawn(len(numbers))
    return list_photos(folder)[:num_images]


def missing_numbers(folder: Path, num_images: int) -> list[int]:
    """Return the numbers of the pictures still to be drawn, lowest first; pictures of other names count."""
    try:
        present = {path.name for path in list_photos(folder)}
    except UserError:
        # No folder, or no picture in it: all are missing.
        present = set()
    free = [number for number in range(num_images) if f"{number:05d}.png" not in present]
    return free[: max(0, num_images - len(present))]


def _check_same_source(folder: Path, source: dict[str, str]) -> None:
    """Note what a folder's pictures are drawn with, or raise UserError where others were drawn otherwise."""
    path = folder / RECORD_FILE
    if not path.is_file():
        write_text(path, json.dumps(source, indent=2, ensure_ascii=False) + "\n")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: damaged ({error}). Remove it and the pictures drawn by this program."
        ) from error
    for name, value in source.items():
        if before.get(name) != value:
            raise UserError(
                f"--class_data_dir {folder}: its pictures were drawn with --{name} {before.get(name)!r}, not "
                f"{value!r}; one set of one kind is needed. Name another folder."
            )
