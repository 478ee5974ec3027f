"""The comparison: the same prompts and seeds drawn by several models, measured, with intervals.

In: the arms' pictures, the photos with their masks, decoys, and the truth where there is one.
Out: one dict that JSON can hold; `report` shows it, docs/leakage_measure.md describes it. Equal pictures give
equal numbers, to the last digit.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.adherence import Adherence
from persam_dreambooth.leakage.banks import NUM_BANKS, Banks, Mask, Pixels, build_banks
from persam_dreambooth.leakage.decoys import resized_mask
from persam_dreambooth.leakage.features import Features, load_features
from persam_dreambooth.leakage.finder import SubjectFinder
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.rows import BASE, RECONTEXT, Scale, Seen, moved_rims, rows_of, scale, see
from persam_dreambooth.leakage.scores import Scores, common_attribution
from persam_dreambooth.leakage.summary import PLAIN, SCHEMA, summarise
from persam_dreambooth.leakage.truth import Truth, verdicts

__all__ = ["BASE", "PLAIN", "SCHEMA", "check_pairs", "compare", "summarise"]

MIN_PHOTOS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """What else can be chosen in a comparison."""

    num_banks: int = NUM_BANKS
    """Number of decoy banks."""
    held_out: Sequence[tuple[Pixels, Mask]] = ()
    """Pixels and mask of photos of the subject that were not trained on."""
    move_rims: bool = False
    """Measure again with masks widened and narrowed; takes three times as long."""
    drop_conflicting: bool = False
    """Leave prompts that ask for the photos' own scene out of the headline."""
    minus: str = PLAIN
    """The arm that the others are compared with."""


DEFAULTS = Options()


def compare(
    arms: Mapping[str, Sequence[Picture]],
    *,
    photos: Sequence[tuple[Pixels, Mask]],
    decoys: Sequence[Pixels | tuple[Pixels, Mask | None]],
    find_subject: SubjectFinder,
    features: Features | None = None,
    adherence: Adherence | None = None,
    truth: Truth | None = None,
    options: Options = DEFAULTS,
) -> dict[str, Any]:
    """Measure every picture of every arm and return the comparison.

    Args:
        arms: pictures by arm, all prompt families and training steps in one list; `base` and `plain` have a
            meaning, other names are free.
        photos: pixels and subject mask of each training photo.
        decoys: pictures of other places (see `banks.build_banks`).
        find_subject: from `finder.subject_finder`.
        features: from `features.load_features`; None is colour and gradients.
        adherence: says which scene a background shows; without it that is not measured.
        truth: for subjects of the toy world; without it what only it knows is absent.
        options: what else can be chosen.

    Raises:
        UserError: the arms differ in prompts or seeds; too few decoys; photos without background.
    """
    check_pairs(arms)
    features = features or load_features("ct")
    side = min(min(one.pixels.shape[:2]) for pictures in arms.values() for one in pictures)
    photos, held_out = ([no_larger(photo, side) for photo in own] for own in (photos, options.held_out))
    decoys = [no_larger(decoy if isinstance(decoy, tuple) else (decoy, None), side) for decoy in decoys]
    banks = build_banks(photos, decoys, features, num_banks=options.num_banks)
    seen = see(arms, features, find_subject)
    likeness = scale(seen, features, photos, held_out)
    rows, scores = rows_of(seen, banks, likeness)
    _fill_in_common(rows, seen, scores)
    if options.move_rims:
        for row, one in zip(rows, seen, strict=True):
            row.update(moved_rims(one, banks, features))
    if adherence is not None:
        _fill_in_adherence(rows, seen, adherence)
    if truth is not None:
        for row, verdict in zip(rows, verdicts([one.picture for one in seen], truth), strict=True):
            row.update(asdict(verdict))
    result = summarise(
        rows, chance=banks.chance, drop_conflicting=options.drop_conflicting, minus=options.minus
    )
    result["config"] |= {
        "features": {
            "name": features.name,
            "version": features.version,
            "digest": features.digest,
            "num_features": features.num_features,
        },
        "decoys": {
            "source": None,
            "num": len(decoys),
            "dropped": list(banks.dropped),
            "same_scene_kept": list(banks.same_scene_kept),
            "k": len(banks.decoys),
            "bank_size": len(banks.training),
            "chance": banks.chance,
        },
        "likeness": {
            "real": likeness.references.real,
            "base": dict(likeness.base),
            "num_references": len(likeness.references.subjects),
        },
    }
    result["inputs"]["photos"] = [
        {"own_attribution": own, "grid": list(grid)}
        for own, grid in zip(banks.own_attribution, banks.photo_grids, strict=True)
    ]
    result["warnings"] = _warnings(len(photos), banks, likeness, result)
    result["truth"] = truth and {
        "subject": truth.subject,
        "identity": truth.identity,
        "training_backgrounds": list(truth.training_backgrounds),
    }
    return result


