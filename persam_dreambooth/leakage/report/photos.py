"""The training photos: their masks, and how leak-prone each background is."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from persam_dreambooth.leakage.measures import counted
from persam_dreambooth.leakage.report.material import Material
from persam_dreambooth.leakage.report.thumbnails import data_url, outlined
from persam_dreambooth.leakage.report.words import section, text

SIDE = 320
"""Longer side of a photo here, in pixels."""
HIGH = 0.3
"""From this own attribution on, photos show one place: in a try-out on 30 subjects the third photographed in
one place lay above it."""
LOW = 3
"""Below this many times chance a background is hardly recognised in the other photos."""

_MADE = {"given": "given", "edited": "edited by hand", "persam": "by PerSAM", "persam_f": "by PerSAM-F"}


def photos(result: Mapping[str, Any], material: Material) -> str:
    """Return the photos, the subject outlined and the rest dimmed, and how much the others share of them."""
    entries = result.get("inputs", {}).get("photos", ())
    chance = (result.get("config") or {}).get("decoys", {}).get("chance", 0.05)
    figures = "".join(
        _figure(photo.name, outlined(photo.pixels, photo.mask, SIDE), entry, chance)
        for photo, entry in zip(material.photos, entries, strict=True)
    )
    if not figures:
        return ""
    told = _told([entry.get("own_attribution") for entry in entries], chance)
    intro = (
        "<p>The outlined subject is what a masked training’s reconstruction loss sees; plain training "
        f"learns the whole photo.</p>{told}"
    )
    return section(
        "The photos, and how leak-prone they are",
        f'{intro}<div class="photos">{figures}</div>',
        anchor="photos",
    )


def risk(own: float, chance: float) -> str:
    """Return how leak-prone a background is: `high`, `middle` or `low`.

    Args:
        own: share of it that is found in the other photos rather than in any decoy bank, 0 to 1.
        chance: that share where photos have nothing in common.
    """
    if own >= HIGH:
        return "high"
    return "middle" if own >= LOW * chance else "low"


def _told(values: Sequence[float | None], chance: float) -> str:
    """Return how leak-prone the photos are together."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = sum(known) / len(known)
    verdicts = {
        "high": "they share a place, which a model learns easily: the risk of leakage is high",
        "middle": "they have something in common: the risk of leakage is moderate",
        "low": "they have little in common, so no single background can leak much: the risk is low",
    }
    words = (
        f"{counted(len(known), 'photo')}: on average {100 * mean:.0f} % of a photo’s background is found "
        f"again in the others rather than in any decoy bank (chance {100 * chance:.0f} %); "
        f"{verdicts[risk(mean, chance)]}."
    )
    return f"<p>{text(words)}</p>"


def _figure(name: str, image: Image.Image, entry: Mapping[str, Any], chance: float) -> str:
    """Return one photo with its mask and its meter."""
    share = f"{100 * entry.get('area_fraction', 0.0):.0f} %"
    alt = text(f"Training photo {name}; the outlined subject is {share} of it")
    made = _MADE.get(entry.get("mask_source", ""), entry.get("mask_source", ""))
    own = entry.get("own_attribution")
    meter = ""
    if own is not None:
        meter = (
            f'<span class="meter {risk(own, chance)}"><span '
            f'style="width:{100 * min(max(own, 0.0), 1.0):.0f}%">'
            f"</span></span>leak-prone: {risk(own, chance)}, {100 * own:.0f} % in the other photos"
        )
    return (
        f'<figure><img src="{data_url(image)}" alt="{alt}" width="{image.width}" height="{image.height}">'
        f"<figcaption>{text(name)}<br>mask {text(made)}, {text(share)} "
        f"subject<br>{meter.replace(' %', '&nbsp;%')}</figcaption></figure>"
    )
