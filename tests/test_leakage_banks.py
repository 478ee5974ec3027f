"""The banks: equal sizes, known origins, chance where nothing leaks, and decoys that are no decoys."""

import numpy as np
import pytest
from leakage_cases import SIDE, disc, photos, place, with_subject

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.banks import Banks, build_banks, check_photos, own_attribution, same_scene
from persam_dreambooth.leakage.features import load_features
from persam_dreambooth.leakage.scores import score
from persam_dreambooth.leakage.whitening import Space, nearest, nearest_in_each, whitened_space

CT = load_features("ct")
NUM_BANKS = 6
TRAINING = 100
EMPTY = np.zeros((SIDE, SIDE), bool)


def noise(rng) -> np.ndarray:
    """Return a picture of coloured blocks: all such pictures have one distribution."""
    blocks = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((4, 4, 1), np.uint8))


@pytest.fixture(scope="module")
def banks() -> Banks:
    return build_banks(
        photos(TRAINING), [place(number) for number in range(NUM_BANKS)], CT, num_banks=NUM_BANKS
    )


def test_banks_are_equally_large_unit_vectors_and_do_not_change(banks):
    again = build_banks(
        photos(TRAINING), [place(number) for number in range(NUM_BANKS)], CT, num_banks=NUM_BANKS
    )
    assert banks.decoys.shape == (NUM_BANKS, *banks.training.shape)
    assert np.array_equal(banks.training, again.training)
    assert np.array_equal(banks.decoys, again.decoys)
    assert np.linalg.norm(banks.training, axis=1) == pytest.approx(1.0)
    assert banks.chance == pytest.approx(1 / 7)


def test_the_whitened_space_by_hand():
    """Two independent directions with variances 4 and 1: divided by sqrt(4.2) and sqrt(1.2)."""
    vectors = np.array([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]]) * np.sqrt(3 / 4) + 7
    space = whitened_space(vectors)
    assert space.mean == pytest.approx([7, 7])
    scales = np.sort(np.linalg.norm(space.matrix, axis=0))
    assert scales == pytest.approx([1 / np.sqrt(3 * 1.05 * 4 / 3), 1 / np.sqrt(1 + 0.05 * 4)], rel=1e-6)


def test_directions_without_content_are_left_out():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(0, 0.001, (200, 3))], axis=1)
    assert whitened_space(vectors).matrix.shape == (5, 2)


def test_every_patch_is_found_where_it_says(banks):
    """The cell at a patch's origin, in the photo or its mirror image, is the patch."""
    known = photos(TRAINING)
    for number in np.random.default_rng(0).integers(0, len(banks.patches), 8):
        photo, row, column, mirrored = banks.origins[number]
        pixels, mask = known[photo]
        side = slice(None, None, -1 if mirrored else 1)
        cells = CT.cells(np.ascontiguousarray(pixels[:, side]), np.ascontiguousarray(mask[:, side]))
        at = (row, cells.is_background.shape[1] - 1 - column if mirrored else column)
        assert cells.is_background[at]
        own = banks.space.directions(cells.vectors[at][None])[0]
        assert own == pytest.approx(banks.patches[number], abs=1e-12)


def test_the_subject_is_in_no_bank(banks):
    background = CT.cells(*photos(TRAINING)[0]).is_background
    for photo, row, column, _ in banks.origins:
        if photo == 0:
            assert background[row, column]


def test_strangers_are_attributed_at_chance():
    """Photos, decoys and pictures all from one distribution: each bank wins equally often."""
    rng = np.random.default_rng(0)
    banks = build_banks([(noise(rng), EMPTY)], [noise(rng) for _ in range(4)], CT, num_banks=4)
    assert banks.chance == 0.2
    rates = [score(banks, CT.cells(noise(rng), None)).attribution for _ in range(8)]
    # 2,048 cells: the spread of a share of 0.2 is 0.009.
    assert np.mean(rates) == pytest.approx(banks.chance, abs=0.05)


def test_with_permuted_labels_every_rank_of_the_training_bank_is_as_likely():
    """Which of K + 1 exchangeable banks is called the training bank is a coin's matter: ranks are uniform."""
    rng = np.random.default_rng(0)
    num, draws = 5, 2000
    ranks = np.zeros(num, int)
    centres = rng.normal(size=(num, 1, 4))
    everything = centres + rng.normal(size=(num, 30, 4))
    everything /= np.linalg.norm(everything, axis=-1, keepdims=True)
    for _ in range(draws):
        order = rng.permutation(num)
        picture = rng.normal(size=(20, 4))
        wins = np.bincount(nearest_in_each(picture, everything[order]).argmax(axis=0), minlength=num)
        # Ties are broken at random, as a rank must be.
        ranks[(wins + rng.uniform(0, 0.5, num)).argsort().argsort()[0]] += 1
    # A uniform count of 400 spreads by 18.
    assert ranks == pytest.approx(np.full(num, draws / num), abs=75)


