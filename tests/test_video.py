"""Videos: boxes, areas, labels and cells by hand, objects that keep their numbers, and an object followed."""

import numpy as np
import pytest
import torch
from sam_models import constant_segmenter, random_sam, random_segmenter, relative_difference, scene
from video_cases import FRAME, clip

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.clip import Frame
from persam_dreambooth.masks.mask_fit import fit_mask_weights
from persam_dreambooth.masks.sighting import (
    AUTHORS_FIT,
    PRESENCE_THRESHOLD,
    find,
    fit,
    largest,
    likeness,
    nearest_cells,
    widened,
)
from persam_dreambooth.masks.video import given_labels, label_map, next_boxes, track
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.toyworld.scene import render


def references(segmenter, frame, masks):
    embedding = segmenter.encode(frame.pixels)
    return {number: Reference(embedding, mask, "mask") for number, mask in enumerate(masks, start=1)}


@pytest.mark.parametrize(
    ("box", "fixed", "authors"),
    [
        ((100, 200, 300, 400), (90, 190, 310, 410), (90, 190, 310, 410)),
        ((0, 0, 639, 479), (0, 0, 639, 479), (0, 0, 640, 480)),
        ((5, 3, 20, 30), (0, 0, 30, 40), (0, 0, 30, 40)),
        ((600, 475, 635, 478), (590, 465, 639, 479), (590, 465, 640, 480)),
    ],
)
def test_a_box_is_widened_inside_the_frame(box, fixed, authors):
    assert widened(torch.tensor(box).float(), (480, 640)).tolist() == list(fixed)
    assert widened(torch.tensor(box).float(), (480, 640), compat=True).tolist() == list(authors)


def test_the_margin_grows_with_large_frames():
    box = torch.tensor([50.0, 50.0, 60.0, 60.0])
    assert widened(box, (96, 128)).tolist() == [40, 40, 70, 70]
    assert widened(box, (960, 1280)).tolist() == [30, 30, 80, 80]
    assert widened(box, (960, 1280), compat=True).tolist() == [40, 40, 70, 70]


def test_the_largest_mask_is_the_largest():
    assert largest([100, 400, 4096], 10_000) == 2
    assert largest([100, 400, 4096], 10_000, compat=True) == 1  # 100, 144 and 0 modulo 256
    assert largest([100, 400, 10_000], 10_000) == 1
    assert largest([0, 10_000], 10_000) is None


def test_pixels_go_to_the_highest_logit_above_0():
    logits = {
        4: torch.tensor([[-1.0, 2.0, 1.0, 3.0]]),
        2: torch.tensor([[-2.0, 1.0, 1.0, 4.0]]),
    }
    assert label_map(logits, (1, 4)).tolist() == [[0, 4, 4, 2]]
    assert label_map({}, (1, 2)).tolist() == [[0, 0]]


def test_objects_keep_their_numbers_when_one_vanishes():
    boxes = {number: torch.tensor([10.0 * number, 0, 10 * number + 5, 5]) for number in (1, 2, 3)}
    labels = np.zeros((20, 60), np.uint8)
    labels[3:5, 7:10], labels[8:9, 40:50] = 1, 3
    after = next_boxes(labels, boxes, [1, 2, 3])
    assert {number: box.tolist() for number, box in after.items()} == {
        1: [7, 3, 9, 4],
        2: [20, 0, 25, 5],
        3: [40, 8, 49, 8],
    }
    # The authors give the third object's place to the second, and stop looking for the third.
    after = next_boxes(labels, boxes, [1, 2, 3], compat=True)
    assert {number: box.tolist() for number, box in after.items()} == {1: [7, 3, 9, 4], 2: [40, 8, 49, 8]}


