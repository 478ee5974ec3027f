"""Confidence: its signs on cases that are known by hand, its range, and the model that joins them."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sam_models import random_segmenter, scene

from persam_dreambooth.masks import confidence as module
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.confidence import (
    SIGNS,
    Factor,
    confidence,
    expected_iou,
    iou,
    reduced,
    stability,
)
from persam_dreambooth.masks.subject import look_for, remember

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import mask_confidence as benchmark


@pytest.fixture(scope="module")
def searched():
    """A random SAM, two photos, and what it found of the first one's disc in the second."""
    segmenter = random_segmenter()
    (first, mask), (second, _) = scene(96, 128), scene(120, 80, seed=1)
    reference = Reference(segmenter.encode(first), mask, "mask", first)
    subject = remember(segmenter, [reference], method="persam")
    embedding = segmenter.encode(second)
    return segmenter, second, embedding, look_for(segmenter, embedding, subject, "photo"), subject


def test_iou_of_masks():
    first, second = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    assert iou(first, second) == 0
    first[:, :2], second[:, 1:3] = True, True
    assert iou(first, second) == pytest.approx(4 / 12)
    assert iou(first, first) == 1


def test_stability_is_the_iou_at_two_thresholds():
    # Above 1: one pixel of four that are above -1.
    assert stability(torch.tensor([[2.0, 0.5, -0.5, 0.9, -3.0]])) == pytest.approx(1 / 4)
    assert stability(torch.tensor([[5.0, -5.0]])) == 1


def test_the_model_is_a_logistic_one(monkeypatch):
    monkeypatch.setattr(module, "QUALITY", Factor(math.log(3), {"flip": 2.0, "scales": 0.0}))
    monkeypatch.setattr(module, "IDENTITY", Factor(math.log(9), {"margin": 1.0}))
    parts = dict.fromkeys(SIGNS, 0.0) | {"flip": 1.0, "margin": 1.0}
    # Odds of 3 : 1 and of 9 : 1.
    assert expected_iou(parts) == pytest.approx(3 / 4 * 9 / 10, abs=1e-4)
    # A sign of a half takes a quarter of the odds at weight 2, and half of them at weight 1.
    assert expected_iou(parts | {"flip": 0.5}) == pytest.approx(3 / 7 * 9 / 10, abs=1e-4)
    assert expected_iou(parts | {"margin": 0.0}) == pytest.approx(3 / 4 * 9 / 11, abs=1e-4)
    # Nothing is quite impossible.
    assert expected_iou(parts | {"flip": 0.0}) == expected_iou(parts | {"flip": 0.02}) > 0


def test_no_sign_of_trust_lowers_the_confidence():
    assert all(
        weight >= 0 for factor in (module.QUALITY, module.IDENTITY) for weight in factor.weights.values()
    )
    assert len(set(SIGNS)) == len(SIGNS) == 8


def test_every_sign_is_there_and_in_range(searched):
    found = confidence(*searched)
    assert list(found.parts) == list(SIGNS)
    assert found.value == expected_iou(found.parts)
    assert all(0 <= value <= 1 for name, value in found.parts.items() if name != "margin")
    assert -1 <= found.parts["margin"] <= 1


@pytest.mark.parametrize("method", ["persam", "persam_f"])
def test_the_cycle_goes_back_to_the_reference(method):
    segmenter = random_segmenter()
    pixels, mask = scene(96, 128)
    embedding = segmenter.encode(pixels)
    subject = remember(segmenter, [Reference(embedding, mask, "mask", pixels)], method=method, solver="lbfgs")
    if method == "persam_f":
        # Its direction mixes in the maximum, a cycle's does not.
        target = replace(subject.target, direction=subject.target.target_embedding)
        subject = replace(
            subject, target=replace(target, direction=target.direction / target.direction.norm())
        )
    found = look_for(segmenter, embedding, subject, "photo")
    # As if the search had found just the reference's mask: asked from there, the answer is the same as
    # before.
    perfect = replace(found, mask=torch.from_numpy(mask))
    parts = confidence(segmenter, pixels, embedding, perfect, subject).parts
    assert parts["cycle"] == pytest.approx(iou(found.mask, torch.from_numpy(mask)), abs=1e-4)
    # A mask without a cell of its own leads nowhere.
    nothing = replace(found, mask=torch.zeros_like(found.mask))
    of_nothing = confidence(segmenter, pixels, embedding, nothing, subject).parts
    assert of_nothing["cycle"] == of_nothing["colour"] == 0


