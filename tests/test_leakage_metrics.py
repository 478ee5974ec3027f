"""Leakage without truth: planted backgrounds are found in order, strangers at chance, the subject never."""

import numpy as np
import pytest
from leakage_cases import SIDE, disc, photos, place, with_subject

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.features import CELL, SHORT_SIDE, background_cells, cell_features
from persam_dreambooth.leakage.metrics import attribution, build_banks

NUM_BANKS = 12
TRAINING, NEW = 100, 200


@pytest.fixture(scope="module")
def banks():
    return build_banks(photos(TRAINING), [place(number) for number in range(NUM_BANKS)], num_banks=NUM_BANKS)


def planted(share: float) -> np.ndarray:
    """Return a picture of a new place whose left part shows the photos' place, seen anew."""
    pixels = place(NEW, 1)
    columns = round(share * SIDE)
    pixels[:, :columns] = place(TRAINING, 50)[:, :columns]
    return with_subject(pixels)


def test_a_flat_picture_has_its_colour_and_nothing_else():
    cells = cell_features(np.full((64, 64, 3), 119, np.uint8))
    assert cells.shape == (SHORT_SIDE // CELL, SHORT_SIDE // CELL, 22)
    # sRGB 119 is the grey whose lightness is 50.
    assert cells[..., 0] == pytest.approx(50.0, abs=0.1)
    assert np.abs(cells[..., 1:]).max() < 0.05


def test_colour_means_are_cielab():
    red = cell_features(np.full((32, 32, 3), (255, 0, 0), np.uint8))[0, 0, :3]
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


def test_stripes_have_energy_in_their_own_direction():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 0
    stripes[:, (np.arange(256) // 4) % 2 == 0] = 200
    upright = cell_features(stripes)[8, 8, 6:].reshape(2, 8)
    lying = cell_features(np.ascontiguousarray(stripes.transpose(1, 0, 2)))[8, 8, 6:].reshape(2, 8)
    assert upright.argmax(axis=1).tolist() == [0, 0]
    assert lying.argmax(axis=1).tolist() == [4, 4]


def test_photos_of_any_shape_have_cells_of_one_size():
    assert cell_features(place(1, side=90)[:60]).shape == (16, 24, 22)
    assert background_cells(np.zeros((60, 90), bool), (60, 90)).shape == (16, 24)


def test_the_subject_and_its_rim_are_no_background():
    cells = background_cells(disc(), (SIDE, SIDE))
    subject = disc().reshape(16, 8, 16, 8).any(axis=(1, 3))
    assert not (cells & subject).any()
    # Half a cell of margin: the cells right beside the disc are left out as well.
    assert subject.sum() < (~cells).sum() < 2.2 * subject.sum()
    assert background_cells(None, (SIDE, SIDE)).all()


def test_the_rate_rises_with_the_planted_share(banks):
    rates = [attribution(banks, planted(share), disc()).rate for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert rates == sorted(rates)
    assert rates[0] < 2 * banks.chance
    assert rates[2] == pytest.approx(0.5, abs=0.15)
    assert rates[-1] > 0.9


def test_the_subject_itself_is_no_leak(banks):
    found = attribution(banks, planted(0.0), disc())
    assert found.rate < 2 * banks.chance
    assert found.num_cells == background_cells(disc(), (SIDE, SIDE)).sum()


def test_without_a_subject_the_whole_picture_counts(banks):
    assert attribution(banks, planted(0.0), None).num_cells == 256


def test_a_picture_that_is_all_subject_has_no_rate(banks):
    assert attribution(banks, planted(0.0), np.ones((SIDE, SIDE), bool)).rate is None


def test_strangers_are_attributed_at_chance():
    """Photos, decoys and pictures all from one distribution: each bank wins equally often."""
    rng = np.random.default_rng(0)

    def noise():
        blocks = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        return np.kron(blocks, np.ones((4, 4, 1), np.uint8))

    empty = np.zeros((SIDE, SIDE), bool)
    banks = build_banks([(noise(), empty)], [noise() for _ in range(4)], num_banks=4)
    assert banks.chance == 0.2
    rates = [attribution(banks, noise(), None).rate for _ in range(8)]
    # 2,048 cells: the spread of a share of 0.2 is 0.009.
    assert np.mean(rates) == pytest.approx(banks.chance, abs=0.05)


def test_banks_are_equally_large_and_do_not_change():
    decoys = [place(number) for number in range(9)]
    first, second = (build_banks(photos(TRAINING, 1), decoys, num_banks=4) for _ in range(2))
    assert first.decoys.shape == (4, *first.training.shape)
    assert np.array_equal(first.training, second.training)
    assert np.array_equal(first.decoys, second.decoys)
    assert np.linalg.norm(first.training, axis=1) == pytest.approx(1.0)


def test_too_few_decoys_are_an_error():
    with pytest.raises(UserError, match=r"^decoys: 2 pictures; 3 banks need at least one each"):
        build_banks(photos(TRAINING), [place(0), place(1)], num_banks=3)


def test_photos_without_background_are_an_error():
    full = [(place(TRAINING), np.ones((SIDE, SIDE), bool))]
    with pytest.raises(UserError, match="the subject fills every photo"):
        build_banks(full, [place(0)], num_banks=1)
