"""The gates that the measure must pass, on small drawn cases; and where cases come from."""

import json
from dataclasses import replace

import numpy as np
import pytest
from leakage_cases import disc, photos, place
from validation_cases import NUM_BANKS, NUM_HOSTS, case, data, host

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.banks import Banks, Space
from persam_dreambooth.leakage.features import Cells, ct_features
from persam_dreambooth.leakage.scores import score
from persam_dreambooth.leakage.validation.cases import Case, Data, Shot
from persam_dreambooth.leakage.validation.own_photos import album_data, folds, validate_on
from persam_dreambooth.leakage.validation.plan import pictures_of
from persam_dreambooth.leakage.validation.protocol import SCHEMA, validate
from persam_dreambooth.leakage.validation.table import table
from persam_dreambooth.leakage.validation.toy_cases import NUM_HELD_OUT, NUM_PHOTOS, SIZE, toy_data

LEVELS = (0.25, 0.5)


@pytest.fixture(scope="module")
def result():
    return validate(data(6), ct_features(), levels=LEVELS, num_banks=NUM_BANKS)


def test_every_gate_holds(result):
    assert [gate["name"] for gate in result["gates"] if not gate["passed"]] == []
    assert len(result["gates"]) == 5


def test_the_attribution_rises_with_what_is_pasted(result):
    found = result["scores"]["attribution"]
    assert found["modes"]["paste"]["rho"] >= 0.6
    means = [found["base"], *(at["mean"] for at in found["modes"]["paste"]["levels"].values())]
    assert means == sorted(means)
    assert 0 <= found["base"] <= 2 / (NUM_BANKS + 1)
    assert found["modes"]["paste"]["levels"]["0.5"]["mean"] > 0.3


def test_what_does_not_leak_changes_nothing(result):
    harmless = result["scores"]["attribution"]["harmless"]
    assert abs(harmless["again"]["change"]) < 0.02
    assert harmless["benign"]["low"] <= 0 <= harmless["benign"]["high"]
    assert abs(harmless["subject"]["change"]) < 0.02


def test_everything_is_told_and_json_holds_it(result):
    assert json.loads(json.dumps(result))["schema"] == SCHEMA
    pictures = 2 + 4 * len(LEVELS) + 2
    assert len(result["rows"]) == result["num_pictures"] == 6 * NUM_HOSTS * pictures
    shares = [row["share"] for row in result["rows"] if row["mode"] == "paste" and row["level"] == 0.25]
    assert shares == pytest.approx([0.25] * len(shares), abs=0.01)
    assert result["banks"] == result["banks"] | {"num": NUM_BANKS, "chance": 1 / (NUM_BANKS + 1)}


def test_the_table_has_a_line_for_every_score_and_gate(result):
    text = table(result)
    assert all(name in text for name in ("attribution", "copy_rate", "style_shift", "max_cosine"))
    assert text.count("ok  ") == 5
    assert "found at" in text


def test_the_same_seed_gives_the_same_pictures_and_another_does_not():
    one = case(0)
    first, again, other = ([made.pixels for made in pictures_of(one, 1, LEVELS, seed)] for seed in (0, 0, 1))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(first, other, strict=True))


def test_a_higher_level_holds_all_of_a_lower_one():
    made = {(one.mode, one.level): one for one in pictures_of(case(0), 0, LEVELS, 0)}
    base, low, high = made["base", 0.0], made["paste", 0.25], made["paste", 0.5]
    changed = [np.abs(one.pixels.astype(int) - base.pixels).max(axis=2) > 30 for one in (low, high)]
    assert changed[0].sum() > 500
    assert (changed[0] & ~changed[1]).sum() < 0.02 * changed[0].sum()


def random_banks(rng, num_banks=4, size=30, width=6):
    """Return banks that all come from one distribution, and cells that have to do with none of them."""
    vectors = rng.normal(size=(num_banks + 2, size, width))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    origins = np.zeros((size, 4), int)
    identity = Space(np.zeros(width), np.eye(width))
    banks = Banks(identity, vectors[0], vectors[1:-1], vectors[0], origins, (None,), ((6, 5),), ())
    return banks, Cells(vectors[-1].reshape(6, 5, width), np.ones((6, 5), bool))


def relabelled(banks, own):
    """Return the banks with another one in the photos' place."""
    every = np.concatenate([banks.training[None], banks.decoys])
    return replace(banks, training=every[own], decoys=np.delete(every, own, axis=0))


def test_whatever_bank_is_called_the_photos_it_wins_the_same_cells():
    banks, cells = random_banks(np.random.default_rng(0))
    every = np.concatenate([banks.training[None], banks.decoys])
    winners = np.einsum("nd,kmd->nkm", cells.vectors.reshape(30, -1), every).max(axis=2).argmax(axis=1)
    shares = [score(relabelled(banks, own), cells).attribution for own in range(len(every))]
    assert shares == pytest.approx(np.bincount(winners, minlength=len(every)) / 30)


def test_ranks_of_the_photos_bank_are_uniform_where_nothing_leaks():
    rng, ranks = np.random.default_rng(1), []
    for _ in range(300):
        banks, cells = random_banks(rng)
        shares = np.array([score(relabelled(banks, own), cells).attribution for own in range(5)])
        # Equal shares are put in order at random.
        ranks.append(int((shares + rng.uniform(0, 1e-6, 5)).argsort().argsort()[0]))
    counts = np.bincount(ranks, minlength=5)
    # Chi-squared with 4 degrees of freedom: 18.5 has a probability of 1 in 1000.
    assert ((counts - 60) ** 2 / 60).sum() < 18.5


