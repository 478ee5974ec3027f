"""One row for each picture: everything that is measured in it, before anything is averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from persam_dreambooth.leakage.banks import Banks, Mask, Pixels
from persam_dreambooth.leakage.features import Cells, Features, widened_by
from persam_dreambooth.leakage.finder import SubjectFinder
from persam_dreambooth.leakage.likeness import References, Vectors, base_level, normalise, references
from persam_dreambooth.leakage.pictures import CLASS, NO_SUBJECT, RECONTEXT, Picture
from persam_dreambooth.leakage.scores import Hit, Scores, copy_threshold, score

BASE = "base"
"""Name of the arm of the model before fine-tuning: what excess is counted from."""

MASK_DELTA = 0.02
"""Share of the shorter side by which masks are widened and narrowed, to see what depends on their rims."""
_DIGITS = 4


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture with its subject and its background."""

    arm: str
    picture: Picture
    mask: Mask | None
    """None where no subject was found, or none was asked for."""
    cells: Cells
    subject: Vectors | None
    """None where no subject was found."""


@dataclass(frozen=True, eq=False)
class Scale:
    """What likeness is measured with."""

    references: References
    base: Mapping[str, float | None]
    """The lower end by prompt family; None where these features cannot tell the subject from its class."""

    def likeness(self, family: str, vectors: Vectors | None) -> tuple[float | None, float | None]:
        """Return a picture's raw and normalised likeness; None each where there is none."""
        raw = None if vectors is None else self.references.raw(vectors)
        level = self.base.get(family, self.base.get(RECONTEXT))
        return raw, None if level is None else normalise(raw, level, self.references.real)


def see(arms: Mapping[str, Sequence[Picture]], features: Features, find_subject: SubjectFinder) -> list[Seen]:
    """Find the subject in every picture and describe what is left; the pictures in order, arm by arm."""
    seen = []
    for arm, pictures in arms.items():
        for picture in tqdm(pictures, desc=f"measure {arm}", unit="picture", disable=None):
            mask = None if picture.family == NO_SUBJECT else find_subject(picture.pixels)
            cells = features.cells(picture.pixels, mask)
            subject = None if mask is None else features.subject(picture.pixels, mask)
            seen.append(Seen(arm, picture, mask, cells, subject))
    return seen


def scale(
    seen: Sequence[Seen],
    features: Features,
    photos: Sequence[tuple[Pixels, Mask]],
    held_out: Sequence[tuple[Pixels, Mask]] = (),
) -> Scale:
    """Return what likeness is measured with: reference photos above, the base model's pictures below."""
    drawn: dict[str, list[Vectors]] = {}
    for one in seen:
        if one.arm == BASE and one.subject is not None:
            drawn.setdefault(one.picture.family, []).append(one.subject)
    known = references(features, photos, [vectors for own in drawn.values() for vectors in own], held_out)
    levels = {
        family: base_level([known.raw(vectors) for vectors in own], known.real)
        for family, own in drawn.items()
    }
    return Scale(known, levels)


def rows_of(seen: Sequence[Seen], banks: Banks, likeness: Scale) -> tuple[list[dict[str, Any]], list[Scores]]:
    """Return a row for each picture, and its scores."""
    base = [one.cells for one in seen if one.arm == BASE and one.picture.family == RECONTEXT]
    threshold = copy_threshold(banks, base)
    scores = [score(banks, one.cells, threshold) for one in seen]
    return [_row(one, found, likeness) for one, found in zip(seen, scores, strict=True)], scores


def moved_rims(seen: Seen, banks: Banks, features: Features) -> dict[str, float | None]:
    """Return a picture's attribution with its mask widened and narrowed by MASK_DELTA of the shorter side."""
    found: dict[str, float | None] = {}
    for name in ("wider", "narrower"):
        cells = seen.cells
        if seen.mask is not None:
            reach = max(1, round(MASK_DELTA * min(seen.mask.shape)))
            wider = name == "wider"
            moved = widened_by(seen.mask, reach) if wider else ~widened_by(~seen.mask, reach)
            cells = features.cells(seen.picture.pixels, moved)
        found[f"attribution_{name}"] = score(banks, cells).attribution
    return found


def _row(seen: Seen, found: Scores, likeness: Scale) -> dict[str, Any]:
    """Return everything that is known about one picture by itself."""
    picture = seen.picture
    asked = picture.family != NO_SUBJECT
    raw, alike = likeness.likeness(picture.family, seen.subject) if asked else (None, None)
    background = seen.cells.is_background
    return {
        "arm": seen.arm,
        "family": picture.family,
        "prompt": picture.prompt,
        "background": picture.background,
        "seed": picture.seed,
        "step": picture.step,
        "picture": None,
        "subject_found": seen.mask is not None,
        "missing": seen.mask is None if asked else None,
        "subject_fraction": 0.0 if seen.mask is None else float(seen.mask.mean()),
        "grid": list(background.shape),
        "subject_cells": None if seen.mask is None else "".join("01"[not cell] for cell in background.flat),
        "num_background_cells": found.num_cells,
        "attribution": found.attribution,
        "copy_rate": found.copy_rate,
        "style_shift": found.style_shift,
        "max_cosine": found.max_cosine,
        "widest_copy": found.widest_copy,
        "likeness": None if picture.family == CLASS else alike,
        "likeness_raw": raw,
        "likeness_found": alike if picture.family != CLASS and seen.mask is not None else None,
        "contamination": alike if picture.family == CLASS else None,
        "hits": [_listed(hit) for hit in found.hits],
    }


def _listed(hit: Hit) -> list[int | float]:
    """Return a hit as report.json holds it."""
    cosines = (round(hit.cosine, _DIGITS), round(hit.decoy_cosine, _DIGITS))
    places = (hit.row, hit.column, hit.photo, hit.photo_row, hit.photo_column)
    return [*places, *cosines, int(hit.mirrored)]
