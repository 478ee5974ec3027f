"""What looks wrong about a mask, for a person to look at: its shape alone, without the photo or the truth."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch.nn.functional import max_pool2d

from persam_dreambooth.masks.sheet import latent_mask
from persam_dreambooth.sam.regions import connected_regions

MAX_COMPONENTS = 3
"""More separate parts than this are many; specks do not count."""
SPECK_FRACTION = 0.01
"""A part, or a hole, is a speck below this share of the mask's area."""
LOST_FRACTION = 0.02
"""Thin parts are worth a word from this share of the mask's area on."""
AREA_RATIO = 3.0
"""An area is an outlier if it is so many times larger or smaller than the album's median."""
CLOSE_MARGIN = 0.05
"""Two things of which one is more similar to the subject by less than this could each be it."""

# Masks of large photos are looked at on this longer side, in pixels: no flag is about smaller things.
_SIDE = 1024


def flags(
    mask: Bool[np.ndarray, "H W"],
    *,
    latent_size: tuple[int, int] | None = None,
    album_areas: tuple[float, ...] = (),
    margin: float | None = None,
) -> dict[str, str]:
    """Return what looks wrong, by a name for programs, each with a text for people.

    Args:
        mask: True on the subject, not empty.
        latent_size: as in `sheet.latent_mask`.
        album_areas: share of the photo that is subject in each of the album's photos, this one among them.
        margin: by how much the mask is more similar to the subject than the second-best thing, if known.
    """
    small = _reduced(mask)
    found = {
        "touches_border": _touched(mask),
        "holes": _holes(small),
        "many_components": _components(small),
        "thin_parts": _thin_parts(mask, latent_size),
        "area_outlier": _outlier(float(mask.mean()), album_areas),
        "close_second": _close(margin),
    }
    return {name: text for name, text in found.items() if text}


def _touched(mask: Bool[np.ndarray, "H W"]) -> str:
    """Return at which of the photo's edges the subject is cut off."""
    edges = {"left": mask[:, 0], "top": mask[0], "right": mask[:, -1], "bottom": mask[-1]}
    sides = [side for side, edge in edges.items() if edge.any()]
    return f"touches the photo's edge: {', '.join(sides)}" if sides else ""


def _holes(mask: Bool[np.ndarray, "h w"]) -> str:
    """Return how many holes there are that are no specks."""
    # A frame joins what is outside at all edges into one region, the first in reading order.
    _, areas = connected_regions(np.pad(~mask, 1, constant_values=True))
    holes = int((areas[1:] >= SPECK_FRACTION * mask.sum()).sum())
    return f"{holes} hole{'s' if holes > 1 else ''}" if holes else ""


def _components(mask: Bool[np.ndarray, "h w"]) -> str:
    """Return how many separate parts there are, if many."""
    _, areas = connected_regions(mask)
    parts = int((areas >= SPECK_FRACTION * mask.sum()).sum())
    return f"{parts} separate parts" if parts > MAX_COMPONENTS else ""


def _thin_parts(mask: Bool[np.ndarray, "H W"], latent_size: tuple[int, int] | None) -> str:
    """Return how much of the mask the loss hardly sees: no latent cell around it is half subject."""
    share = latent_mask(mask, latent_size)
    seen = max_pool2d(torch.from_numpy(share)[None], 3, stride=1, padding=1)[0].numpy() >= 0.5
    lost = float((share * ~seen).sum() / share.sum())
    return f"{lost:.0%} of it is too thin for the latent cells" if lost >= LOST_FRACTION else ""


def _outlier(area: float, areas: tuple[float, ...]) -> str:
    """Return how the area compares with the album's median, if it stands out from at least two others."""
    if len(areas) < 3:
        return ""
    ratio = area / float(np.median(areas))
    if 1 / AREA_RATIO <= ratio <= AREA_RATIO:
        return ""
    return f"its area is {ratio:.2g} times the album's median"


def _close(margin: float | None) -> str:
    """Return whether something else in the photo is nearly as similar to the subject."""
    return "something else is nearly as similar" if margin is not None and margin < CLOSE_MARGIN else ""


def _reduced(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask at a size that does not take long."""
    factor = math.ceil(max(mask.shape) / _SIDE)
    if factor == 1:
        return mask
    return np.asarray(
        Image.fromarray(mask).resize(
            (mask.shape[1] // factor or 1, mask.shape[0] // factor or 1), Image.Resampling.NEAREST
        )
    )


def worst_first(
    confidences: Mapping[str, float | None], flagged: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Return the stems in the order in which a person should look at them.

    The least confident ones first; masks that a person made come after those that were found, and among
    equals the more flags the earlier.
    """

    def key(stem: str) -> tuple[bool, float, int]:
        value = confidences[stem]
        return value is None, value or 0.0, -len(flagged[stem])

    return sorted(confidences, key=key)
