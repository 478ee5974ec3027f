"""One photo's segments in files: the map in colour with a legend, the labels, the subject, and the numbers.

<photo>.png           colours over the photo's size, with the legend below
<photo>.labels.png    the number of each pixel's segment; 255 where the model did not look (with more than 255
                      segments 16 bits, and 65535)
<photo>.mask.png      what would be taken for the subject
<photo>.json          everything in numbers
"""

import json
from collections.abc import Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt, UInt8
from PIL import Image, ImageDraw, ImageFont

from persam_dreambooth.errors import UserError
from persam_dreambooth.files import atomic_path, write_text
from persam_dreambooth.masks.candidates import working_size
from persam_dreambooth.masks.diffseg.attention import check_attention
from persam_dreambooth.masks.diffseg.labels import NOT_SHOWN
from persam_dreambooth.masks.diffseg.nouns import (
    columns_of,
    likeness_map,
    names_of_segments,
    prompt_for,
    words_of,
)
from persam_dreambooth.masks.diffseg.segmentation import DiffSeg, Segments
from persam_dreambooth.masks.diffseg.stage import confidence_of
from persam_dreambooth.masks.diffseg.subject import Choice, choose, cleaned
from persam_dreambooth.photos import Photo, write_mask

_LINE = 16
_PAINTED = 0.65
"""How much the colour covers the photo."""


def write_segments(
    diffseg: DiffSeg,
    photo: Photo,
    out: Path,
    *,
    caption: str | None = None,
    nouns: Sequence[str] = (),
    noun: str | None = None,
    voting: Literal["mean", "majority"] = "mean",
    picked: Set[int] = frozenset(),
) -> list[str]:
    """Segment a photo, write the files, and return what a person wants to read of it.

    Args:
        diffseg: the model.
        photo: what to segment.
        out: folder of the files.
        caption: what is in the photo, for names.
        nouns: words of the caption; none for all that could name something.
        noun: what the subject is called, in the caption or without one.
        voting: as in `names_of_segments`.
        picked: segments that are the subject; none for what the rule takes.

    Raises:
        UserError: a word is not in the caption, a segment that is picked is not there, the photo cannot be
            segmented, or it would be overwritten.
    """
    _check_apart(photo.path, out)
    prompt = caption or (None if noun is None else prompt_for(noun))
    check_attention(diffseg.models, at_tokens=prompt is not None)
    words = _columns(diffseg, caption, nouns)
    own = None if noun is None else columns_of(diffseg.models, prompt, noun)
    segments = diffseg.segment(photo.pixels, prompt, name=str(photo.path))
    labels = segments.labels()
    missing = sorted(set(picked) - (set(np.unique(labels).tolist()) - {NOT_SHOWN}))
    if missing:
        raise UserError(
            f"--pick {missing[0]}: no such segment; one of those in the map is needed. Run without --pick."
        )
    small = working_size(photo.size)
    small_labels = segments.labels(small)
    names = names_of_segments(segments, words, small_labels, voting) if words else {}
    likeness = None if own is None else likeness_map(segments, own, small)
    choice = choose(small_labels, likeness, picked)
    told = _told(photo, diffseg, segments, labels, names, choice, caption)
    stem = photo.path.stem
    write_mask(out / f"{stem}.mask.png", cleaned(np.isin(labels, choice.chosen)))
    _save(out / f"{stem}.labels.png", _numbered(labels))
    _save(out / f"{stem}.png", picture(photo.pixels, labels, told["segments"]))
    write_text(out / f"{stem}.json", json.dumps(told, indent=2, allow_nan=False) + "\n")
    lines = [_line(segment) for segment in told["segments"]]
    return [*lines, f"map: {out / stem}.png, labels, mask and {stem}.json beside it"]


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour of a segment: hues a golden angle apart, in three lightnesses."""
    hue = number * 0.381966 % 1.0
    value, saturation = (1.0, 0.75, 0.9)[number % 3], (0.85, 0.9, 0.5)[number % 3]
    channel = [(hue * 6 + shift) % 6 for shift in (5, 3, 1)]
    red, green, blue = (round(255 * value * (1 - saturation * max(0.0, min(k, 4 - k, 1.0)))) for k in channel)
    return red, green, blue


def picture(
    pixels: UInt8[np.ndarray, "H W 3"], labels: Int[np.ndarray, "H W"], segments: Sequence[dict[str, Any]]
) -> UInt8[np.ndarray, "h W 3"]:
    """Return a photo painted with the segments' colours, and a legend below.

    Args:
        pixels: the photo.
        labels: of its pixels.
        segments: as in the JSON, the largest first.
    """
    colours = np.array([colour_of(number) for number in range(int(labels.max()) + 1)], np.float32)
    painted = _PAINTED * colours[labels] + (1 - _PAINTED) * pixels
    painted = np.where((labels == NOT_SHOWN)[..., None], pixels, painted).round().astype(np.uint8)
    legend = Image.new("RGB", (max(pixels.shape[1], 280), _LINE * len(segments) + 8), "white")
    draw, font = ImageDraw.Draw(legend), ImageFont.load_default()
    for row, segment in enumerate(segments):
        top = 4 + row * _LINE
        draw.rectangle([4, top + 2, 16, top + 13], fill=tuple(segment["colour"]), outline="black")
        draw.text((22, top + 1), _line(segment), fill="black", font=font)
    width = legend.width
    below = np.full((painted.shape[0], width, 3), 255, np.uint8)
    below[:, : painted.shape[1]] = painted
    return np.concatenate([below, np.asarray(legend)])


def _check_apart(photo: Path, out: Path) -> None:
    """Raise UserError where the map would take the photo's place, and the mask that of a given one."""
    if photo.absolute().parent.resolve() == out.resolve():
        raise UserError(
            f"--out {out}: the photo is in it, and the map has its name; a folder of their own is needed for "
            "the results. Name another one."
        )


