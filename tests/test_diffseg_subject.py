"""From segments to the subject: windows, words, the rule, and the score of segments without names."""

import itertools

import numpy as np
import pytest
import torch
from diffseg_cases import block_attention
from PIL import Image
from tiny_pipelines import tiny_models

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.diffseg.matching import assignment, match
from persam_dreambooth.masks.diffseg.merging import anchor_distances, anchor_places, merge
from persam_dreambooth.masks.diffseg.nouns import (
    columns_of,
    likeness_map,
    names_of_segments,
    noun_of,
    word_maps,
    words_of,
)
from persam_dreambooth.masks.diffseg.segmentation import Segments
from persam_dreambooth.masks.diffseg.stage import confidence_of, why_left_out
from persam_dreambooth.masks.diffseg.subject import choose, cleaned
from persam_dreambooth.masks.diffseg.windows import Window, cells_inside, square_of, window_of


def scene_labels():
    """Return 60 x 60: wall 0, floor 1, an upper and a lower half of a thing in the middle 2 and 3."""
    labels = np.zeros((60, 60), np.int64)
    labels[40:] = 1
    labels[20:30, 20:40] = 2
    labels[30:45, 20:40] = 3
    return labels


def test_both_halves_of_the_subject_are_taken():
    labels = scene_labels()
    choice = choose(labels, np.isin(labels, (2, 3)).astype(np.float32))
    assert set(choice.chosen) == {2, 3}
    assert np.array_equal(choice.mask, labels >= 2)
    assert choice.contrast > 0.5


def test_without_a_word_the_middle_is_taken_alone():
    labels = scene_labels()
    for likeness in (None, np.full((60, 60), 0.3, np.float32)):
        choice = choose(labels, likeness)
        assert choice.chosen == (2,)
        assert choice.contrast == pytest.approx(0, abs=1e-6)
    # By hand: mean G inside less mean G over the picture, halved; it touches no border.
    offset = (np.arange(60) + 0.5) / 60 - 0.5
    prior = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 0.25**2))
    assert choice.scores[2] == pytest.approx(0.5 * (prior[20:30, 20:40].mean() - prior.mean()))
    assert choice.margin == pytest.approx(choice.scores[2] - choice.scores[3])


def test_the_word_beats_the_middle():
    labels = np.zeros((60, 60), np.int64)
    labels[22:38, 22:38], labels[20:40, 2:18] = 1, 2
    assert choose(labels, None).chosen == (1,)
    assert choose(labels, (labels == 2).astype(np.float32)).chosen == (2,)


def test_specks_and_places_are_no_subjects():
    labels = np.zeros((60, 60), np.int64)
    labels[30:32, 30:32] = 1
    choice = choose(labels)
    assert choice.chosen == ()
    assert choice.scores == {}
    assert not choice.mask.any()
    assert choice.score == -np.inf


def test_what_a_person_picks_is_taken():
    labels = scene_labels()
    assert np.array_equal(choose(labels, picked=frozenset({1})).mask, labels == 1)


def test_it_abstains_where_nothing_stands_out():
    # Two halves of a picture: each is half in the middle and half the border.
    labels = np.repeat([0, 1], 30)[:, None].repeat(60, axis=1)
    choice = choose(labels)
    trust = confidence_of(choice)
    assert why_left_out(choice, trust, 0.2).startswith("no segment stands out (the best one's score -0.25")
    assert why_left_out(choice, trust, 0) is None
    clear = choose(scene_labels())
    told = confidence_of(clear)
    assert told.value > trust.value
    assert why_left_out(clear, told, 0.999).startswith("unsure which segments are the subject (confidence")


def test_a_constant_map_of_a_word_is_no_likeness():
    even = segments_with({16: torch.full((256, 4), 0.25)})
    assert not likeness_map(even, torch.tensor([False, True, False, False]), (20, 20)).any()


def test_holes_are_filled_and_crumbs_are_gone():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:7, 5:7] = False
    mask[18, 18] = True
    found = cleaned(mask)
    assert found[2:12, 2:12].all()
    assert found.sum() == 100
    assert not cleaned(np.zeros((4, 4), bool)).any()


def segments_with(tokens, size=(32, 32), fit="stretch"):
    return Segments(torch.zeros(1, 256), size, fit, "argmax", (0.9,), tokens, 32)


def test_a_word_of_several_tokens_counts_as_the_mean_of_its_columns():
    models = tiny_models()
    whole = columns_of(models, "a photo of a dog", "dog", "--diffseg_noun")
    assert whole.nonzero().flatten().tolist() == [5]
    split = columns_of(models, "a photo of a zebra", "zebra", "--diffseg_noun")
    assert split.sum() == 5
    two = columns_of(models, "a photo of a snow dog in snow", "snow dog", "--diffseg_noun")
    assert two.nonzero().flatten().tolist() == [5, 6]
    tokens = torch.rand(256, 3)
    found = likeness_map(segments_with({16: tokens}), torch.tensor([False, True, True]), (16, 16))
    mean = tokens[:, 1:].mean(dim=1)
    expected = (mean - mean.min()) / (mean.max() - mean.min())
    assert np.allclose(found.ravel(), expected, atol=1e-5)


