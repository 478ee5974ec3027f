"""Where a person drew on a picture: strokes on transparency, on a plain page, or on a copy of the photo.

Strokes of any colour mark the subject. Where there are strokes of another colour besides, the red ones mark
what is not the subject; a picture with red strokes alone means the subject by them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from persam_dreambooth.errors import UserError
from persam_dreambooth.picture_files import open_picture, rgb
from persam_dreambooth.sam.regions import connected_regions

# Grey values, in the channel that changed most. JPEG moves single pixels by up to about 40 beside edges.
CHANGED = 48

# Regions below this share of the photo are no strokes but what JPEG left: 5 pixels of 256 x 256.
SPECK_FRACTION = 7e-5

# Strokes that cover more are no strokes: a filled mask, or a picture that is no copy of this photo.
MOST_STROKES_FRACTION = 0.5

# The blurred edges of strokes have colours of their own: a colour counts from this share of all strokes on.
COLOUR_FRACTION = 0.1

_ADVICE = "Draw on a transparent layer, a black or white page, or a copy of the photo, in one strong colour."


@dataclass(frozen=True, eq=False)
class Strokes:
    """Pixels that a person marked."""

    subject: Bool[np.ndarray, "H W"]
    """At least one."""
    background: Bool[np.ndarray, "H W"]
    """Often none."""


def read_strokes(path: Path, pixels: UInt8[np.ndarray, "H W 3"], flag: str) -> Strokes:
    """Return what is marked on a picture.

    Nobody has to say what was drawn on. If transparency varies, what is opaque is a stroke. Else the picture
    is read as a page of its most frequent colour and as a copy of the photo; the reading with fewer strokes
    holds, for the wrong one takes everything for strokes.

    Args:
        path: the picture, upright by its EXIF orientation as photos are.
        pixels: the photo that it belongs to, RGB.
        flag: the flag that named the file, for error texts.

    Raises:
        UserError: the file cannot be read, has another size than the photo, or shows no strokes.
    """
    name = f"{flag} {path}".strip()
    image = open_picture(path, flag)
    if (image.height, image.width) != pixels.shape[:2]:
        height, width = pixels.shape[:2]
        raise UserError(
            f"{name}: {image.width} x {image.height} pixels, and the photo {width} x {height}; the two must "
            "have one size. Draw on a copy of the photo."
        )
    drawn = rgb(image, name)
    marked = _without_specks(_marked(image, drawn, pixels))
    if not marked.any():
        raise UserError(f"{name}: no strokes; some must mark the subject. {_ADVICE}")
    if marked.mean() > MOST_STROKES_FRACTION:
        raise UserError(
            f"{name}: {marked.mean():.0%} of the picture differ from any page and from the photo; strokes "
            f"cover at most {MOST_STROKES_FRACTION:.0%}. {_ADVICE} A filled mask goes to --reference_mask."
        )
    return _by_colour(_core(marked), drawn)


def spread_pixels(mask: Bool[np.ndarray, "H W"], num_pixels: int) -> Int[np.ndarray, "n 2"]:
    """Return (x, y) of pixels of a mask that lie far apart: at most as many as asked, at least one.

    The first is the one nearest to the mask's centre; each further one is as far as possible from all before.
    """
    y, x = np.nonzero(mask)
    places = np.stack([x, y], axis=1)
    chosen = [int(((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    distances = ((places - places[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < num_pixels and distances.max() > 0:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, ((places - places[chosen[-1]]) ** 2).sum(axis=1))
    return places[chosen]


def _marked(
    image: Image.Image, drawn: UInt8[np.ndarray, "H W 3"], pixels: UInt8[np.ndarray, "H W 3"]
) -> Bool[np.ndarray, "H W"]:
    """Return every pixel that somebody seems to have drawn."""
    if "A" in image.getbands() or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if alpha.min() != alpha.max():
            return alpha >= 128
    drawn = drawn.astype(np.int32)
    colours, counts = np.unique(drawn.reshape(-1, 3) @ (1 << np.array([16, 8, 0])), return_counts=True)
    page = colours[counts.argmax()] >> np.array([16, 8, 0]) & 255
    on_page = np.abs(drawn - page).max(axis=-1) > CHANGED
    on_copy = np.abs(drawn - pixels).max(axis=-1) > CHANGED
    return on_page if on_page.sum() < on_copy.sum() else on_copy


def _without_specks(marked: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Return the marked pixels without regions too small for a stroke."""
    regions, areas = connected_regions(marked)
    return np.concatenate([[False], areas >= SPECK_FRACTION * marked.size])[regions]


def _core(marked: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Return the pixels inside the strokes, all of whose neighbours are marked; of hairlines every pixel."""
    around = np.pad(marked, 1, mode="edge")
    height, width = marked.shape
    inside = np.all([around[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    return inside if inside.any() else marked


def _by_colour(strokes: Bool[np.ndarray, "H W"], drawn: UInt8[np.ndarray, "H W 3"]) -> Strokes:
    """Return the strokes as subject, or, where there are two colours, the red ones as background."""
    red, green, blue = np.moveaxis(drawn.astype(np.int16), -1, 0)
    is_red = strokes & (red >= 96) & (2 * np.maximum(green, blue) < red)
    is_mixed = COLOUR_FRACTION <= is_red.sum() / strokes.sum() <= 1 - COLOUR_FRACTION
    if not is_mixed:
        return Strokes(strokes, np.zeros_like(strokes))
    return Strokes(strokes & ~is_red, is_red)
