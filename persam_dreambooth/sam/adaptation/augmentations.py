"""Weak and strong views of a photo: mirrored, and on top of that changed in tone; by Pillow and NumPy.

A strong view moves no pixel, so that prompts and masks of the weak view are right for it too. All randomness
comes from the generator that is handed in: `view_rng` makes it from (seed, step, photo).

Source: WeSAM's program, datasets/augmentation.py (Albumentations), in our words and with Pillow's operations.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

PROBABILITY = 0.5
"""Of each change, and of each mirroring."""

_POSTERIZE_BITS = 4
_SOLARIZE_FROM = 128
_TONE_SPREAD = 0.2
_SHADOW_FACTOR = 0.5
_MAX_SHADOWS = 2


def view_rng(seed: int, step: int, photo: int) -> np.random.Generator:
    """Return the random numbers of one photo in one step, whatever was drawn before."""
    return np.random.default_rng([seed, step, photo])


def draw_flips(rng: np.random.Generator, directions: str) -> tuple[bool, bool]:
    """Return whether a weak view is mirrored left-right and upside down.

    Args:
        rng: two numbers are taken whatever the directions.
        directions: which are allowed: "", "h", "v" or "hv".
    """
    horizontal, vertical = (rng.random(2) < PROBABILITY).tolist()
    return horizontal and "h" in directions, vertical and "v" in directions


def flipped(pixels: np.ndarray, flips: tuple[bool, bool]) -> np.ndarray:
    """Return a photo or a mask mirrored left-right, upside down, both or neither."""
    if flips[0]:
        pixels = pixels[:, ::-1]
    if flips[1]:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def strong_view(
    pixels: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator, probability: float = PROBABILITY
) -> UInt8[np.ndarray, "H W 3"]:
    """Return the photo with each of six changes at this probability; at 0 it is unchanged.

    Posterized to 4 bits, equalized, sharpened, solarized from 128 on, brighter or darker and more or less
    contrasted by up to a fifth, one or two shadows in the lower half.
    """
    image = Image.fromarray(pixels)
    chosen = rng.random(6) < probability
    if chosen[0]:
        image = ImageOps.posterize(image, _POSTERIZE_BITS)
    if chosen[1]:
        image = ImageOps.equalize(image)
    if chosen[2]:
        image = _sharpened(image, rng)
    if chosen[3]:
        image = ImageOps.solarize(image, _SOLARIZE_FROM)
    if chosen[4]:
        brightness, contrast = 1 + rng.uniform(-_TONE_SPREAD, _TONE_SPREAD, 2)
        image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(brightness)).enhance(contrast)
    if chosen[5]:
        image = _shadowed(image, rng)
    return np.array(image)


def _sharpened(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture blended with its sharpened self, by a fifth to a half as Albumentations does."""
    return Image.blend(image, image.filter(ImageFilter.SHARPEN), rng.uniform(0.2, 0.5))


def _shadowed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture with one or two dark polygons of five corners in its lower half."""
    shadow = Image.new("L", image.size, 255)
    draw = ImageDraw.Draw(shadow)
    for _ in range(int(rng.integers(1, _MAX_SHADOWS + 1))):
        x = rng.uniform(0, image.width, 5)
        y = rng.uniform(image.height / 2, image.height, 5)
        draw.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=round(255 * _SHADOW_FACTOR))
    dark = np.asarray(image, dtype=np.float32) * (np.asarray(shadow, dtype=np.float32) / 255)[..., None]
    return Image.fromarray(dark.round().astype(np.uint8))
