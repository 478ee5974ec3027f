"""Views, frames and prompts: what is mirrored together stays together, and strong views move nothing."""

import numpy as np
import pytest
import torch
from sam_families import RANDOM_MODELS
from sam_models import random_sam, scene

from persam_dreambooth.sam.adaptation.augmentations import draw_flips, flipped, strong_view, view_rng
from persam_dreambooth.sam.adaptation.consistency import box_iou, consistency, mean_consistency
from persam_dreambooth.sam.adaptation.frames import frame_of, mask_prompt, pixel_values, to_photo, to_square
from persam_dreambooth.sam.adaptation.prompts import (
    Prompt,
    decoder_prompts,
    flipped_prompt,
    jittered,
    mask_box,
)
from persam_dreambooth.sam.adaptation.views import photos_of_step
from persam_dreambooth.sam.families import family_of

FLIPS = [(False, False), (True, False), (False, True), (True, True)]
FAMILY = family_of(random_sam())
CPU = torch.device("cpu")


@pytest.mark.parametrize("flips", FLIPS)
def test_prompts_are_mirrored_with_the_mask(flips):
    _, mask = scene(60, 90)
    mirrored = flipped(mask, flips)
    assert flipped_prompt(Prompt(box=mask_box(mask)), mask.shape, flips).box == mask_box(mirrored)
    assert np.array_equal(flipped_prompt(Prompt(mask=mask), mask.shape, flips).mask, mirrored)
    rows, columns = mask.nonzero()
    points = np.stack([columns, rows], axis=1)[::40]
    moved = flipped_prompt(Prompt(points=points, labels=np.ones(len(points))), mask.shape, flips).points
    assert mirrored[tuple(moved.astype(int).T[::-1])].all()
    twice = flipped_prompt(Prompt(points=moved, labels=None), mask.shape, flips).points
    assert np.array_equal(twice, points)


@pytest.mark.parametrize("directions", ["", "h", "v", "hv"])
def test_photos_are_mirrored_as_allowed_and_half_of_the_time(directions):
    drawn = np.array([draw_flips(view_rng(0, step, 0), directions) for step in range(400)])
    for column, letter in enumerate("hv"):
        share = drawn[:, column].mean()
        assert (0.4 < share < 0.6) if letter in directions else share == 0


def test_a_view_is_the_same_whenever_it_is_drawn_and_others_are_others():
    pixels, _ = scene(40, 50)
    views = [strong_view(pixels, view_rng(*key), 1.0) for key in [(0, 3, 1), (0, 3, 1), (0, 4, 1), (0, 3, 2)]]
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    assert not np.array_equal(views[0], views[3])


def test_a_strong_view_changes_tones_and_moves_nothing():
    # A step edge stays where it is, whatever is done to its two sides.
    pixels = np.full((64, 64, 3), 60, np.uint8)
    pixels[:, 32:] = 190
    for step in range(60):
        view = strong_view(pixels, view_rng(0, step, 0)).astype(int)[:28]
        assert view.shape == (28, 64, 3)
        sides = [view[:, :30].reshape(-1, 3), view[:, 34:].reshape(-1, 3)]
        # Above the shadows, each side is of one colour, but for what equalizing makes of one.
        assert all(len(np.unique(side, axis=0)) == 1 for side in sides)
    assert np.array_equal(strong_view(pixels, view_rng(0, 0, 0), probability=0), pixels)


def test_shadows_fall_into_the_lower_half():
    white = np.full((64, 64, 3), 120, np.uint8)
    changed = [strong_view(white, view_rng(1, step, 0)) for step in range(40)]
    dark = [view for view in changed if len(np.unique(view)) > 1]
    assert dark
    assert all(len(np.unique(view[:31])) == 1 for view in dark)