@pytest.mark.parametrize(("pixels", "is_object"), [(4, True), (3, True), (2, False)])
def test_the_authors_want_three_of_a_cells_four_middle_pixels(pixels, is_object):
    segmenter = random_segmenter()  # cells of 8 pixels; a frame of 128 is not resized
    embedding = segmenter.encode(scene(128, 128)[0])
    mask = np.zeros((128, 128), bool)
    mask[83:85, 91:93] = True  # another cell's middle, so that there always is an object
    for row, column in [(19, 43), (19, 44), (20, 43), (20, 44)][:pixels]:
        mask[row, column] = True
    cells = fit(segmenter, Reference(embedding, mask, "mask"), "persam", compat=True).cells
    assert cells[10, 11]
    assert bool(cells[2, 5]) is is_object
    assert int(cells.sum()) == 1 + is_object


def test_the_authors_fit_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    truth = rng.random((20, 30)) < 0.4
    logits = rng.normal(0, 2, (3, 20, 30)) + np.array([0, 3, 1])[:, None, None] * (2 * truth - 1)
    found = fit_mask_weights(torch.from_numpy(logits).float(), torch.from_numpy(truth), **AUTHORS_FIT)
    flat, g = logits.reshape(3, -1), truth.reshape(-1)
    w, first, second = np.full(2, 1 / 3), np.zeros(2), np.zeros(2)
    for step in range(1, 801):
        p = 1 / (1 + np.exp(-((1 - w.sum()) * flat[0] + w @ flat[1:])))
        total = p.sum() + g.sum() + 1
        dice = -(2 * g * total - (2 * (p * g).sum() + 1)) / total**2 * p * (1 - p)
        focal_on = 0.25 * (1 - p) ** 2 * (2 * p * np.log(p) - (1 - p))
        focal_off = 0.75 * p**2 * (p - 2 * (1 - p) * np.log(1 - p))
        slope = (dice + np.where(g, focal_on, focal_off) / g.size) @ (flat[1:] - flat[0]).T
        rate = 4e-4 * (1 + np.cos(np.pi * (step - 1) / 800)) / 2
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        w = w * (1 - 0.01 * rate)
        w -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-4)
    assert found.tolist() == pytest.approx([1 - w.sum(), *w], abs=1e-6)
    assert abs(found[1] - 1 / 3) > 0.1


def test_only_with_compat_the_fit_is_the_authors():
    segmenter = random_segmenter()
    (frame,), masks = clip(1)
    reference = references(segmenter, frame, masks)[1]
    ours, theirs = (fit(segmenter, reference, "persam_f", compat=compat).mask_weights for compat in (0, 1))
    # Their learning rates sum to 0.16, and what a step may exceed them by is little; ours sum to 0.5.
    assert (theirs[1:] - 1 / 3).abs().max() < 0.17 < (ours[1:] - 1 / 3).abs().max()


def test_every_cell_is_nearest_to_itself_and_the_object_is_where_it_is():
    segmenter = random_segmenter()
    (frame, *_), (mask, *_) = clip(1)
    reference = references(segmenter, frame, [mask])[1]
    nearest = nearest_cells(reference.embedding, reference.embedding)
    inside = int(reference.embedding.input_size[0] / segmenter.input_length * nearest.shape[0])
    assert nearest[:inside].flatten().tolist() == list(range(inside * nearest.shape[1]))
    target = fit(segmenter, reference, "persam")
    looks = likeness(segmenter, reference.embedding, target, nearest)
    assert looks.shape == FRAME
    assert looks[torch.from_numpy(mask)].mean() > 0.8
    assert looks[~torch.from_numpy(mask)].mean() < 0.1


