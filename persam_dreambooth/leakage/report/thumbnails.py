"""Pictures inside the page: WebP, no larger than shown, and all of them together within a budget."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFilter

PHOTO_SIDE = 512
"""Longer side of a photo in the page, in pixels."""
PICTURE_SIDES = (384, 256, 192, 128, 96)
"""Longer sides that generated pictures may have, the largest that fits the budget is taken."""
BUDGET = 12_000_000
"""Bytes that generated pictures may take where nobody says otherwise."""

_QUALITY = 82
_SAMPLE = 24
_OUTLINE, _OUTLINE_WIDTH = (255, 214, 10), 3
_CASING = (40, 40, 40)
# How much of the background's brightness is left beside the outlined subject.
_DIMMED = 0.45


def data_url(image: Image.Image) -> str:
    """Return a picture as an address that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def shrunk(pixels: UInt8[np.ndarray, "H W 3"], side: int) -> Image.Image:
    """Return a picture whose longer side is at most `side` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def picture_urls(
    pictures: Sequence[UInt8[np.ndarray, "H W 3"]], *, budget: int = BUDGET
) -> list[tuple[str, tuple[int, int]]]:
    """Return each picture's address and (width, height), as large as all of them may be within the budget.

    Args:
        pictures: of any sizes.
        budget: bytes for all addresses together; the smallest size is used even where it takes more.
    """
    largest = max((max(pixels.shape[:2]) for pixels in pictures), default=0)
    smallest = PICTURE_SIDES[-1]
    told: list[tuple[str, tuple[int, int]]] = []
    for side, smaller in zip(PICTURE_SIDES, (*PICTURE_SIDES[1:], 0), strict=True):
        if smaller >= largest:
            continue
        # A few pictures tell whether all may fit: to try each size on a thousand would take a minute.
        some = pictures[:: -(-len(pictures) // _SAMPLE) or 1]
        if side != smallest and sum(len(url) for url, _ in _urls(some, side)) * len(pictures) > (
            budget * len(some)
        ):
            continue
        told = _urls(pictures, side)
        if sum(len(url) for url, _ in told) <= budget:
            break
    return told


def _urls(pictures: Sequence[UInt8[np.ndarray, "H W 3"]], side: int) -> list[tuple[str, tuple[int, int]]]:
    """Return each picture's address and size, with the longer side at most `side` pixels."""
    images = (shrunk(pixels, side) for pixels in pictures)
    return [(data_url(image), image.size) for image in images]


def outlined(
    pixels: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], side: int = PHOTO_SIDE
) -> Image.Image:
    """Return a photo at `side` pixels with its subject outlined and its background dimmed."""
    height, width = mask.shape
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    soft = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    # Blurred by about the size of a photo's pixel, so that the line does not climb its stairs.
    smooth = soft.filter(ImageFilter.GaussianBlur(max(0.0, scale - 1)))
    inside = smooth.point(lambda value: 255 * (value > 127))
    around = np.asarray(inside.filter(ImageFilter.MaxFilter(2 * _OUTLINE_WIDTH + 1))) > 0
    inside = np.asarray(inside) > 0
    picture = np.where(inside[..., None], photo, (photo * _DIMMED).astype(np.uint8))
    picture[around & ~inside] = _OUTLINE
    return Image.fromarray(picture)


def patch(
    pixels: UInt8[np.ndarray, "H W 3"],
    grid: tuple[int, int],
    cell: tuple[int, int],
    *,
    around: float = 1.5,
    side: int = 120,
) -> Image.Image:
    """Return one cell of a picture enlarged and marked, with about `around` cells on each side of it.

    Args:
        pixels: the picture.
        grid: (rows, columns) that it is divided into.
        cell: (row, column), counted from the upper left.
        around: cells on each side; at the picture's edge there are fewer there and more on the other side.
        side: width of the result in pixels; its height follows from the cell's shape.
    """
    height, width = pixels.shape[0] / grid[0], pixels.shape[1] / grid[1]
    reach = min(1 + 2 * around, *grid)
    top, left = (min(max(at - around, 0.0), total - reach) for at, total in zip(cell, grid, strict=True))
    size = side, max(1, round(side * height / width))
    box = left * width, top * height, (left + reach) * width, (top + reach) * height
    shown = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box)
    scale = size[0] / reach, size[1] / reach
    corner = (cell[1] - left) * scale[0], (cell[0] - top) * scale[1]
    square = *corner, corner[0] + scale[0] - 1, corner[1] + scale[1] - 1
    draw = ImageDraw.Draw(shown)
    for colour, thick in ((_CASING, 4), (_OUTLINE, 2)):
        draw.rectangle(square, outline=colour, width=thick)
    return shown
