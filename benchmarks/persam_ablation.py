"""What each part of PerSAM does, and each difference from the authors' program, on subjects new to models.

    python benchmarks/persam_ablation.py                      # the embedded SAM, 24 subjects, about 3 minutes
    python benchmarks/persam_ablation.py --num_subjects 48 --out ablation.json

The tables have the shape of the paper's tables 4 (parts), 5 (other ways to tune) and 6 (kind of hint), and
one more for what `--persam_compat` changes, on photos that are not square. Every subject is drawn in four
places; the first photo is the reference. Numbers are IoU in percent, pooled over a subject's photos and
averaged over subjects, with the half-width of a 95 % interval over subjects: of the first pass's mask and of
the final one. `failed` counts photos without a mask (IoU 0).
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from persam_tunings import TUNINGS, three_weights, tuned

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.mask_fit import fit_mask_weights
from persam_dreambooth.masks.persam import FoundMask, Reference, pixel_of
from persam_dreambooth.sam.segmenter import Decoded, Embedding, Segmenter
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, render

FIRST_IDENTITY = 20000  # from 10000 on they were never trained on
NUM_PHOTOS = 4
SHORT_SIDE = 0.66  # of the photos that are not square, as a share of the long side


@dataclass(frozen=True, eq=False)
class Case:
    """A subject: its reference, and photos with their truth."""

    reference: Reference
    photos: list[tuple[Embedding, torch.Tensor]]


@dataclass(frozen=True)
class Way:
    """Which parts of PerSAM are used."""

    negative: bool = True
    refine: bool = True
    attention: bool = True
    semantic: bool = True
    weights: bool = False
    compat_cells: bool = False
    compat_guidance: bool = False
    compat_choice: bool = False


Finder = Callable[[Embedding], tuple[torch.Tensor, torch.Tensor]]  # the first pass's mask, the final one


def draw_cases(segmenter: Segmenter, num_subjects: int, size: int, *, square: bool) -> list[Case]:
    """Return subjects of all kinds, each in four places; portrait and landscape in turn if not square."""
    cases = []
    for number in range(num_subjects):
        subject = SUBJECTS[number % len(SUBJECTS)]
        places = Random(f"ablation {number}").sample(BACKGROUNDS, NUM_PHOTOS)
        photos = []
        for seed, place in enumerate(places):
            scene = render(subject, place, FIRST_IDENTITY + number, seed, size=size)
            rows = cols = slice(None)
            if not square:
                y, x = (int(indices.mean()) for indices in scene.mask.nonzero())
                rows, cols = (window(y, size), cols) if (number + seed) % 2 else (rows, window(x, size))
            photos.append((segmenter.encode(scene.image[rows, cols]), scene.mask[rows, cols]))
        (embedding, mask), *rest = photos
        reference = Reference(embedding, np.ascontiguousarray(mask), f"{subject} {number}")
        cases.append(Case(reference, [(given, torch.from_numpy(truth)) for given, truth in rest]))
    return cases


def window(middle: int, size: int) -> slice:
    """Return the short side's pixels, around the subject as far as the photo reaches."""
    length = round(SHORT_SIDE * size)
    start = min(max(0, middle - length // 2), size - length)
    return slice(start, start + length)


def persam_finder(segmenter: Segmenter, reference: Reference, way: Way) -> Finder:
    """Return PerSAM's search with some of its parts."""
    target = persam.fit(segmenter, [reference], compat=way.compat_cells)

    def first_pass(embedding: Embedding) -> tuple[Decoded, torch.Tensor, torch.Tensor]:
        similarity = persam.similarity_map(segmenter, embedding, target.direction)
        guidance = persam.guidance_map(segmenter, embedding, similarity, compat=way.compat_guidance)
        points = [pixel_of(similarity.argmax(), similarity), pixel_of(similarity.argmin(), similarity)]
        coords, labels = torch.stack(points)[: 1 + way.negative], torch.tensor([1, 0])[: 1 + way.negative]
        decoded = segmenter.decode(
            embedding,
            point_coords=coords,
            point_labels=labels,
            multimask_output=way.weights,
            attention_similarity=guidance if way.attention else None,
            target_embedding=target.target_embedding if way.semantic else None,
        )
        return decoded, coords, labels

    weights = torch.ones(1)
    if way.weights:
        # The paper words PerSAM-F as all of PerSAM plus weights; its program leaves most of PerSAM out.
        low_res_logits = first_pass(reference.embedding)[0].low_res_logits
        mask_logits = segmenter.mask_logits(low_res_logits, reference.embedding)
        weights = fit_mask_weights(mask_logits, torch.from_numpy(reference.mask))

    def find(embedding: Embedding) -> tuple[torch.Tensor, torch.Tensor]:
        decoded, coords, labels = first_pass(embedding)
        logits = (weights[:, None, None] * decoded.low_res_logits).sum(dim=0, keepdim=True)
        mask = segmenter.mask_logits(logits, embedding)[0] > 0
        if not way.refine:
            return mask, mask
        box = persam.tight_box(mask) if way.weights and mask.any() else None
        options = {"box": box, "mask_input": logits, "photo_name": "photo", "compat": way.compat_choice}
        return mask, persam.refine(segmenter, embedding, coords, labels, **options).mask

    return find


def both_masks(
    segmenter: Segmenter, embedding: Embedding, found: FoundMask
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first pass's mask, blended where there are weights, and the final one."""
    first = found.passes[0].low_res_logits
    weights = torch.tensor(found.mask_weights or (1.0,))[:, None, None]
    logits = segmenter.mask_logits((weights * first).sum(dim=0, keepdim=True), embedding)
    return logits[0] > 0, found.mask


def fitted_finder(
    segmenter: Segmenter,
    reference: Reference,
    *,
    three: bool = False,
    solver: str = "adamw",
    cells: bool = False,
    choice: bool = False,
) -> Finder:
    """Return PerSAM-F's search, as the authors' program does it, with some of their choices or none."""
    target = persam_f.fit(segmenter, [reference], solver=solver, compat=cells)
    if three:
        similarity = persam.similarity_map(segmenter, reference.embedding, target.direction)
        coords = pixel_of(similarity.argmax(), similarity)[None]
        decoded = segmenter.decode(reference.embedding, point_coords=coords, point_labels=torch.tensor([1]))
        logits = segmenter.mask_logits(decoded.low_res_logits, reference.embedding)
        target = replace(target, mask_weights=three_weights(logits, torch.from_numpy(reference.mask)))
    return lambda embedding: both_masks(
        segmenter, embedding, persam_f.find(segmenter, embedding, target, "photo", compat=choice)
    )


def tuned_finder(segmenter: Segmenter, reference: Reference, kind: str, num_steps: int) -> Finder:
    """Return PerSAM's search with a decoder that was tuned on the reference."""
    changed, _ = tuned(segmenter, reference, kind, num_steps)
    target = persam.fit(changed, [reference])
    return lambda embedding: both_masks(changed, embedding, persam.find(changed, embedding, target, "photo"))


def boxed(segmenter: Segmenter, reference: Reference) -> Reference:
    """Return the reference with the mask that SAM makes of its mask's box, by the single mask token."""
    box = persam.tight_box(torch.from_numpy(reference.mask))
    decoded = segmenter.decode(reference.embedding, box=box, multimask_output=False)
    mask = segmenter.mask_logits(decoded.low_res_logits, reference.embedding)[0] > 0
    return replace(reference, mask=mask.numpy())


def score(cases: list[Case], finder_of: Callable[[Reference], Finder]) -> dict[str, float]:
    """Return IoU in percent and its half-width, of the first and the final mask; failed photos; seconds."""
    started, ious, failed = time.process_time(), [], 0
    for case in cases:
        finder, shared, either = finder_of(case.reference), np.zeros(2), np.zeros(2)
        for embedding, truth in case.photos:
            try:
                masks = finder(embedding)
            except UserError:
                masks, failed = [torch.zeros_like(truth)] * 2, failed + 1
            shared += [int((mask & truth).sum()) for mask in masks]
            either += [int((mask | truth).sum()) for mask in masks]
        ious.append(100 * shared / either)
    means = np.mean(ious, axis=0).round(1)
    half_widths = (1.96 * np.std(ious, axis=0, ddof=1) / len(ious) ** 0.5).round(1)
    return {
        "first": means[0],
        "first_half_width": half_widths[0],
        "final": means[1],
        "final_half_width": half_widths[1],
        "failed": failed,
        "seconds": round(time.process_time() - started, 1),
    }


def part_rows() -> dict[str, Way]:
    """Return the rows of the paper's table 4: each adds a part to the one before."""
    bare = Way(negative=False, refine=False, attention=False, semantic=False)
    return {
        "positive prior": bare,
        "+ negative prior": replace(bare, negative=True),
        "+ refinement": replace(bare, negative=True, refine=True),
        "+ guided attention": replace(bare, negative=True, refine=True, attention=True),
        "+ semantic prompt (PerSAM)": Way(),
        "+ scale weights (as the paper words it)": Way(weights=True),
    }


def compat_rows() -> dict[str, Way]:
    """Return what of the authors' program is put in place of ours, for PerSAM."""
    return {
        "PerSAM, default": Way(),
        "PerSAM, authors' cells": Way(compat_cells=True),
        "PerSAM, authors' guidance": Way(compat_guidance=True),
        "PerSAM, authors' choice of mask": Way(compat_choice=True),
        "PerSAM, --persam_compat": Way(compat_cells=True, compat_guidance=True, compat_choice=True),
    }


def tables(segmenter: Segmenter, num_subjects: int, size: int, num_steps: int) -> dict[str, dict]:
    """Return all tables, by title."""
    square = draw_cases(segmenter, num_subjects, size, square=True)
    oblong = draw_cases(segmenter, num_subjects, size, square=False)

    def by_way(way: Way) -> Callable[[Reference], Finder]:
        return lambda reference: persam_finder(segmenter, reference, way)

    def fitted(**options: str | bool) -> Callable[[Reference], Finder]:
        return lambda reference: fitted_finder(segmenter, reference, **options)

    def by_tuning(kind: str) -> Callable[[Reference], Finder]:
        return lambda reference: tuned_finder(segmenter, reference, kind, num_steps)

    parts = {name: score(square, by_way(way)) for name, way in part_rows().items()}
    parts["PerSAM-F (as the authors' program does it)"] = score(square, fitted())
    numbers = {kind: tuned(segmenter, square[0].reference, kind, 1)[1] for kind in TUNINGS}
    tunings = {"PerSAM, 0 numbers": parts["+ semantic prompt (PerSAM)"]}
    for kind in TUNINGS:
        tunings[f"{kind}, {numbers[kind]:,} numbers"] = score(square, by_tuning(kind))
    tunings["mask weights, 3 numbers"] = score(square, fitted(three=True))
    tunings["PerSAM-F, 2 numbers"] = parts["PerSAM-F (as the authors' program does it)"]
    tunings["PerSAM-F, 2 numbers at the least loss (lbfgs)"] = score(square, fitted(solver="lbfgs"))
    by_box = [Case(boxed(segmenter, case.reference), case.photos) for case in square]
    hints = {
        "PerSAM, mask": parts["+ semantic prompt (PerSAM)"],
        "PerSAM, box": score(by_box, by_way(Way())),
        "PerSAM-F, mask": parts["PerSAM-F (as the authors' program does it)"],
        "PerSAM-F, box": score(by_box, fitted()),
    }
    compat = {name: score(oblong, by_way(way)) for name, way in compat_rows().items()}
    for name, options in {
        "PerSAM-F, default": {"cells": False, "choice": False},
        "PerSAM-F, authors' cells": {"cells": True, "choice": False},
        "PerSAM-F, authors' choice of mask": {"cells": False, "choice": True},
        "PerSAM-F, --persam_compat": {"cells": True, "choice": True},
    }.items():
        compat[name] = score(oblong, fitted(**options))
    return {
        "parts (the paper's table 4)": parts,
        "tunings (table 5)": tunings,
        "hints (table 6)": hints,
        "differences from the authors' program (photos that are not square)": compat,
    }


def main() -> None:
    """Draw the subjects, run every row and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sam", default="toy")
    parser.add_argument("--num_subjects", type=int, default=24)
    parser.add_argument("--photo_size", type=int, default=128, help="pixels")
    parser.add_argument("--tuning_steps", type=int, default=50)
    parser.add_argument("--out", type=Path, help="write the tables as json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.load(args.sam)
    result = tables(segmenter, args.num_subjects, args.photo_size, args.tuning_steps)
    for title, rows in result.items():
        print(f"\n{title}\n| | first pass % | final % | failed | CPU s |\n|---|---|---|---|---|")
        for name, row in rows.items():
            first = f"{row['first']} ± {row['first_half_width']}"
            final = f"{row['final']} ± {row['final_half_width']}"
            print(f"| {name} | {first} | {final} | {row['failed']} | {row['seconds']} |")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
