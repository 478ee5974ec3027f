"""The judge of toy pictures: what it tells apart, for pictures of any size and number."""

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from persam_dreambooth.toyworld.backgrounds import BACKGROUNDS
from persam_dreambooth.toyworld.classifier import HEADS, Classifier, judge, load_classifier
from persam_dreambooth.toyworld.scene import render
from persam_dreambooth.toyworld.subjects import SUBJECTS
from persam_dreambooth.toyworld.subjects.traits import TRAITS, traits_of
from persam_dreambooth.toyworld.training.classifier import (
    MAX_SHIFT,
    NO_TRAIT,
    batch,
    labels_of,
    losses,
    roughen,
)
from persam_dreambooth.toyworld.training.data import Shards, small_pixel_values


def random_judge(seed=0):
    torch.manual_seed(seed)
    return Classifier(widths=(4, 6, 8)).eval()


def noise(number, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, height, width, 3), dtype=np.uint8)


def test_the_heads_cover_the_world():
    assert HEADS["subject"] == (*SUBJECTS, "nothing")
    assert HEADS["background"] == BACKGROUNDS
    assert set(HEADS) == {"subject", "background", *TRAITS}
    for subject in SUBJECTS:
        for number in range(40):
            assert all(name in HEADS[trait] for trait, name in traits_of(subject, number).items())


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (256, 256), (100, 60)])
def test_probabilities_of_pictures_of_any_size(size):
    judgement = judge(random_judge(), noise(3, *size))
    assert set(judgement.probabilities) == set(HEADS)
    for name, classes in HEADS.items():
        probabilities = judgement.probabilities[name]
        assert probabilities.shape == (3, len(classes))
        assert (probabilities >= 0).all()
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_names_and_probabilities_agree():
    judgement = judge(random_judge(), noise(4, 64, 64))
    likeliest = judgement.names("background")
    for row, name in enumerate(likeliest):
        probabilities = judgement.probabilities["background"][row]
        assert judgement.of("background", name)[row] == probabilities.max()


def test_the_batch_size_changes_nothing():
    pictures = noise(5, 64, 64)
    whole, parts = (judge(random_judge(), pictures, batch_size=size) for size in (64, 2))
    for name in HEADS:
        np.testing.assert_allclose(whole.probabilities[name], parts.probabilities[name], atol=1e-6)


def test_larger_pictures_are_averaged():
    small = noise(2, 64, 64)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    one, two = (judge(random_judge(), pictures) for pictures in (small, large))
    np.testing.assert_allclose(one.probabilities["subject"], two.probabilities["subject"], atol=1e-6)


def test_labels_are_the_truth_of_a_scene():
    scene = render("teapot", "desert", identity=12, seed=1, size=32)
    record = {"subject": "teapot", "background": "desert", "identity": 12}
    named = {head: HEADS[head][k] for head, k in zip(HEADS, labels_of(record), strict=True)}
    assert named == {"subject": scene.subject, "background": scene.background, **traits_of("teapot", 12)}


def test_traits_of_an_empty_place_count_in_no_loss():
    labels = labels_of({"subject": None, "background": "night", "identity": 3})
    assert HEADS["subject"][labels[0]] == "nothing"
    assert labels[2:] == [NO_TRAIT] * len(TRAITS)
    full = labels_of({"subject": "cat", "background": "night", "identity": 3})
    classifier, pictures = random_judge(), torch.randn(2, 3, 64, 64)
    both = losses(classifier, pictures, torch.tensor([full, labels]))
    alone = losses(classifier, pictures[:1], torch.tensor([full]))
    for trait in TRAITS:
        torch.testing.assert_close(both[trait], alone[trait])


def test_the_loss_is_the_sum_over_the_heads():
    labels = torch.tensor([labels_of({"subject": "cat", "background": "night", "identity": 3})])
    terms = losses(random_judge(), torch.randn(1, 3, 64, 64), labels)
    torch.testing.assert_close(terms["loss"], sum(terms[name] for name in HEADS))


def test_roughened_pictures_stay_pictures_and_follow_from_the_generator():
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    one, two = (roughen(pictures, None, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.abs().max() <= 1
    assert 0.01 < (one - pictures).abs().mean() < 0.5


def test_a_saved_judge_judges_the_same(tmp_path):
    torch.manual_seed(1)
    classifier = Classifier().half().float().eval()
    weights = {k: v.half() for k, v in classifier.state_dict().items() if v.is_floating_point()}
    save_file(weights, tmp_path / "model.safetensors")
    pictures = noise(2, 64, 64)
    one, two = (judge(each, pictures) for each in (classifier, load_classifier(tmp_path)))
    for name in HEADS:
        np.testing.assert_array_equal(one.probabilities[name], two.probabilities[name])


def shifts_between(picture, source):
    """By how many pixels a picture was moved, and whether it is mirrored; compared away from its edges."""
    shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
    cases = itertools.product(shifts, shifts, (False, True))
    inner = {
        mirrored: (picture.flip(-1) if mirrored else picture)[..., 8:-8, 8:-8] for mirrored in (False, True)
    }
    return [
        (down, right, mirrored)
        for down, right, mirrored in cases
        if torch.equal(inner[mirrored], source[..., 8 + down : 56 + down, 8 + right : 56 + right])
    ]


def test_batches_are_moved_a_little_and_follow_from_the_step():
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    shards = Shards(images, images[..., 0], [{}] * 3)
    whole, labels = small_pixel_values(images), torch.arange(3)[:, None]
    moves = set()
    for step in range(12):
        pixel_values, wanted = batch(shards, labels, step, 2)
        assert torch.equal(pixel_values, batch(shards, labels, step, 2)[0])
        found = shifts_between(pixel_values, whole[wanted[:, 0]])
        assert len(found) == 1
        moves.update(found)
    assert len(moves) > 8
    assert {mirrored for *_, mirrored in moves} == {False, True}
