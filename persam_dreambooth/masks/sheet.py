"""The contact sheet: every photo, what was found in it, and what of it the loss will see, on one picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import interpolate

TITLES = ("photo", "subject", "as the training loss sees it")
TILE = 256
"""Side of the square that a picture is fitted into, in pixels."""
MARGIN = 12
HEADER = 34
CAPTION = 62
FONT_SIZE, SMALL_FONT_SIZE = 16, 13

_PAPER, _INK, _OUTLINE = (255, 255, 255), (32, 32, 32), (255, 64, 32)
# How much of the background's colour is left beside the outlined subject.
_DIMMED = 0.3

VAE_FACTOR = 8
"""Pixels to a latent cell's side in every Stable Diffusion."""
DEFAULT_RESOLUTION = 512
"""Pixels that photos are taken to be trained at where nobody said: those of Stable Diffusion 1.5."""


@dataclass(frozen=True, eq=False)
class Row:
    """One photo of the overview."""

    pixels: UInt8[np.ndarray, "H W 3"]
    mask: Bool[np.ndarray, "H W"] | None
    """None where the photo is left out."""
    caption: str
    signs: Mapping[str, float] = field(default_factory=dict)
    """Of trust, by the name that people read; none where a person made the mask."""
    flags: tuple[str, ...] = ()
    """What looks wrong, or why the photo is left out."""


def latent_mask(
    mask: Bool[np.ndarray, "H W"], latent_size: tuple[int, int] | None
) -> Float[np.ndarray, "h w"]:
    """Return the share of subject in each latent cell, 0 to 1: the weights of the training's loss.

    Training makes the photo's shorter side as long as that of its square, and cuts off what lies outside of
    the square. Here nothing is cut off.

    Args:
        mask: True on the subject, at the photo's size.
        latent_size: (rows, columns) of the square's latents; None for a training at 512 pixels, or at the
            photo's own size where that is less.
    """
    shorter = min(mask.shape)
    cells = min(latent_size or (min(shorter, DEFAULT_RESOLUTION) // VAE_FACTOR,))
    size = tuple(max(1, round(side * cells / shorter)) for side in mask.shape)
    return interpolate(torch.from_numpy(mask)[None, None].float(), size=size, mode="area")[0, 0].numpy()


def contact_sheet(rows: list[Row], latent_size: tuple[int, int] | None) -> Image.Image:
    """Return the sheet: a line a photo: itself, the outlined subject, and the mask as the loss sees it.

    Args:
        rows: what to show, top to bottom.
        latent_size: as in `latent_mask`.
    """
    line_height = TILE + CAPTION + MARGIN
    sheet = Image.new("RGB", (3 * TILE + 4 * MARGIN, HEADER + len(rows) * line_height), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    small = ImageFont.load_default(SMALL_FONT_SIZE)
    for column, title in enumerate(TITLES):
        draw.text((MARGIN + column * (TILE + MARGIN), MARGIN), title, _INK, font)
    for number, row in enumerate(rows):
        top = HEADER + number * line_height
        for column, picture in enumerate(pictures(row, latent_size)):
            left = MARGIN + column * (TILE + MARGIN)
            sheet.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
        draw.text((MARGIN, top + TILE + 4), _fitted(row.caption, font, sheet.width), _INK, font)
        below = [(_OUTLINE, row.flags), (_INK, [f"{name} {value:.2f}" for name, value in row.signs.items()])]
        for line, (colour, words) in enumerate((colour, words) for colour, words in below if words):
            place = MARGIN, top + TILE + 6 + FONT_SIZE + line * (SMALL_FONT_SIZE + 4)
            draw.text(place, _fitted("   ".join(words), small, sheet.width), colour, small)
    return sheet


def pictures(row: Row, latent_size: tuple[int, int] | None, side: int = TILE) -> list[Image.Image]:
    """Return the pictures of a photo: itself, the outlined subject, what the loss sees.

    Their longer side is `side`. A photo that is left out has only the first.
    """
    height, width = row.pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = Image.fromarray(row.pixels).resize(size, Image.Resampling.LANCZOS)
    if row.mask is None:
        return [photo]
    mask = np.asarray(Image.fromarray(row.mask).resize(size, Image.Resampling.NEAREST))
    cells = (latent_mask(row.mask, latent_size) * 255).round().astype(np.uint8)
    seen = Image.fromarray(cells).resize(size, Image.Resampling.NEAREST).convert("RGB")
    return [photo, _outlined(np.asarray(photo), mask), seen]


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return a text cut to the sheet's width."""
    room = width - 2 * MARGIN
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text} ...") > room:
        text = text[:-1]
    return f"{text.rstrip()} ..."


def _outlined(photo: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> Image.Image:
    """Return the photo with its background dimmed and a line around the subject."""
    picture = np.where(mask[..., None], photo, (photo * _DIMMED).astype(np.uint8))
    border = np.pad(mask, 1)
    inside = border[:-2, 1:-1] & border[2:, 1:-1] & border[1:-1, :-2] & border[1:-1, 2:]
    picture[mask & ~inside] = _OUTLINE
    return Image.fromarray(picture)