@pytest.mark.parametrize(("method", "compat"), [("persam", False), ("persam", True), ("persam_f", False)])
def test_each_frame_is_encoded_once_for_all_objects(method, compat):
    class Counting(Segmenter):
        encoded = 0

        def encode(self, pixels):
            self.encoded += 1
            return super().encode(pixels)

    segmenter = Counting(random_sam())
    frames, masks = clip()
    given = references(segmenter, frames[0], [masks[0], np.roll(masks[0], 15, axis=0)])
    tracked = list(track(segmenter, given, frames[1:], method=method, compat=compat))
    assert segmenter.encoded == len(frames)
    assert [each.name for each in tracked] == ["01", "02", "03"]
    for each in tracked:
        assert each.labels.shape == FRAME
        assert set(np.unique(each.labels)) <= {0, *each.sightings}
        assert compat or all(s.presence >= PRESENCE_THRESHOLD for s in each.sightings.values())
    assert given_labels(given)[masks[0] & ~given[2].mask].tolist() == [1] * int(
        (masks[0] & ~given[2].mask).sum()
    )


@pytest.mark.parametrize("method", ["persam", "persam_f"])
def test_an_object_whose_masks_are_all_empty_is_not_seen(method):
    segmenter = constant_segmenter(-1.0)
    frames, masks = clip(2)
    given = references(segmenter, frames[0], masks[:1])
    for compat in (False, True):
        (tracked,) = track(segmenter, given, frames[1:], method=method, compat=compat)
        assert tracked.sightings == {}
        assert not tracked.labels.any()


def test_an_object_that_looks_like_something_else_is_not_there():
    segmenter = random_segmenter()
    frames, masks = clip(2)
    reference = references(segmenter, frames[0], masks[:1])[1]
    target = fit(segmenter, reference, "persam")
    box = torch.tensor([15.0, 10.0, 45.0, 40.0])
    embedding = segmenter.encode(frames[1].pixels)
    elsewhere = int((~target.cells.flatten()).nonzero()[0])
    nowhere = torch.full(target.cells.shape, elsewhere)
    assert find(segmenter, embedding, target, box, nowhere) is None
    there = find(
        segmenter,
        embedding,
        target,
        box,
        torch.full_like(nowhere, int(target.cells.flatten().int().argmax())),
    )
    assert there is not None
    assert there.presence == pytest.approx(1)
    assert (
        relative_difference(there.point_coords[-1], (widened(box, FRAME)[:2] + widened(box, FRAME)[2:]) / 2)
        < 0.02
    )


def test_an_object_too_small_to_be_seen_is_named():
    segmenter = random_segmenter()
    (frame,), _ = clip(1)
    dot = np.zeros(FRAME, bool)
    dot[2, 3] = True
    for compat in (False, True):
        with pytest.raises(UserError, match=r"^mask: the subject \(1 of .* is too small for the model"):
            fit(segmenter, references(segmenter, frame, [dot])[1], "persam", compat=compat)


def test_the_toy_sam_follows_an_object():
    """A toy car is drawn a little further to the right on every frame, in front of one place."""
    car = render("car", "snow", 30051, 2)
    rows, columns = (np.flatnonzero(car.mask.any(axis=axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cut, shape = car.image[window], car.mask[window]
    place = render(None, "beach", 0, 7, room=5).image
    frames, masks = [], []
    for number in range(6):
        mask = np.zeros((128, 128), bool)
        left = 4 + 8 * number
        there = slice(120 - len(shape), 120), slice(left, left + shape.shape[1])
        mask[there] = shape[:, : 128 - left]
        pixels = place.copy()
        pixels[mask] = cut[:, : 128 - left][shape[:, : 128 - left]]
        frames.append(Frame(str(number), pixels))
        masks.append(mask)
    segmenter = Segmenter.load("toy")
    tracked = list(
        track(segmenter, references(segmenter, frames[0], masks[:1]), frames[1:], method="persam_f")
    )
    found = [each.labels == 1 for each in tracked]
    overlap = [(a & b).sum() / (a | b).sum() for a, b in zip(found, masks[1:], strict=True)]
    where_it_was = [(a & masks[0]).sum() / (a | masks[0]).sum() for a in found]
    assert np.mean(overlap) > 0.5
    assert overlap[-1] > where_it_was[-1]