def test_colours_are_those_of_the_mask_and_of_the_nearest_reference(searched):
    segmenter, pixels, embedding, found, subject = searched
    own = replace(found, mask=torch.from_numpy(scene(120, 80, seed=1)[1]))
    disc = confidence(segmenter, pixels, embedding, own, subject).parts["colour"]
    around = replace(found, mask=~own.mask)
    noise = confidence(segmenter, pixels, embedding, around, subject).parts["colour"]
    assert disc > 0.8
    assert noise < 0.2
    other = replace(subject.references[0], mask=~subject.references[0].mask)
    both = replace(subject, references=(other, *subject.references))
    assert confidence(segmenter, pixels, embedding, own, both).parts["colour"] == disc
    alone = replace(subject, references=(other,))
    assert confidence(segmenter, pixels, embedding, own, alone).parts["colour"] < 0.2


def test_a_symmetric_photo_agrees_with_its_mirror_image(searched):
    segmenter, _, _, _, subject = searched
    half = scene(96, 64, seed=2)[0]
    pixels = np.concatenate([half, half[:, ::-1]], axis=1)
    embedding = segmenter.encode(pixels)
    found = look_for(segmenter, embedding, subject, "photo")
    # The mirrored photo is the photo, so that what is found there is the same mask, and its mirror image is
    # not.
    mask = found.mask
    parts = confidence(segmenter, pixels, embedding, found, subject).parts
    assert parts["flip"] == pytest.approx(iou(mask, mask.flip(1)), abs=0.05)


def test_three_equal_masks_agree(searched):
    segmenter, pixels, embedding, found, subject = searched
    last = found.passes[-1]
    one = last.low_res_logits[last.chosen][None].expand(3, -1, -1)
    same = replace(found, passes=(*found.passes[:-1], replace(last, low_res_logits=one)))
    assert confidence(segmenter, pixels, embedding, same, subject).parts["scales"] == 1


def test_large_photos_are_judged_on_small_maps(searched):
    embedding = replace(searched[2], size=(3000, 4000))
    assert reduced(embedding).size == (192, 256)
    assert reduced(replace(embedding, size=(1, 900))).size == (1, 256)


def test_the_fit_finds_the_model_that_made_the_data():
    rng = np.random.default_rng(0)
    truth = Factor(2.0, {"flip": 1.5, "scales": 0.5, "stability": 0.0})
    cases = []
    for _ in range(4000):
        parts = {name: float(rng.uniform(0.1, 1)) for name in SIGNS}
        mean = truth(parts)
        cases.append(benchmark.Case("persam", parts, mean, shown=True))
    found = benchmark.fit(cases, list(truth.weights), [case.iou for case in cases], ridge=1e-6)
    assert found.bias == pytest.approx(2, abs=0.02)
    assert found.weights == pytest.approx({"flip": 1.5, "scales": 0.5, "stability": 0}, abs=0.02)


def test_a_sign_that_would_count_against_trust_is_left_out_of_the_fit():
    rng = np.random.default_rng(0)
    cases, ious = [], []
    for _ in range(500):
        parts = {name: float(rng.uniform(0.1, 1)) for name in SIGNS}
        cases.append(benchmark.Case("persam", parts, 0.0, shown=True))
        ious.append(0.9 * parts["cycle"] * (1 - 0.5 * parts["colour"]))
    found = benchmark.fit(cases, ["cycle", "colour"], ious)
    assert found.weights["colour"] == 0
    assert found.weights["cycle"] > 0.5


def test_error_caught_and_order():
    ious = np.array([0.9, 0.1, 0.8, 1.0])
    assert benchmark.caught(np.array([0.5, 0.2, 0.6, 0.9]), ious, 0.25) == pytest.approx(0.9 / 1.2)
    assert benchmark.caught(np.array([0.1, 0.2, 0.6, 0.9]), ious, 0.25) == pytest.approx(0.1 / 1.2)
    assert benchmark.order(ious, ious) == pytest.approx(1)
    assert benchmark.order(-ious, ious) == pytest.approx(-1)
