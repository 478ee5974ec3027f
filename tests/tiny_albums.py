"""Photos of a disc on noise with exact masks, and the same ready for training."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tiny_pipelines import RESOLUTION

from persam_dreambooth.diffusion.encode import Encoded, encode
from persam_dreambooth.diffusion.geometry import Geometry
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.pictures import Preparation
from persam_dreambooth.photos import Photo, array_digest

PROMPT = "a photo of sks cat"


def photo_of(pixels: np.ndarray, name: str) -> Photo:
    return Photo(Path(name), pixels, array_digest(pixels))


def draw_photo(number: int, size: tuple[int, int] = (40, 48)) -> tuple[Photo, np.ndarray]:
    """A red disc on noise, and its exact mask."""
    height, width = size
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 90, (height, width, 3), dtype=np.uint8))
    mask = Image.new("1", (width, height))
    x, y = width // 2 + int(rng.integers(-4, 5)), height // 2 + int(rng.integers(-4, 5))
    box = (x - 10, y - 10, x + 10, y + 10)
    ImageDraw.Draw(image).ellipse(box, fill=(230, 60, 30))
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    return photo_of(np.array(image), f"{number:02d}.png"), np.array(mask)


def draw_album(count: int) -> tuple[list[Photo], dict[str, np.ndarray]]:
    """Photos and their masks by stem."""
    pairs = [draw_photo(number) for number in range(count)]
    return [photo for photo, _ in pairs], {photo.stem: mask for photo, mask in pairs}


def prepared(geometry: dict | None = None, **options: object) -> Preparation:
    """How photos are prepared, at the tiny models' own size."""
    return Preparation(geometry=Geometry(**{"resolution": RESOLUTION, **(geometry or {})}), **options)


def encode_photos(
    models: Models,
    photos: list[Photo],
    masks: dict[str, np.ndarray] | None,
    preparation: Preparation | None = None,
    **options: object,
) -> Encoded:
    """Photos, each with the one prompt, ready for training."""
    options = {"prompts": [PROMPT] * len(photos), **options}
    return encode(models, photos, masks, preparation=preparation or prepared(), **options)


def encode_album(models: Models, count: int = 3, *, with_masks: bool = True, **geometry: object) -> Encoded:
    """Photos of discs, ready for training."""
    photos, masks = draw_album(count)
    return encode_photos(models, photos, masks if with_masks else None, prepared(geometry))