def test_every_photo_is_seen_once_in_a_pass_in_changing_order():
    steps = [photos_of_step(7, step, 2, 5) for step in range(10)]
    seen = [photo for step in steps for photo in step]
    passes = [seen[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert photos_of_step(7, 3, 2, 5) == steps[3]


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (300, 300)])
def test_the_authors_frame_centres_the_photo(size):
    # As ResizeAndPad of their program: longest side to 1024, half of the rest on each side, rounded down.
    frame = frame_of(FAMILY, size, 1024, "wesam")
    height, width = frame.input_size
    assert max(height, width) == 1024
    assert frame.offset == ((1024 - height) // 2, (1024 - width) // 2)
    (corner,) = to_square(np.array([[size[1], size[0]]], dtype=float), frame)
    assert corner.tolist() == [frame.offset[1] + width, frame.offset[0] + height]
    assert frame_of(FAMILY, size, 1024, "sam").offset == (0, 0)


def test_the_authors_input_is_0_to_1_and_0_around():
    pixels, _ = scene(60, 128)
    values = pixel_values(FAMILY, pixels, frame_of(FAMILY, (60, 128), 128, "wesam"), "wesam")[0]
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    assert torch.equal(values[:, 34:94], expected)
    assert not values[:, :34].any()
    assert not values[:, 94:].any()
    ours = pixel_values(FAMILY, pixels, frame_of(FAMILY, (60, 128), 128, "sam"), "sam")
    assert torch.equal(ours, FAMILY.preprocess(pixels, 128))


@pytest.mark.parametrize("way", ["sam", "wesam"])
def test_a_mask_goes_to_the_square_and_back(way):
    _, mask = scene(60, 120)
    frame = frame_of(FAMILY, mask.shape, 128, way)
    logits = mask_prompt(mask, frame, 64)
    assert logits.shape == (1, 64, 64)
    assert logits.min() == -10
    assert logits.max() == 10
    back = (to_photo(logits, frame)[0] > 0).numpy()
    assert (back & mask).sum() / (back | mask).sum() > 0.93


def test_prompts_of_one_shape_are_one_call_and_masks_are_apart():
    frame = frame_of(FAMILY, (64, 128), 128, "sam")
    boxes = [Prompt(box=(0.0, 1.0, 20.0, 30.0)), Prompt(box=(5.0, 5.0, 9.0, 9.0))]
    (call,) = decoder_prompts(boxes, frame, 64, "mask", CPU)
    assert call["input_boxes"].tolist() == [[[0, 1, 20, 30], [5, 5, 9, 9]]]
    coarse = [Prompt(mask=scene(64, 128, seed)[1]) for seed in range(2)]
    assert [sorted(call) for call in decoder_prompts(coarse, frame, 64, "mask", CPU)] == [
        ["input_boxes", "input_masks"]
    ] * 2
    (call,) = decoder_prompts(coarse, frame, 64, "box", CPU)
    assert call["input_boxes"].shape == (1, 2, 4)
    points = [Prompt(points=np.zeros((n, 2)), labels=np.ones(n)) for n in (1, 2)]
    assert [call["input_points"].shape[2] for call in decoder_prompts(points, frame, 64, "mask", CPU)] == [
        1,
        2,
    ]


def test_points_move_a_little_and_stay_inside():
    points = Prompt(points=np.array([[0.0, 0.0], [99.0, 49.0], [50.0, 25.0]]), labels=np.array([1, 1, 0]))
    moved = [jittered(points, (50, 100), 0.02, np.random.default_rng(i)).points for i in range(50)]
    assert np.abs(np.array(moved) - points.points).max() <= 2
    assert np.abs(np.array(moved)[:, 2] - points.points[2]).max() > 1
    assert np.array(moved).min() >= 0
    assert (np.array(moved) <= [99, 49]).all()
    box = Prompt(box=(1.0, 2.0, 3.0, 4.0))
    assert jittered(box, (50, 100), 0.02, np.random.default_rng(0)) is box


def test_consistency_by_hand():
    mask = np.zeros((10, 10), bool)
    mask[2:4, 2:6] = True
    # Its box is 4 x 2; the label's 4 x 4 holds it.
    assert consistency(mask, Prompt(box=(2.0, 2.0, 5.0, 5.0))) == 0.5
    assert consistency(np.zeros_like(mask), Prompt(box=(2.0, 2.0, 5.0, 5.0))) == 0
    points = Prompt(
        points=np.array([[2.2, 2.4], [5.0, 3.0], [8.0, 8.0], [0.0, 0.0]]), labels=np.array([1, 0, 0, 1])
    )
    assert consistency(mask, points) == 0.5
    coarse = np.zeros((10, 10), bool)
    coarse[2:4, 4:8] = True
    assert consistency(mask, Prompt(mask=coarse)) == pytest.approx(4 / 12)
    assert mean_consistency(np.stack([mask, mask]), [points, Prompt(mask=mask)]) == 0.75
    assert box_iou((0, 0, 1, 1), (1, 1, 2, 2)) == pytest.approx(1 / 7)
    assert box_iou((0, 0, 1, 1), (5, 5, 6, 6)) == 0


@pytest.mark.parametrize("name", ["sam2", "sam3_tracker"])
def test_models_that_squeeze_have_no_margin(name):
    family = family_of(RANDOM_MODELS[name]())
    frame = frame_of(family, (30, 90), 112, "wesam")
    assert (frame.input_size, frame.offset) == ((112, 112), (0, 0))
    pixels, _ = scene(32, 96)
    values = pixel_values(family, pixels, frame_of(family, (32, 96), 112, "wesam"), "wesam")
    assert values.min() >= 0
    assert values.max() <= 1
