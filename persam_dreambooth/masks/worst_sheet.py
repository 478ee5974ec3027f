"""The worst masks of an evaluation on one picture: photo, truth, prediction, the worst first."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from persam_dreambooth.masks.evaluation import Case, photo_score
from persam_dreambooth.photos import read_photo

TILE = 256
"""Side of the square that a picture is fitted into, in pixels."""
MARGIN, HEADER, CAPTION = 12, 34, 26
FONT_SIZE = 16

TITLES = ("photo", "truth", "prediction (orange: too much, blue: missed)")
TOO_MUCH, MISSED = (213, 94, 0), (0, 114, 178)
"""Okabe and Ito's orange and blue, which colour-blind people tell apart."""

_PAPER, _INK = (255, 255, 255), (32, 32, 32)
# How much is left of a colour outside the subject, and of the photo under a marked error.
_DIMMED, _SHINING_THROUGH = 0.3, 0.35


def worst_sheet(cases: Sequence[Case]) -> Image.Image:
    """Return the sheet: a line for each case, in the given order.

    Args:
        cases: what to show; the photos are read from their files.
    """
    line_height = TILE + CAPTION + MARGIN
    sheet = Image.new("RGB", (3 * TILE + 4 * MARGIN, HEADER + len(cases) * line_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(TITLES):
        # The last title is longer than the others.
        font = ImageFont.load_default(FONT_SIZE if column < 2 else FONT_SIZE - 4)
        draw.text((MARGIN + column * (TILE + MARGIN), MARGIN), title, _INK, font)
    font = ImageFont.load_default(FONT_SIZE)
    for row, case in enumerate(cases):
        score = photo_score(case)
        top = HEADER + row * line_height
        for column, picture in enumerate(_pictures(case)):
            left = MARGIN + column * (TILE + MARGIN)
            sheet.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
        caption = f"{case.object_name}/{case.stem}   IoU {100 * score.iou:.1f}"
        draw.text((MARGIN, top + TILE + 4), f"{caption}   bIoU {100 * score.boundary_iou:.1f}", _INK, font)
    return sheet


def _pictures(case: Case) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Return the three pictures of a line, fitted into a tile."""
    height, width = case.truth.shape
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = Image.fromarray(read_photo(case.photo).pixels).resize(size, Image.Resampling.LANCZOS)
    truth, prediction = (
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for mask in (case.truth, case.prediction)
    )
    pixels = np.asarray(photo)
    found = cut_out(pixels, prediction)
    for wrong, colour in ((prediction & ~truth, TOO_MUCH), (truth & ~prediction, MISSED)):
        mixed = _SHINING_THROUGH * pixels + (1 - _SHINING_THROUGH) * np.array(colour)
        found[wrong] = mixed[wrong].round().astype(np.uint8)
    return photo, Image.fromarray(cut_out(pixels, truth)), Image.fromarray(found)


def cut_out(photo: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the photo with everything dimmed that is not subject."""
    return np.where(mask[..., None], photo, (photo * _DIMMED).astype(np.uint8))
