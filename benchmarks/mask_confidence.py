"""Is the confidence of a mask worth its name? Toy-world albums whose true masks are known.

    python benchmarks/mask_confidence.py              # judge the numbers in masks/confidence.py
    python benchmarks/mask_confidence.py --fit        # fit them again, judge the new ones, print lines to
    paste

Prints, on albums that no fit saw: the reliability curve (mean IoU of masks whose confidence lies in a tenth),
the error (1 - IoU) that is caught when the 5 % least confident masks are rejected, how well each sign alone
and confidence without it order the masks, what a threshold leaves out, and what a second pass with the
confident photos as further references gains.

An album (confidence_albums.py) is one individual: a reference with its true mask; four photos of it at other
places, of which one shows another individual behind it and one is dark, blurred and noisy; and a photo of the
other individual alone, whose right answer is "not in this photo" and whose IoU is 0.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from confidence_albums import PHOTOS, scenes_of

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import confidence as model
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.subject import METHODS, Subject, look_for, remember
from persam_dreambooth.sam.segmenter import Embedding, Segmenter
from persam_dreambooth.toyworld.scene import Scene

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
BANK_CONFIDENCE, UNSURE = 0.6, 0.5
"""From where on a photo joins the references, and up to where one is done again."""


@dataclass(frozen=True)
class Case:
    """One photo that was searched: the signs of trust, and the truth."""

    method: str
    parts: dict[str, float]
    iou: float
    shown: bool
    """Whether the subject is in the photo at all."""
    second_iou: float | None = None
    """Its IoU after the second pass, where it was done again and believed more than before."""

    @property
    def value(self) -> float:
        """The confidence."""
        return model.expected_iou(self.parts)


def search(segmenter: Segmenter, album: int, method: str) -> list[Case]:
    """Return what was found in an album, once the confident photos have had their say too."""
    scenes = scenes_of(album)
    embeddings = [segmenter.encode(scene.image) for scene in scenes]
    given = Reference(embeddings[0], scenes[0].mask, f"album {album}", scenes[0].image)
    subject = remember(segmenter, [given], method=method)
    first = [
        _case(segmenter, scene, embedding, subject, shown=number < PHOTOS)
        for number, (scene, embedding) in enumerate(zip(scenes[1:], embeddings[1:], strict=True), start=1)
    ]
    sure = [
        Reference(embedding, mask, "a confident photo", scene.image)
        for scene, embedding, (case, mask) in zip(scenes[1:], embeddings[1:], first, strict=True)
        if case is not None and case.value >= BANK_CONFIDENCE
    ]
    if not sure:
        return [case for case, _ in first if case is not None]
    richer = remember(segmenter, [given, *sure], method=method)
    cases = []
    for number, (case, _) in enumerate(first, start=1):
        if case is None or case.value >= UNSURE:
            cases.append(case)
            continue
        again, _ = _case(segmenter, scenes[number], embeddings[number], richer, shown=case.shown)
        better = again if again is not None and again.value > case.value else case
        cases.append(Case(case.method, case.parts, case.iou, case.shown, better.iou))
    return [case for case in cases if case is not None]


def _case(
    segmenter: Segmenter, scene: Scene, embedding: Embedding, subject: Subject, *, shown: bool
) -> tuple[Case | None, np.ndarray | None]:
    """Return what was found in one photo, and its mask; Nones where SAM had none."""
    try:
        found = look_for(segmenter, embedding, subject, "photo")
    except UserError:
        return None, None
    trust = model.confidence(segmenter, scene.image, embedding, found, subject)
    truth = torch.from_numpy(scene.mask)
    measured = model.iou(found.mask.cpu(), truth) if shown else 0.0
    return Case(subject.method, trust.parts, measured, shown), found.mask.cpu().numpy()


def fit(
    cases: Sequence[Case], names: Sequence[str], goals: Sequence[float], ridge: float = 1.0
) -> model.Factor:
    """Return the logistic model on some signs whose mean log loss against the goals is least.

    Newton's method; the weights, not the bias, are held small by `ridge` (as of so many photos). Signs whose
    weight would be negative are left out, the most negative first: they keep a weight of 0.
    """
    used = list(names)
    while True:
        x = np.array([[1.0, *(model.log_sign(name, case.parts[name]) for name in used)] for case in cases])
        beta = _newton(x, np.array(goals), ridge * np.diag([0.0] + [1.0] * len(used)))
        if len(used) == 0 or beta[1:].min() >= 0:
            break
        used.pop(int(beta[1:].argmin()))
    found = dict(zip(used, beta[1:], strict=True))
    weights = {name: round(float(found.get(name, 0.0)), 2) for name in names}
    return model.Factor(round(float(beta[0]), 2), weights)


def _newton(x: np.ndarray, y: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Return the coefficients of the logistic regression of y on x."""
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        slope = x.T @ (p - y) + penalty @ beta
        beta -= np.linalg.solve((x.T * (p * (1 - p))) @ x + penalty, slope)
    return beta


def fit_both(cases: Sequence[Case]) -> tuple[model.Factor, model.Factor]:
    """Return the factors: whether it is the subject, from all masks; its IoU, from those of the subject."""
    is_subject = [float(case.iou >= 0.5) for case in cases]
    identity = fit(cases, list(model.IDENTITY.weights), is_subject)
    right = [case for case in cases if case.iou >= 0.5]
    return identity, fit(right, list(model.QUALITY.weights), [case.iou for case in right])


