"""masks.html: every photo with its mask and how far it can be trusted, worst first, in one file."""

import base64
import io
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from persam_dreambooth import __version__
from persam_dreambooth.masks.sheet import DEFAULT_RESOLUTION, TITLES, VAE_FACTOR, Row, pictures

PICTURE_SIDE = 320
"""Longer side of a picture in the page, in pixels."""
_JPEG_QUALITY = 88

_TEMPLATE = Path(__file__).with_name("page_template.html")


def masks_page(
    rows: list[Row], latent_size: tuple[int, int] | None, *, title: str, proposals: Path | None = None
) -> str:
    """Return the page.

    Args:
        rows: what to show, top to bottom.
        latent_size: as in `sheet.latent_mask`.
        title: what was found, in one line.
        proposals: picture of what else could be the subject, where nobody said what it is.
    """
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        rows="".join(_section(row, latent_size) for row in rows),
        cell_size=_cell_size(latent_size),
        proposals="" if proposals is None else _proposals(proposals),
        version=escape(__version__),
    )


def _section(row: Row, latent_size: tuple[int, int] | None) -> str:
    """Return one photo with all that is known of its mask."""
    name, *told = (escape(part) for part in row.caption.split("   "))
    figures = "".join(
        f'<figure><img src="{_data_url(picture)}" alt="{name}: {escape(caption)}" width="{picture.width}" '
        f'height="{picture.height}"><figcaption>{escape(caption)}</figcaption></figure>'
        # A photo that is left out has only itself to show.
        for picture, caption in zip(pictures(row, latent_size, PICTURE_SIDE), TITLES, strict=False)
    )
    flags = "".join(f"<li>{escape(flag)}</li>" for flag in row.flags)
    return (
        f'<section class="{"left-out" if row.mask is None else "kept"}"><h2>{name}</h2>'
        f"<p>{' · '.join(told)}</p>"
        + (f'<ul class="flags">{flags}</ul>' if flags else "")
        + f'<div class="pictures">{figures}</div>{_signs(row)}</section>'
    )


def _cell_size(latent_size: tuple[int, int] | None) -> str:
    """Return how large a cell of the latents is on a photo, as the end of a sentence."""
    if latent_size is not None:
        return f"one part in {min(latent_size)} of the photo’s shorter side wide, as in this training"
    return (
        f"{VAE_FACTOR} × {VAE_FACTOR} pixels once the photo’s shorter side is {DEFAULT_RESOLUTION} pixels "
        "(as for Stable Diffusion 1.5; smaller photos: as they are)"
    )


def _proposals(path: Path) -> str:
    """Return the section that shows which things were taken for the subject, and how to choose another."""
    with Image.open(path) as picture:
        address = _data_url(picture.convert("RGB"))
    return (
        "<section><h2>Nobody said what the subject is</h2><p>So the thing that is found in every photo was "
        "taken, the first of these. For another one, run the command again with "
        "<code>--reference_choice</code> and its number.</p>"
        f'<img class="proposals" src="{address}" alt="The proposals, best first"></section>'
    )


def _signs(row: Row) -> str:
    """Return the signs of trust as a list of bars."""
    if not row.signs:
        return ""
    items = "".join(
        f'<div><dt>{escape(name)}</dt><dd><span class="bar"><i style="width:{_percent(value)}%"></i></span>'
        f"{value:.2f}</dd></div>"
        for name, value in row.signs.items()
    )
    return f"<dl>{items}</dl>"


def _percent(value: float) -> int:
    """Return the length of a bar; a margin may be below 0."""
    return round(100 * min(1.0, max(0.0, value)))


def _data_url(image: Image.Image) -> str:
    """Return a picture as an address that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