def no_larger(photo: tuple[Pixels, Mask | None], side: int) -> tuple[Pixels, Mask | None]:
    """Return a photo or decoy and its mask with the shorter side at most as long as that of the pictures.

    Otherwise its finer detail would be what tells it from every drawn picture. What else a VAE takes away
    only sending it through one can tell.
    """
    pixels, mask = photo
    scale = side / min(pixels.shape[:2])
    if scale >= 1:
        return photo
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    small = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    shown = np.asarray(small)
    return shown, None if mask is None else resized_mask(mask, shown.shape[:2])


def check_pairs(arms: Mapping[str, Sequence[Picture]]) -> None:
    """Raise UserError unless all finished models have one picture each of the same prompts and seeds.

    Pictures of a training step need a finished one of the same prompt and seed in the first arm.
    """
    if not arms or not all(arms.values()):
        raise UserError(
            "arms: at least one arm with at least one picture is needed. Generate pictures first."
        )
    first, *others = arms
    keys = {arm: {one.key for one in pictures if one.step is None} for arm, pictures in arms.items()}
    for arm, pictures in arms.items():
        placed = Counter((one.step, *one.key) for one in pictures)
        if twice := next((place for place, count in placed.items() if count > 1), None):
            raise UserError(
                f"arm {arm}: two pictures of {twice[1]!r} with seed {twice[2]}; one is needed. "
                "Remove the other."
            )
        if odd := {place for place in placed if place[0] is not None and place[1:] not in keys[first]}:
            step, prompt, seed = min(odd)
            raise UserError(
                f"arm {first}: no picture of {prompt!r} with seed {seed}, which arm {arm} has at step "
                f"{step}; every arm needs the same prompts and seeds. Generate it."
            )
    for arm in others:
        if odd := keys[first] ^ keys[arm]:
            prompt, seed = min(odd)
            lacking = arm if (prompt, seed) in keys[first] else first
            raise UserError(
                f"arm {lacking}: no picture of {prompt!r} with seed {seed}; every arm needs the same prompts "
                "and seeds. Generate it."
            )


def _fill_in_common(rows: list[dict[str, Any]], seen: Sequence[Seen], scores: Sequence[Scores]) -> None:
    """Set each row's excess over the cells that are background in the base model's picture as well."""
    base = {
        one.picture.key: (one.cells, found)
        for one, found in zip(seen, scores, strict=True)
        if one.arm == BASE and one.picture.step is None
    }
    for row, one, found in zip(rows, seen, scores, strict=True):
        before = base.get(one.picture.key) if one.arm != BASE else None
        rates = before and common_attribution((one.cells, found), before)
        row["excess_common"] = rates[0] - rates[1] if rates else None


def _fill_in_adherence(rows: list[dict[str, Any]], seen: Sequence[Seen], adherence: Adherence) -> None:
    """Set whether the background of each finished model's picture shows the scene that was asked for."""
    asked = [
        (row, one)
        for row, one in zip(rows, seen, strict=True)
        if one.picture.family == RECONTEXT and one.picture.step is None
    ]
    found = adherence([one.picture for _, one in asked], [one.mask for _, one in asked])
    for (row, _), shows_it in zip(asked, found, strict=True):
        row["adherence"] = shows_it


def _warnings(num_photos: int, banks: Banks, likeness: Scale, result: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    told = []
    if num_photos < MIN_PHOTOS:
        told.append(
            "one photo: how leak-prone it is cannot be told, and likeness is measured against its own mirror "
            "image"
        )
    if banks.dropped:
        told.append(f"decoys of the photos' own scene, left out: {len(banks.dropped)}")
    if kept := len(banks.same_scene_kept):
        told.append(
            f"decoys of the photos' own scene, kept because the banks need them: {kept}; they hide leakage: "
            "give more decoys, or ask for fewer banks"
        )
    if RECONTEXT not in likeness.base:
        told.append("likeness: no picture of the base model shows the subject's class; it is not given")
    elif likeness.base[RECONTEXT] is None:
        told.append(
            "likeness: these features cannot tell the subject from others of its class; it is not given"
        )
    if num_conflicts := sum(record["reason"] is not None for record in result["config"]["prompts"]):
        told.append(
            f"{num_conflicts} prompts ask for a scene like the photos' own: what is drawn for them looks "
            "leaked with every model"
        )
    return told