def test_words_are_read_at_the_two_coarsest_that_are_fine_enough():
    column = torch.tensor([True])
    sides = (64, 32, 16, 8)
    tokens = {side: torch.rand(side * side, 1) for side in sides}
    found = likeness_map(segments_with(tokens), column, (32, 32))
    alone = likeness_map(segments_with({side: tokens[side] for side in (32, 16)}), column, (32, 32))
    assert np.array_equal(found, alone)
    small = likeness_map(segments_with({side: tokens[side] for side in (8,)}), column, (32, 32))
    assert 0 < small.mean() < 1


@pytest.mark.parametrize("voting", ["mean", "majority"])
def test_segments_are_named_by_the_word_they_look_at(voting):
    left = torch.zeros(16, 16)
    left[:, :8] = 1
    tokens = torch.stack([left.flatten(), 1 - left.flatten(), torch.full((256,), 0.5)], dim=1)
    segments = segments_with({16: tokens / tokens.sum(dim=1, keepdim=True)})
    columns = {"cat": torch.tensor([True, False, False]), "rug": torch.tensor([False, True, False])}
    labels = np.repeat([0, 1], 16)[None].repeat(32, axis=0)
    assert names_of_segments(segments, columns, labels, voting) == {0: "cat", 1: "rug"}
    maps = word_maps(segments, list(columns.values()), (32, 32))
    assert np.allclose(np.sqrt((maps**2).sum(axis=(1, 2))), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("class_prompt", "instance_prompt", "identifier", "noun"),
    [
        ("a photo of a cat", "a photo of sks cat", None, "cat"),
        (None, "a photo of sks cat", None, "cat"),
        (None, "a photo of sks teddy bear", "sks", "teddy bear"),
        (None, "a photo of sks teddy bear in the snow", None, "bear"),
        ("a close-up of the red backpack on a chair", "x", None, "red backpack"),
        (None, "sks cat, oil on canvas", None, "cat"),
        (None, "a photo of sks", "sks", None),
        ("a photo", "of the", None, None),
    ],
)
def test_the_prompts_say_what_the_subject_is_called(class_prompt, instance_prompt, identifier, noun):
    assert noun_of(class_prompt, instance_prompt, identifier) == noun


def test_words_of_a_caption():
    assert words_of("A photo of a black cat on the sofa, and a cat-tree behind it.") == [
        *("black", "cat", "sofa", "cat-tree", "it"),
    ]


def test_what_the_square_shows():
    assert window_of((30, 50), "pad") == Window(-10, 0, 50, 50)
    assert window_of((30, 50), "crop") == Window(0, 10, 30, 30)
    assert window_of((30, 50), "stretch") == Window(0, 0, 30, 50)
    pixels = np.arange(30 * 50 * 3, dtype=np.uint32).reshape(30, 50, 3).astype(np.uint8)
    padded = square_of(pixels, "pad", 50)
    assert np.array_equal(padded[10:40], pixels)
    assert (padded[:10] == pixels[0]).all()
    assert (padded[40:] == pixels[-1]).all()
    assert np.array_equal(square_of(pixels, "crop", 30), pixels[:, 10:40])
    small = Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(square_of(pixels, "stretch", 20), np.asarray(small))


def test_anchors_lie_in_the_photo():
    inside = cells_inside((32, 64), "pad", 16, "photo")
    assert inside.sum() == 16 * 8
    assert inside[4:12].all()
    places = anchor_places(8, 16, inside)
    assert inside.flatten()[places].all()
    assert len(places) == 4 * 8
    # A strip that lies between two rows of anchors, and one between two columns.
    strip = cells_inside((8, 64), "pad", 16, "photo")
    found = anchor_places(4, 16, strip)
    assert len(found) == 4
    assert strip.flatten()[found].all()
    assert len(anchor_places(4, 16, strip.T)) == 4
    assert cells_inside((32, 64), "crop", 16, "photo").all()
    # What was added above and below looks at itself: no segment is of it alone.
    regions = torch.where(inside, 1, 0)
    maps = block_attention(regions)
    (only,) = merge(maps, anchor_distances(maps, places), (1.0,) * 3)
    assert only[inside.flatten()].sum() > 0.99
    everywhere = anchor_places(8, 16)
    assert len(merge(maps, anchor_distances(maps, everywhere), (1.0,) * 3)) == 2
    with pytest.raises(UserError, match=r"thin.png: 64 x 3 pixels; in the model's square that is less than"):
        cells_inside((3, 64), "pad", 16, "thin.png")


def test_a_permutation_of_the_labels_is_perfect():
    truth = np.random.default_rng(0).integers(0, 5, (20, 20))
    truth[0, :5] = range(5)
    result = match((3 * truth + 1) % 7, truth)
    assert (result.mean_iou, result.accuracy) == (1.0, 1.0)


def test_one_constant_segment_gets_the_largest_class():
    truth = np.array([[0, 0, 0, 1], [0, 0, 1, -1]])
    result = match(np.zeros_like(truth), truth)
    assert result.accuracy == pytest.approx(5 / 7)
    assert result.mean_iou == pytest.approx((5 / 7 + 0) / 2)


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (4, 2), (4, 4), (5, 3), (3, 5)])
def test_the_assignment_is_the_best_of_all(shape):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    rows, columns = assignment(values)
    assert len(set(rows)) == len(set(columns)) == min(shape)
    wide = values if shape[0] <= shape[1] else values.T
    best = max(
        sum(wide[row, column] for row, column in enumerate(chosen))
        for chosen in itertools.permutations(range(wide.shape[1]), wide.shape[0])
    )
    assert values[rows, columns].sum() == pytest.approx(best)
