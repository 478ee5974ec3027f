"""Which pictures are made from one without leak: each with what is known about it.

    again        the same picture, noised anew                                nothing leaks
    paste        an area of the photos' place                                 leaks; level: share of the area
    blend        the photos' place as a ghost over everything                  leaks; level: its opacity
    palette      the colours of the photos' place, its content not             leaks; level: its strength
    scene        as paste, from a view of the place that no bank holds         leaks; level: share of the area
    benign       as paste, from a place that neither photos nor decoys show    nothing leaks
    look_alike   the same, from another place of the same kind                 nothing leaks
    subject      the photos' subject, its mask right                           nothing leaks
    bad_mask     the same picture with too small a mask: a rim of subject is
                 taken for background                                         nothing leaks

`base` is the picture itself. Every picture of every mode is softened and noised by itself.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, UInt8

from persam_dreambooth.leakage.validation import alterations
from persam_dreambooth.leakage.validation.cases import Case, Shot

BASE = "base"
AGAIN = "again"
LEAKS = ("paste", "blend", "palette", "scene")
"""Modes in which something leaks, the more the higher the level."""
AREAS = ("benign", "look_alike")
"""Modes in which an area changes and nothing leaks."""
SUBJECTS = ("subject", "bad_mask")
"""Modes in which the subject changes and nothing leaks."""
LEVELS = (0.1, 0.25, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Made:
    """A picture with a known leak."""

    mode: str
    level: float
    """What was planned; 0 for the modes that have no levels."""
    share: float
    """Share of the background that was changed."""
    pixels: UInt8[np.ndarray, "h w 3"] = field(repr=False)
    mask: Bool[np.ndarray, "h w"] | None = field(repr=False)
    """What the measure is told about the subject."""


def pictures_of(case: Case, number: int, levels: Sequence[float], seed: int) -> Iterator[Made]:
    """Yield everything that is made from one host.

    Args:
        case: the subject.
        number: which of its hosts.
        levels: of the modes that have any, rising, in (0, 1].
        seed: decides together with the number and the case's name.
    """
    host = case.hosts[number]

    def random(mode: str) -> np.random.Generator:
        return np.random.default_rng([seed, number, *f"{case.name} {mode}".encode()])

    pixels = host.pixels.astype(np.float64)
    for mode in (BASE, AGAIN):
        yield Made(mode, 0.0, 0.0, alterations.finished(pixels, random(mode)), host.mask)
    for mode, shots in _sources(case, number).items():
        if shots:
            yield from _planted(mode, host, shots, levels, random(mode))
    yield from _with_subject(case, host, random("subject"))


def _sources(case: Case, number: int) -> dict[str, Sequence[Shot]]:
    """Return what each mode plants; nothing where the case has nothing for it."""
    foreign = case.foreign or [shot for other, shot in enumerate(case.hosts) if other != number]
    return {
        "paste": case.photos,
        "blend": case.photos,
        "palette": case.photos,
        "scene": case.held_out,
        "benign": foreign and [foreign[number % len(foreign)]],
        "look_alike": case.look_alikes and [case.look_alikes[number % len(case.look_alikes)]],
    }


def _planted(
    mode: str, host: Shot, shots: Sequence[Shot], levels: Sequence[float], rng: np.random.Generator
) -> Iterator[Made]:
    """Yield a mode's picture of each level: one look at the place, more and more of it."""
    pixels, background = host.pixels.astype(np.float64), host.background
    planted, covered = alterations.seen_anew(shots, background.shape, rng)
    # Of photos that are all but filled by the subject no look may show any of the place.
    if not covered.any():
        return
    everywhere = background & covered
    angle = rng.uniform(0, 2 * math.pi)
    for level in levels:
        region = everywhere
        if mode == "blend":
            changed = alterations.blend(pixels, planted, region, level)
        elif mode == "palette":
            changed = alterations.palette(
                pixels, planted, region=background, planted_region=covered, strength=level
            )
        else:
            region = alterations.share_of(background, covered, level, angle)
            changed = alterations.paste(pixels, planted, region)
        share = float(region.sum() / background.sum())
        yield Made(mode, level, share, alterations.finished(changed, rng), host.mask)


def _with_subject(case: Case, host: Shot, rng: np.random.Generator) -> Iterator[Made]:
    """Yield the picture with the photos' subject in it, with a right mask and with a bad one."""
    shown = [photo for photo in case.photos if photo.mask is not None and photo.mask.any()]
    if not shown:
        return
    pixels, subject, rest = alterations.with_subject_of(host, shown[int(rng.integers(len(shown)))])
    finished = alterations.finished(pixels.astype(np.float64), rng)
    yield Made("subject", 0.0, 0.0, finished, subject | rest)
    yield Made("bad_mask", 0.0, 0.0, finished, alterations.eroded(subject) | rest)