def test_albums_of_one_scene_are_leak_prone_and_others_are_not(banks):
    assert min(banks.own_attribution) > 0.9
    varied = [(with_subject(place(number)), disc()) for number in range(3)]
    decoys = [place(number, 5) for number in range(3)]
    assert max(own_attribution(varied, decoys, CT, num_banks=3)) < 0.2
    assert own_attribution(photos(TRAINING, 1), decoys, CT, num_banks=3) == (None,)


def test_what_a_decoy_shows_besides_the_place_can_be_masked():
    marked = [(with_subject(place(number)), disc()) for number in range(2)]
    banks = build_banks(photos(TRAINING, 1), marked, CT, num_banks=2)
    cells = CT.cells(*marked[0])
    own = banks.space.directions(cells.vectors[cells.is_background])
    assert len(banks.decoys[0]) == 2 * cells.is_background.sum()
    assert nearest(own, banks.decoys[0])[0] == pytest.approx(1.0)


def test_decoys_of_the_photos_own_scene_are_dropped():
    decoys = [place(number) for number in range(NUM_BANKS + 1)]
    decoys[4] = place(TRAINING, 9)
    known = photos(TRAINING, 2)
    banks = build_banks(known, decoys, CT, num_banks=NUM_BANKS)
    assert banks.dropped == (4,)
    kept = build_banks(known, decoys, CT, num_banks=NUM_BANKS, drop_same_scene=False)
    assert kept.dropped == ()
    leaked = CT.cells(with_subject(place(TRAINING, 60)), disc())
    assert score(banks, leaked).attribution > 0.9 > 0.8 > score(kept, leaked).attribution


def clustered_banks(rng, num: int) -> tuple[Banks, list[np.ndarray]]:
    """Return exchangeable banks, each of one place, and the decoys' cells: two pictures of each place."""
    places = rng.normal(size=(num + 1, 1, 6)) + 0.5 * rng.normal(size=(num + 1, 40, 6))
    space = Space(np.zeros(6), np.eye(6))
    own = np.stack([space.directions(cells) for cells in places])
    vectors = [half for cells in places[1:] for half in np.split(cells, 2)]
    return Banks(space, own[0], own[1:], own[0], np.zeros((40, 4), int), (), (), ()), vectors


def test_decoys_that_have_nothing_to_do_with_the_photos_stay():
    """By three times chance alone one in ten and more would go; by the rule about one in a hundred does."""
    rng = np.random.default_rng(0)
    dropped, by_chance_alone, num = 0, 0, 12
    for _ in range(40):
        banks, vectors = clustered_banks(rng, num)
        dropped += same_scene(banks, vectors).sum()
        for number, cells in enumerate(vectors):
            directions = banks.space.directions(cells)
            rivals = nearest_in_each(directions, np.delete(banks.decoys, number // 2, axis=0)).max(axis=0)
            by_chance_alone += (nearest(directions, banks.training)[0] > rivals).mean() > 3 / num
    total = 40 * 2 * num
    assert by_chance_alone > 0.1 * total
    assert dropped < 0.03 * total


def test_too_few_decoys_are_an_error():
    with pytest.raises(UserError, match=r"^decoys: 2 pictures; 3 banks need at least one each"):
        build_banks(photos(TRAINING), [place(0), place(1)], CT, num_banks=3)


def test_one_bank_is_possible():
    """Chance is then one in two; that no other bank is left to compare a decoy with drops none."""
    banks = build_banks(photos(TRAINING), [place(0), place(1)], CT, num_banks=1)
    assert banks.chance == 0.5
    assert banks.dropped == ()
    assert score(banks, CT.cells(with_subject(place(TRAINING, 60)), disc())).attribution > 0.9


def test_decoys_that_all_look_the_same_are_an_error():
    """No direction is left in which anything could be near or far."""
    flat = [np.full((SIDE, SIDE, 3), 90, np.uint8)] * 3
    with pytest.raises(UserError, match=r"^decoys: 3 pictures of one colour; pictures of different places"):
        build_banks(photos(TRAINING), flat, CT, num_banks=3)


def test_decoys_of_the_photos_scene_that_cannot_be_spared_are_told():
    """With as many decoys as banks none can be left out: they hide leakage, and a reader must know."""
    decoys = [place(number) for number in range(NUM_BANKS)]
    decoys[4] = place(TRAINING, 9)
    banks = build_banks(photos(TRAINING, 2), decoys, CT, num_banks=NUM_BANKS)
    assert banks.dropped == ()
    assert banks.same_scene_kept == (4,)
    spare = build_banks(photos(TRAINING, 2), [*decoys, place(77)], CT, num_banks=NUM_BANKS)
    assert (spare.dropped, spare.same_scene_kept) == ((4,), ())


def test_photos_without_background_are_an_error():
    full = [(place(TRAINING), np.ones((SIDE, SIDE), bool))]
    with pytest.raises(UserError, match="the subject fills every photo"):
        build_banks(full, [place(0)], CT, num_banks=1)
    with pytest.raises(UserError, match="the subject fills every photo"):
        check_photos(full)
    check_photos([*full, *photos(TRAINING, 1)])