def _numbered(labels: Int[np.ndarray, "H W"]) -> UInt[np.ndarray, "H W"]:
    """Return labels as unsigned numbers of 8 bits, or of 16 where there are too many."""
    kind = np.uint8 if labels.max() < np.iinfo(np.uint8).max else np.uint16
    return np.where(labels == NOT_SHOWN, np.iinfo(kind).max, labels).astype(kind)


def _columns(diffseg: DiffSeg, caption: str | None, nouns: Sequence[str]) -> dict[str, Any]:
    """Return the tokens of each word that a segment may be named by."""
    if caption is None:
        return {}
    flag = "--nouns" if nouns else "--caption"
    return {word: columns_of(diffseg.models, caption, word, flag) for word in nouns or words_of(caption)}


def _told(
    photo: Photo,
    diffseg: DiffSeg,
    segments: Segments,
    labels: Int[np.ndarray, "H W"],
    names: dict[int, str],
    choice: Choice,
    caption: str | None,
) -> dict[str, Any]:
    """Return what the JSON says."""
    numbers, counts = np.unique(labels, return_counts=True)
    listed = [
        {
            "number": int(number),
            "noun": names.get(int(number)),
            "area_fraction": round(float(count / labels.size), 4),
            "score": _rounded(choice.scores.get(int(number))),
            "is_subject": int(number) in choice.chosen,
            "colour": list(colour_of(int(number))),
        }
        for number, count in sorted(zip(numbers, counts, strict=True), key=lambda pair: -pair[1])
        if number != NOT_SHOWN
    ]
    return {
        "photo": photo.path.name,
        "photo_digest": photo.digest,
        "size": list(photo.size),
        "model": diffseg.models.name_or_path,
        "model_side": diffseg.side,
        "caption": caption,
        "settings": asdict(diffseg.settings),
        "taus": list(segments.taus),
        "num_proposals": len(segments.proposals),
        "confidence": confidence_of(choice).value if choice.scores else None,
        "segments": listed,
    }


def _line(segment: dict[str, Any]) -> str:
    """Return what is said of a segment in a line."""
    score = "" if segment["score"] is None else f"  score {segment['score']:+.2f}"
    name = f"  {segment['noun']}" if segment["noun"] else ""
    mark = "  subject" if segment["is_subject"] else ""
    return f"{segment['number']:3d}{name}  {segment['area_fraction']:.1%}{score}{mark}"


def _rounded(value: float | None) -> float | None:
    """Return a score to 4 digits, where there is one."""
    return None if value is None else round(float(value), 4)


def _save(path: Path, pixels: UInt[np.ndarray, "h w *c"]) -> None:
    """Write a picture, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary)
