"""What is measured in one picture's background: planted leaks in order, strangers at chance, by hand."""

import numpy as np
import pytest
from leakage_cases import SIDE, disc, photos, place, with_subject

from persam_dreambooth.leakage.banks import Banks, build_banks
from persam_dreambooth.leakage.features import Cells, load_features
from persam_dreambooth.leakage.scores import common_attribution, copy_threshold, score
from persam_dreambooth.leakage.whitening import Space

CT = load_features("ct")
NUM_BANKS = 8
TRAINING, NEW = 100, 200


@pytest.fixture(scope="module")
def banks() -> Banks:
    return build_banks(
        photos(TRAINING), [place(number) for number in range(NUM_BANKS)], CT, num_banks=NUM_BANKS
    )


def planted(share: float) -> np.ndarray:
    """Return a picture of a new place whose left part shows the photos' place, seen anew."""
    pixels = place(NEW, 1)
    columns = round(share * SIDE)
    pixels[:, :columns] = place(TRAINING, 50)[:, :columns]
    return with_subject(pixels)


def flat(*angles: float) -> np.ndarray:
    """Return unit vectors in the plane, by their angles in degrees."""
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def hand_banks() -> Banks:
    """Two photos' patches at 0 and 90 degrees; two decoy banks, at 180 and 270."""
    return Banks(
        space=Space(np.zeros(2), np.eye(2)),
        training=flat(0, 90),
        decoys=np.stack([flat(180, 180), flat(270, 270)]),
        patches=flat(0, 90),
        origins=np.array([[0, 3, 4, 0], [1, 5, 6, 1]]),
        own_attribution=(None, None),
        photo_grids=((16, 16), (16, 16)),
        dropped=(),
    )


def hand_cells(*angles: float) -> Cells:
    """Return a row of cells at these angles."""
    return Cells(flat(*angles)[None], np.ones((1, len(angles)), bool))


def test_scores_by_hand():
    found = score(hand_banks(), hand_cells(10, 80, 200, 300), copy_threshold=0.99)
    assert found.attribution == 0.5
    # Only cos(10) = 0.985 and less: none above 0.99.
    assert found.copy_rate == 0.0
    assert score(hand_banks(), hand_cells(10, 80, 200, 300), copy_threshold=0.98).copy_rate == 0.5
    tens, twenties, thirties = (np.cos(np.deg2rad(a)) for a in (10, 110, 60))
    assert found.max_cosine == pytest.approx((tens + tens + twenties + thirties) / 4)
    assert found.num_cells == 4
    assert found.attributed.tolist() == [[True, True, False, False]]


def test_a_hit_says_where_it_comes_from_by_hand():
    first, second = score(hand_banks(), hand_cells(10, 80, 200, 300)).hits
    assert (first.row, first.column, first.photo, first.photo_row, first.photo_column) == (0, 0, 0, 3, 4)
    assert not first.mirrored
    assert first.cosine == pytest.approx(np.cos(np.deg2rad(10)))
    assert first.decoy_cosine == pytest.approx(np.cos(np.deg2rad(100)))
    assert (second.column, second.photo, second.photo_row, second.photo_column) == (1, 1, 5, 6)
    assert second.mirrored


def test_the_style_shift_by_hand():
    """The mean cell at 45 degrees is the training mean's direction: 1; the decoys' are 135 degrees away."""
    found = score(hand_banks(), hand_cells(40, 50))
    assert found.style_shift == pytest.approx(1 - np.cos(np.deg2rad(135)))


def test_the_copy_threshold_is_what_decoys_reach_once_in_a_hundred_times():
    cells = hand_cells(*np.linspace(0, 359, 360))
    cosines = [np.cos(np.deg2rad(angle - centre)) for centre in (180, 270) for angle in range(360)]
    assert copy_threshold(hand_banks(), [cells, cells]) == pytest.approx(np.quantile(cosines, 0.99), abs=1e-3)
    empty = Cells(np.zeros((1, 2, 2)), np.zeros((1, 2), bool))
    assert copy_threshold(hand_banks(), [empty]) is None