def judge(cases: Sequence[Case]) -> dict[str, object]:
    """Return how good the confidence is on these photos."""
    value = np.array([case.value for case in cases])
    iou = np.array([case.iou for case in cases])
    shown = np.array([case.shown for case in cases])
    bins = np.minimum((value * 10).astype(int), 9)
    again = [case for case in cases if case.second_iou is not None]
    return {
        "photos": len(cases),
        "mean_iou_where_shown": float(iou[shown].mean()),
        "mean_gap": float(
            sum(abs(value[bins == k].mean() - iou[bins == k].mean()) * (bins == k).mean() for k in set(bins))
        ),
        "reliability": [
            {
                "bin": f"{k / 10:.1f}-{(k + 1) / 10:.1f}",
                "photos": int((bins == k).sum()),
                "confidence": float(value[bins == k].mean()),
                "iou": float(iou[bins == k].mean()),
            }
            for k in sorted(set(bins.tolist()))
        ],
        "error_caught": {
            f"{share:.0%}": {
                "confidence": caught(value, iou, share),
                "best_possible": caught(iou, iou, share),
            }
            for share in (0.05, 0.1, 0.2)
        },
        "order": {
            name: {
                "alone": order(np.array([case.parts[name] for case in cases]), iou),
                "without_it": order(np.array([_without(case, name) for case in cases]), iou),
            }
            for name in model.SIGNS
        }
        | {"confidence": order(value, iou)},
        "left_out": {
            threshold: {
                "wrong": float((value[iou < 0.5] < threshold).mean()) if (iou < 0.5).any() else None,
                "right": float((value[iou >= 0.5] < threshold).mean()),
            }
            for threshold in THRESHOLDS
        },
        "second_pass": {
            "photos": len(again),
            "iou_before": float(np.mean([case.iou for case in again])) if again else None,
            "iou_after": float(np.mean([case.second_iou for case in again])) if again else None,
        },
    }


def caught(value: np.ndarray, iou: np.ndarray, share: float) -> float:
    """Return the share of all error (1 - IoU) that lies in the masks of least value."""
    worst = np.argsort(value, kind="stable")[: max(1, round(share * len(value)))]
    return float((1 - iou)[worst].sum() / (1 - iou).sum())


def order(value: np.ndarray, iou: np.ndarray) -> float:
    """Return Spearman's rank correlation."""
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (value, iou)]
    return float(np.corrcoef(*ranks)[0, 1])


def _without(case: Case, name: str) -> float:
    """Return a case's confidence as if a sign were 1 everywhere."""
    return model.expected_iou(case.parts | {name: 1.0})


def show(result: dict) -> None:
    """Print the tables."""
    print(
        f"{result['photos']} photos; mean IoU where the subject is shown {result['mean_iou_where_shown']:.3f}"
    )
    print("\nconfidence   photos   mean confidence   mean IoU")
    for row in result["reliability"]:
        print(f"{row['bin']:>10} {row['photos']:8d} {row['confidence']:17.3f} {row['iou']:10.3f}")
    print(f"mean gap between the two: {result['mean_gap']:.3f}")
    for share, row in result["error_caught"].items():
        print(
            f"error caught when {share} are rejected: {row['confidence']:.1%}"
            f" (knowing the truth: {row['best_possible']:.1%})"
        )
    print("\nrank correlation with the IoU      alone   without it")
    for name, row in result["order"].items():
        alone, without = (row, None) if isinstance(row, float) else (row["alone"], row["without_it"])
        print(f"{name:30} {alone:9.3f}" + ("" if without is None else f" {without:12.3f}"))
    print("\nthreshold   wrong masks (IoU < 0.5) left out   right ones left out")
    for threshold, row in result["left_out"].items():
        wrong = "-" if row["wrong"] is None else f"{row['wrong']:.1%}"
        print(f"{threshold:9} {wrong:>36} {row['right']:>21.1%}")
    again = result["second_pass"]
    if again["photos"]:
        print(
            f"\nsecond pass with the confident photos: {again['photos']} unsure ones, "
            f"mean IoU {again['iou_before']:.3f} -> {again['iou_after']:.3f}"
        )


def main() -> None:
    """Search the albums, fit if asked to, and print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sam", default="toy")
    parser.add_argument("--num_albums", type=int, default=16, help="to judge on")
    parser.add_argument("--fit", action="store_true", help="fit on as many other albums first")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.load(args.sam)
    if args.fit:
        cases = [
            case
            for album in range(1000, 1000 + args.num_albums)
            for method in METHODS
            for case in search(segmenter, album, method)
        ]
        model.IDENTITY, model.QUALITY = fit_both(cases)
        print(f"for masks/confidence.py, fitted on {len(cases)} photos:\n")
        print(f"IDENTITY = {model.IDENTITY}\nQUALITY = {model.QUALITY}\n")
    cases = [
        case
        for album in range(args.num_albums)
        for method in METHODS
        for case in search(segmenter, album, method)
    ]
    result = judge(cases)
    show(result)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(
            json.dumps(
                {"identity": asdict(model.IDENTITY), "quality": asdict(model.QUALITY), **result}, indent=1
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
