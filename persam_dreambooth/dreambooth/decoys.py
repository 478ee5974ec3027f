"""Pictures of other places, against which is measured what was learnt of the photographed ones.

    decoys/    00000.png, 00001.png, ...    drawn by the untrained model, only those missing

Why these: another photo's background may be the same room, and would hide what was learnt of it. What the
model itself draws is there for any subject, shows no subject, and is nothing that it could learn further.
Photos of other places, taken with the same camera, are nearer to the photos: `--background_decoys`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from persam_dreambooth.diffusion.generate import check_prompt, draw, save_picture
from persam_dreambooth.diffusion.models import Models, build_pipeline
from persam_dreambooth.diffusion.precision import cast, drawing_dtype
from persam_dreambooth.diffusion.randomness import generator
from persam_dreambooth.dreambooth.measuring import ENOUGH_DECOYS, given_decoys
from persam_dreambooth.photos import read_photo
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.settings import Config

DECOYS_FOLDER = "decoys"
RECORD_FILE = "decoys.json"

PLACES = (
    "a photo of a beach",
    "a photo of the snow",
    "a photo of a forest",
    "a photo of a city",
    "a photo of a desert",
    "a photo of a living room",
    "a photo of a meadow",
    "a photo of a street at night",
    "a photo of a kitchen",
    "a photo of the mountains",
    "a photo of a library",
    "a photo of a farm",
)
"""Prompts without a subject: places that any model knows, the embedded one included."""

_BATCH_SIZE = 4


def find_decoys(
    models: Models, config: Config, run: RunFolder, *, device: str, count: int = ENOUGH_DECOYS
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return pictures of other places: those of --background_decoys, or drawn by the untrained model.

    Args:
        models: before training.
        config: of the run.
        run: drawn ones are kept in its folder.
        device: where to draw.
        count: how many are drawn; a folder's are all taken.

    Raises:
        UserError: the folder does not exist, or has fewer than two pictures.
    """
    given = given_decoys(config.measures)
    return _drawn(models, config, run, device, count) if given is None else given


def _drawn(
    models: Models, config: Config, run: RunFolder, device: str, count: int
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return places as the untrained model draws them; those of an earlier run are read."""
    folder, steps = run.path / DECOYS_FOLDER, config.validation.num_inference_steps
    source = digest_of(models.name_or_path, models.vae_name_or_path, PLACES, steps)
    is_ours = run.read_json(f"{DECOYS_FOLDER}/{RECORD_FILE}") == {"drawn_with": source}
    paths = [folder / f"{number:05d}.png" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not (is_ours and path.is_file())]
    if missing:
        _draw_missing(models, config, missing, [paths[number] for number in missing], device)
        run.write_json(f"{DECOYS_FOLDER}/{RECORD_FILE}", {"drawn_with": source})
    return [read_photo(path).pixels for path in paths]


def _draw_missing(
    models: Models, config: Config, numbers: Sequence[int], paths: Sequence[Path], device: str
) -> None:
    """Draw places by their numbers into files."""
    pipeline = build_pipeline(models, scheduler=config.validation.validation_scheduler)
    for prompt in PLACES:
        check_prompt(pipeline, prompt, "--background_advantage_steps")
    dtype = drawing_dtype(config.data.prior_generation_precision, device)
    bar = tqdm(total=len(numbers), desc="other places", unit="picture", disable=None)
    with cast(pipeline, device, dtype), bar:
        for first in range(0, len(numbers), _BATCH_SIZE):
            part = slice(first, first + _BATCH_SIZE)
            pictures = draw(
                pipeline,
                [PLACES[number % len(PLACES)] for number in numbers[part]],
                [generator("other place", number) for number in numbers[part]],
                num_inference_steps=config.validation.num_inference_steps,
                guidance_scale=config.validation.guidance_scale,
            )
            for picture, path in zip(pictures, paths[part], strict=True):
                save_picture(picture, path)
            bar.update(len(pictures))