def test_base_pictures_look_copied_in_one_cell_of_a_hundred():
    """Bank and pictures of one distribution: the copy rate's own chance level."""
    rng = np.random.default_rng(0)

    def unit(*shape):
        drawn = rng.normal(size=(*shape, 3))
        return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)

    banks = Banks(
        Space(np.zeros(3), np.eye(3)), unit(20), unit(19, 20), unit(20), np.zeros((20, 4), int), (), (), ()
    )
    cells = [Cells(unit(40, 40), np.ones((40, 40), bool)) for _ in range(4)]
    threshold = copy_threshold(banks, cells)
    rates = [score(banks, one, threshold).copy_rate for one in cells]
    assert np.mean(rates) == pytest.approx(0.01, abs=0.01)


def test_the_rate_rises_with_the_planted_share(banks):
    found = [score(banks, CT.cells(planted(share), disc())) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    rates = [one.attribution for one in found]
    assert rates == sorted(rates)
    assert rates[0] < 2 * banks.chance
    assert rates[2] == pytest.approx(0.5, abs=0.15)
    assert rates[-1] > 0.9
    for name in ("style_shift", "max_cosine"):
        assert getattr(found[-1], name) > getattr(found[0], name)


def test_the_subject_itself_is_no_leak(banks):
    cells = CT.cells(planted(0.0), disc())
    found = score(banks, cells)
    assert found.attribution < 2 * banks.chance
    assert found.num_cells == cells.is_background.sum()


def test_equal_pictures_have_equal_scores(banks):
    first, second = (score(banks, CT.cells(planted(0.5), disc()), 0.8) for _ in range(2))
    assert first.hits == second.hits
    assert (first.attribution, first.style_shift) == (second.attribution, second.style_shift)


def test_without_a_subject_the_whole_picture_counts(banks):
    assert score(banks, CT.cells(planted(0.0), None)).num_cells == 256


def test_a_picture_that_is_all_subject_has_no_scores(banks):
    found = score(banks, CT.cells(planted(0.0), np.ones((SIDE, SIDE), bool)), 0.8)
    assert (found.attribution, found.copy_rate, found.max_cosine, found.hits) == (None, None, None, ())
    assert found.num_cells == 0


def piece(grid: tuple[int, int], moves: dict[tuple[int, int], tuple[int, int, int, int]]) -> float:
    """Return the widest copy of a grid whose cells come from (photo, row, column, mirrored)."""
    own = np.eye(len(moves) + 1)
    vectors = np.zeros((*grid, len(own)))
    vectors[..., -1] = -1
    for number, place_in_picture in enumerate(moves):
        vectors[place_in_picture] = own[number]
    patches = own[:-1]
    banks = Banks(
        Space(np.zeros(len(own)), np.eye(len(own))),
        patches,
        -own[None, :1],
        patches,
        np.array(list(moves.values())),
        (),
        (),
        (),
    )
    return score(banks, Cells(vectors, np.ones(grid, bool))).widest_copy


def test_the_widest_copy_by_hand():
    moved = {(0, 0): (0, 5, 5, 0), (0, 1): (0, 5, 6, 0), (1, 1): (0, 6, 6, 0)}
    assert piece((2, 4), moved) == 3 / 8
    # From elsewhere in the photo, from another photo, or the other way round: pieces of their own.
    assert piece((2, 4), {**moved, (1, 1): (0, 12, 6, 0)}) == 2 / 8
    assert piece((2, 4), {**moved, (1, 1): (1, 6, 6, 0)}) == 2 / 8
    assert piece((2, 4), {(0, 0): (0, 5, 6, 1), (0, 1): (0, 5, 5, 1)}) == 2 / 8
    assert piece((2, 4), {(0, 0): (0, 5, 6, 1), (0, 1): (0, 5, 9, 1)}) == 1 / 8
    # Not joined at a side.
    assert piece((2, 4), {(0, 0): (0, 5, 5, 0), (1, 1): (0, 6, 6, 0)}) == 1 / 8


def test_over_common_cells_by_hand():
    first, second = hand_cells(10, 80, 200, 300), hand_cells(200, 200, 10, 80)
    less = Cells(second.vectors, np.array([[True, False, True, False]]))
    banks = hand_banks()
    rates = common_attribution((first, score(banks, first)), (less, score(banks, less)))
    assert rates == (0.5, 0.5)
    nothing = Cells(second.vectors, np.zeros((1, 4), bool))
    assert common_attribution((first, score(banks, first)), (nothing, score(banks, nothing))) is None
