"""What is planted in a picture: the share that was asked for, seen anew, and nothing of the subject."""

import numpy as np
import pytest
from leakage_cases import SIDE, disc, place, with_subject

from persam_dreambooth.leakage.lab import from_lab, to_lab
from persam_dreambooth.leakage.validation import alterations
from persam_dreambooth.leakage.validation.cases import Shot, shrunk

RED = np.array([210, 30, 40])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def photo(number: int = 1, seed: int = 0) -> Shot:
    return Shot(with_subject(place(number, seed)), disc())


def test_lab_there_and_back_is_the_same_colour(rng):
    levels = rng.integers(0, 256, (50, 3)).astype(float)
    assert from_lab(to_lab(levels)) == pytest.approx(levels, abs=1e-6)
    assert to_lab(np.array([255.0, 0, 0])) == pytest.approx([53.24, 80.09, 67.20], abs=0.03)


def test_what_no_screen_can_show_is_cut_off():
    assert from_lab(np.array([50.0, 200, 0]))[0] == pytest.approx(255)
    assert from_lab(np.array([-10.0, 0, 0])) == pytest.approx([0, 0, 0])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_share_is_of_the_background_and_in_one_piece(share):
    background = ~disc()
    region = alterations.share_of(background, np.ones_like(background), share, angle=0.7)
    assert region.sum() == pytest.approx(share * background.sum(), abs=1)
    assert not (region & disc()).any()
    # On one side of a line: no pixel outside it is further along the direction than one inside.
    y, x = np.mgrid[:SIDE, :SIDE]
    along = x * np.cos(0.7) + y * np.sin(0.7)
    assert along[region].max() <= along[background & ~region].min()


def test_larger_shares_hold_smaller_ones_and_stop_at_what_there_is():
    background, left = ~disc(), np.zeros((SIDE, SIDE), bool)
    left[:, : SIDE // 4] = True
    small, large = (alterations.share_of(background, background, share, 2.0) for share in (0.2, 0.6))
    assert (small & ~large).sum() == 0
    assert np.array_equal(alterations.share_of(background, left, 0.9, 2.0), left & background)


def test_a_place_seen_anew_has_no_subject_and_no_copied_pixel(rng):
    shots = [photo(seed=seed) for seed in range(3)]
    seen, covered = alterations.seen_anew(shots, (SIDE, SIDE), rng)
    assert covered.mean() > 0.9
    assert np.abs(seen[covered] - RED).max(axis=1).min() > 25
    equal = (np.rint(seen) == shots[0].pixels).all(axis=2) & covered
    assert equal.mean() < 0.01


def test_a_place_seen_anew_keeps_its_colours(rng):
    seen, covered = alterations.seen_anew([photo(5)], (96, 128), rng)
    assert seen.shape == (96, 128, 3)
    own = place(5).reshape(-1, 3).mean(axis=0)
    assert np.abs(seen[covered].mean(axis=0) - own).max() < 30


def test_what_a_subject_covers_in_every_photo_is_not_made_up(rng):
    half = np.zeros((SIDE, SIDE), bool)
    half[: 3 * SIDE // 4] = True
    _, covered = alterations.seen_anew([Shot(place(1), half)], (SIDE, SIDE), rng)
    assert 0.05 < covered.mean() < 0.45


def test_pasting_changes_the_region_alone():
    host, planted, region = np.zeros((4, 4, 3)), np.full((4, 4, 3), 9.0), np.eye(4, dtype=bool)
    assert alterations.paste(host, planted, region)[..., 0].tolist() == (9.0 * np.eye(4)).tolist()


def test_a_ghost_lies_between_the_two():
    host, planted = np.full((2, 2, 3), 100.0), np.full((2, 2, 3), 200.0)
    region = np.array([[True, False], [True, True]])
    ghost = alterations.blend(host, planted, region, 0.25)
    assert ghost[..., 0].tolist() == [[125, 100], [125, 125]]


def test_a_palette_moves_all_the_way_and_leaves_the_subject(rng):
    host, planted = rng.uniform(90, 120, (2, 20, 20, 3))
    planted[..., 0] += 40
    region = np.ones((20, 20), bool)
    region[:5] = False
    moved = alterations.palette(host, planted, region=region, planted_region=region, strength=1.0)
    assert to_lab(moved[region]).mean(axis=0) == pytest.approx(to_lab(planted[region]).mean(axis=0), abs=0.01)
    assert to_lab(moved[region]).std(axis=0) == pytest.approx(to_lab(planted[region]).std(axis=0), abs=0.01)
    assert np.array_equal(moved[~region], host[~region])
    same = alterations.palette(host, planted, region=region, planted_region=region, strength=0.0)
    assert same == pytest.approx(host, abs=1e-6)


def test_the_photos_subject_takes_the_place_of_the_hosts():
    host = Shot(place(3), np.zeros((SIDE, SIDE), bool))
    host.mask[40:80, 50:70] = True
    pixels, subject, rest = alterations.with_subject_of(host, photo())
    rows, columns = np.nonzero(subject)
    assert abs(rows.mean() - 59.5) < 2
    assert abs(columns.mean() - 59.5) < 2
    assert np.ptp(rows) == pytest.approx(39, abs=2)
    assert np.abs(pixels[60, 60] - RED).max() < 5
    assert np.array_equal(pixels[~subject], host.pixels[~subject])
    assert np.array_equal(subject | rest, subject | host.mask)
    assert not (subject & rest).any()


def test_a_host_without_subject_gets_one_in_the_middle():
    _, subject, rest = alterations.with_subject_of(Shot(place(3)), photo())
    assert subject[SIDE // 2, SIDE // 2]
    assert not rest.any()


def test_a_bad_mask_lacks_the_rim_all_around():
    mask = np.zeros((64, 64), bool)
    mask[10:50, 20:60] = True
    wanted = np.zeros_like(mask)
    wanted[14:46, 24:56] = True
    assert np.array_equal(alterations.eroded(mask, 4 / 64), wanted)


def test_a_finished_picture_is_noised_and_softer(rng):
    flat = alterations.finished(np.full((128, 128, 3), 128.0), rng)
    assert flat.dtype == np.uint8
    assert flat.std() == pytest.approx(alterations.NOISE, rel=0.05)
    edge = np.zeros((128, 128, 3))
    edge[:, 64:] = 255
    column = alterations.finished(edge, rng)[:, 63:65, 0].astype(float).mean(axis=0)
    assert 2 < column[0] < 128 < column[1] < 253


def test_large_photos_are_brought_to_what_features_look_at():
    small = shrunk(Shot(np.zeros((1024, 2048, 3), np.uint8), np.ones((1024, 2048), bool)))
    assert small.pixels.shape == (256, 512, 3)
    assert small.mask.shape == (256, 512)
    assert small.mask.all()
    kept = photo()
    assert shrunk(kept) is kept
    assert shrunk(Shot(np.zeros((600, 600, 3), np.uint8))).mask is None
