"""The report's pictures, inside the page: photos with their masks outlined, and what the models drew."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageFilter

from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import Photo

PHOTO_SIDE = 320
"""Longer side of a photo in the page, in pixels."""
PICTURE_SIDE = 256
"""Longer side of a generated picture in the page, in pixels; smaller ones stay as they are."""
MAX_SEEDS = 4
"""Pictures of a prompt and arm that are shown; the numbers are always about all of them."""

_JPEG_QUALITY = 88
_OUTLINE, _OUTLINE_WIDTH = (255, 214, 10), 3
_MADE = {"given": "given", "edited": "edited by hand", "persam": "by PerSAM", "persam_f": "by PerSAM-F"}
# How much of the background's brightness is left beside the outlined subject.
_DIMMED = 0.45


def photos(shown: Sequence[Photo], masks: Mapping[str, SubjectMask]) -> str:
    """Return the training photos, the subject outlined and the rest dimmed."""
    return "".join(_photo(photo, masks[photo.stem]) for photo in shown)


def grid(
    rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, Sequence[Picture]], colours: Mapping[str, str]
) -> str:
    """Return the pictures: a row a prompt, a column an arm, the same seeds side by side in each.

    Args:
        rows: the comparison's rows: what was seen in each picture.
        pictures: by arm.
        colours: class of each arm.
    """
    seen = {(row["arm"], row["prompt"], row["seed"]): row for row in rows}
    prompts = list(dict.fromkeys(picture.prompt for own in pictures.values() for picture in own))
    heads = "".join(f'<div class="{colours[arm]}">{escape(arm)}</div>' for arm in pictures)
    lines = [f'<div class="grid-head" aria-hidden="true">{heads}</div>']
    for prompt in prompts:
        cells = []
        for arm, own in pictures.items():
            wanted = sorted((one for one in own if one.prompt == prompt), key=lambda one: one.seed)
            figures = "".join(_figure(arm, one, seen[arm, *one.key]) for one in wanted[:MAX_SEEDS])
            cells.append(
                f'<div class="cell {colours[arm]}"><span class="arm-name">{escape(arm)}</span>'
                f'<div class="seeds">{figures}</div></div>'
            )
        lines.append(f'<h3 class="prompt">{escape(prompt)}</h3><div class="grid-row">{"".join(cells)}</div>')
    return "".join(lines)


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


def data_url(image: Image.Image) -> str:
    """Return a picture as an address that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _photo(photo: Photo, mask: SubjectMask) -> str:
    """Return one training photo."""
    share = f"{100 * mask.area_fraction:.0f} % subject"
    name = escape(photo.path.name)
    alt = f"Training photo {name}; the outlined subject is {share.replace(' subject', '')} of it"
    return (
        f'<figure><img src="{data_url(outlined(photo.pixels, mask.mask))}" alt="{alt}">'
        f"<figcaption>{name}<br>mask {_MADE.get(mask.source, mask.source)}, {share}</figcaption></figure>"
    )


def _figure(arm: str, picture: Picture, row: Mapping[str, Any]) -> str:
    """Return one generated picture with what was seen in it."""
    image = Image.fromarray(picture.pixels)
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    state, words = _seen(row)
    alt = escape(f"{arm}: {picture.prompt}, seed {picture.seed}. {', '.join(words)}")
    caption = " ".join(f"<span>{escape(word)}</span>" for word in words)
    return (
        f'<figure class="{state}" title="seed {picture.seed}"><img src="{data_url(image)}" alt="{alt}" '
        f'width="{image.width}" height="{image.height}"><figcaption>{caption}</figcaption></figure>'
    )


def _seen(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the class of a picture and the words for what was seen in it."""
    if "predicted_background" not in row:
        rate = row["attribution"]
        return "", ["no background" if rate is None else f"{100 * rate:.0f} % the photos’"]
    likeness = f"{row['likeness']:.2f}" if row["subject"] else "subject missing"
    state, mark = ("leak", "✗ ") if row["leak"] else ("kept", "✓ ") if row["agreement"] else ("", "")
    return state, [mark + row["predicted_background"], likeness]