def test_drawn_cases_show_one_place_each_and_hosts_another():
    first, second = toy_data(2, 1).cases
    assert first.name != second.name
    assert [len(first.photos), len(first.held_out), len(first.hosts)] == [NUM_PHOTOS, NUM_HELD_OUT, 1]
    assert all(shot.mask.any() for shot in (*first.photos, *first.held_out, *first.hosts))
    assert all(shot.mask is None for shot in (*first.decoys, *first.foreign, *first.look_alikes))
    assert first.photos[0].pixels.shape == (SIZE, SIZE, 3)
    # One place in all photos, another in the hosts: seen where no subject stands, in the upper corners.
    corner = [shot.pixels[:20, :20].mean(axis=(0, 1)) for shot in (*first.photos, *first.hosts)]
    spread = [np.abs(one - corner[0]).max() for one in corner]
    assert max(spread[:-1]) < 60
    assert not np.array_equal(first.photos[0].pixels, second.photos[0].pixels)


def test_each_photo_is_held_out_once_and_each_host_used_once():
    album, hosts = case(0).photos, [host(number) for number in range(7)]
    made = folds("one", album, hosts, [])
    assert [one.held_out[0] for one in made] == list(album)
    assert all(one.held_out[0] not in one.photos for one in made)
    used = [shot for one in made for shot in one.hosts]
    assert sorted(map(id, used)) == sorted(map(id, hosts))
    assert all(a is not b for one in made for a, b in zip(one.hosts, one.foreign, strict=True))


def test_two_photos_are_too_few_to_hold_one_out():
    (only,) = folds("one", case(0).photos[:2], [host(1)], [])
    assert not only.held_out


def test_validation_on_own_photos_is_flat_and_finds_what_is_planted():
    album = photos(7)
    told = validate_on(
        [pixels for pixels, _ in album],
        [mask for _, mask in album],
        [place(50 + number) for number in range(NUM_BANKS)],
        ct_features(),
        hosts=[(host(number).pixels, disc()) for number in range(900, 905)],
        num_banks=NUM_BANKS,
    )
    assert told["features"] == "ct"
    assert told["rho_paste"] > 0.6
    assert told["rho_scene"] > 0.6
    assert {"power_10", "power_25", "power_50", "smallest_share", "false_alarm", "rho_blend"} <= set(told)
    assert not any(isinstance(value, dict | list) for value in told.values())


def test_too_few_base_pictures_are_no_validation():
    hosts = [(host(900).pixels, disc())] * 4
    assert validate_on([], [], [], ct_features(), hosts=hosts) is None


def filled():
    """A picture that is all subject."""
    return place(3), np.ones((128, 128), dtype=bool)


def test_photos_that_are_all_subject_take_no_part():
    """Held out in turn, the only photo with a background would leave none: `compare` must not end so."""
    album = [*photos(7, count=1), filled(), filled()]
    told = validate_on(
        *zip(*album, strict=True),
        [place(50 + number) for number in range(NUM_BANKS)],
        ct_features(),
        hosts=[(host(number).pixels, disc()) for number in range(900, 905)],
        num_banks=NUM_BANKS,
    )
    assert told["rho_paste"] > 0.6
    assert "rho_scene" not in told
    hosts = [(host(900 + number).pixels, disc()) for number in range(5)]
    assert validate_on(*zip(filled(), strict=True), [], ct_features(), hosts=hosts) is None


def test_base_pictures_that_are_all_subject_are_no_validation():
    album = photos(7)
    decoys = [place(50 + number) for number in range(NUM_BANKS)]
    hosts = [filled()] * 6 + [(host(900).pixels, disc())] * 4
    assert (
        validate_on(*zip(*album, strict=True), decoys, ct_features(), hosts=hosts, num_banks=NUM_BANKS)
        is None
    )


def test_a_place_that_no_look_shows_is_not_planted():
    shot = Shot(*filled())
    one = replace(case(0), photos=[shot])
    assert {made.mode for made in pictures_of(one, 0, LEVELS, 0)} == {
        "base",
        "again",
        "benign",
        "subject",
        "bad_mask",
    }


def test_other_albums_are_hosts_and_decoys():
    albums = {name: [host(10 * number + k) for k in range(5)] for number, name in enumerate("abcd")}
    made = album_data(albums, [], num_hosts=6, num_banks=7)
    assert made.names == list("abcd")
    own = {id(shot) for shot in albums["b"]}
    for one in (one for one in made.cases if one.name == "b"):
        assert not own & {id(shot) for shot in (*one.hosts, *one.decoys)}
        assert {id(shot) for shot in (*one.photos, *one.held_out)} == own
        assert not {id(shot) for shot in one.hosts} & {id(shot) for shot in one.decoys}
        assert (len(one.decoys), len(one.hosts)) == (10, 1)


def test_too_few_other_places_are_an_error():
    with pytest.raises(
        UserError, match=r"^--photos: 4 pictures of other places than a's; at least 24 are needed"
    ):
        album_data({"a": [host(1)], "b": [host(k) for k in range(2, 6)]}, [], num_hosts=6, num_banks=19)


def test_a_case_without_hosts_is_an_error():
    nothing = Case("cat", [Shot(*photos(1)[0])], [], [Shot(place(2))])
    with pytest.raises(UserError, match=r"^cat: no picture to plant leaks in"):
        validate(Data("nothing", [nothing]), ct_features(), num_banks=1)
