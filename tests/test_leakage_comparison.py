"""The comparison: numbers worked by hand, intervals that behave, arms that must be paired."""

import json
from pathlib import Path

import numpy as np
import pytest
from leakage_cases import PROMPTS, SEEDS, arm, comparison, disc, leaked, photos, place, row
from PIL import Image

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage import statistics
from persam_dreambooth.leakage.comparison import check_pairs, compare, summarise
from persam_dreambooth.leakage.pictures import Picture, read_pictures

TRAINING = 100
DECOYS = [place(number) for number in range(12)]


def interval(values, prompts=None, **options):
    prompts = prompts or [str(number) for number in range(len(values))]
    weights = statistics.resampling_weights(prompts, num_resamples=1000)
    return statistics.estimate(np.array(values, float), weights, **{"is_share": False, **options})


def test_means_by_hand():
    result = comparison(plain_leaks=6, masked_leaks=1)
    plain, masked = result["arms"]["plain"], result["arms"]["masked"]
    assert plain["leak"]["mean"] == 6 / 8
    assert plain["agreement"]["mean"] == 2 / 8
    assert masked["leak"]["mean"] == 1 / 8
    assert plain["attribution"]["mean"] == pytest.approx((6 * 0.85 + 2 * 0.05) / 8)
    assert plain["excess"]["mean"] == pytest.approx(6 * 0.8 / 8)
    assert plain["num_pictures"] == plain["leak"]["n"] == 8
    assert "excess" not in result["arms"]["base"]
    (found,) = result["differences"]
    assert (found["arm"], found["minus"]) == ("masked", "plain")
    assert found["leak"]["mean"] == pytest.approx(-5 / 8)
    assert found["likeness"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 8}


def test_what_cannot_be_told_is_left_out_of_its_share_only():
    rows = [
        row("plain", "bare", 0, leak=None, agreement=None, likeness=0.4),
        row("plain", "on a beach", 0, **leaked(likeness=0.6)),
        row("plain", "in the snow", 0),
    ]
    plain = summarise(rows)["arms"]["plain"]
    assert plain["leak"]["mean"] == 0.5
    assert plain["leak"]["n"] == 2
    assert plain["likeness"]["mean"] == pytest.approx(0.6)
    assert plain["likeness"]["n"] == 3


def test_a_missing_subject_counts():
    rows = [row("plain", "a", 0, subject=False, likeness=0.0, subject_found=False), row("plain", "a", 1)]
    plain = summarise(rows)["arms"]["plain"]
    assert plain["likeness"]["mean"] == pytest.approx(0.4)
    assert plain["subject"]["mean"] == 0.5
    assert plain["subject_missing"] == 1


def test_the_order_of_the_rows_does_not_matter_and_nothing_is_random():
    result = comparison(masked_leaks=2)
    again = summarise([dict(one) for one in result["rows"]])
    assert again == result
    base_last = sorted(result["rows"], key=lambda one: one["arm"], reverse=True)
    assert summarise([dict(one) for one in base_last])["arms"]["plain"]["leak"]["mean"] == 0.75


def test_an_interval_holds_its_mean_and_narrows_with_more_pictures():
    rng = np.random.default_rng(0)
    few, many = interval(rng.normal(0, 1, 10)), interval(rng.normal(0, 1, 200))
    for found in (few, many):
        assert found.low < found.mean < found.high
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    prompts = [str(number // 2) for number in range(24)]
    weights = statistics.resampling_weights(prompts, num_resamples=400)
    covered = 0
    for _ in range(200):
        values = np.repeat(rng.normal(0, 0.5, 12), 2) + rng.normal(0, 1, 24)
        found = statistics.estimate(values, weights, is_share=False)
        covered += found.low <= 0 <= found.high
    assert covered / 200 >= 0.9


def test_seeds_of_one_prompt_are_no_independent_witnesses():
    values = [0.0] * 6 + [1.0] * 6 + [0.0] * 6 + [1.0] * 6
    alone = interval(values)
    together = interval(values, prompts=[str(number // 6) for number in range(24)])
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_pairing_cancels_what_prompts_share():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 20)
    weights = statistics.resampling_weights([str(number) for number in range(20)])
    found = statistics.difference(hard + 1, hard, weights, is_share=False)
    assert (found.low, found.mean, found.high) == pytest.approx((1, 1, 1))


def test_none_of_24_is_not_never():
    """Wilson's interval of 0 of 24 ends at z^2 / (n + z^2) = 3.8415 / 27.8415."""
    found = interval([0.0] * 24, is_share=True)
    assert (found.mean, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(3.8415 / 27.8415, abs=1e-4)
    weights = statistics.resampling_weights([str(number) for number in range(24)])
    change = statistics.difference(np.zeros(24), np.ones(24), weights, is_share=True)
    assert change.mean == -1.0
    assert change.high == pytest.approx(-1 + np.sqrt(2) * 3.8415 / 27.8415, abs=1e-4)


def test_nothing_measured_has_no_estimate():
    assert interval([np.nan, np.nan]) is None


def backgrounds(number, leaks=0):
    """Return a background for every prompt and seed, of which so many show the photos' place."""
    keys = [(prompt, seed) for prompt in PROMPTS for seed in SEEDS]
    return {
        key: place(TRAINING, 60 + order) if order < leaks else place(number + order // 2, order)
        for order, key in enumerate(keys)
    }


@pytest.fixture(scope="module")
def truthless():
    arms = {
        "base": arm(backgrounds(200)),
        "plain": arm(backgrounds(200, leaks=6)),
        "masked": arm(backgrounds(200, leaks=1)),
    }
    return compare(arms, photos=photos(TRAINING), decoys=DECOYS, find_subject=lambda _: disc(), num_banks=12)


def test_planted_leaks_come_out_in_order_without_truth(truthless):
    arms = truthless["arms"]
    room = 1 - arms["base"]["attribution"]["mean"]
    assert room > 0.7
    assert arms["plain"]["excess"]["mean"] == pytest.approx(6 / 8 * room, abs=0.1)
    assert arms["masked"]["excess"]["mean"] == pytest.approx(1 / 8 * room, abs=0.1)
    assert truthless["differences"][0]["excess"]["high"] < 0
    assert truthless["features"]["chance"] == pytest.approx(1 / 13)


def test_without_truth_nothing_pretends_to_know_it(truthless):
    assert truthless["truth"] is None
    for name in ("leak", "agreement", "likeness", "subject"):
        assert all(name not in found for found in truthless["arms"].values())
        assert all(name not in one for one in truthless["rows"])


def test_json_holds_all_of_it(truthless):
    assert json.loads(json.dumps(truthless, allow_nan=False)) == truthless


def test_a_subject_that_is_not_found_is_counted():
    arms = {"base": arm(backgrounds(200))}
    result = compare(arms, photos=photos(TRAINING), decoys=DECOYS, find_subject=lambda _: None, num_banks=12)
    assert result["arms"]["base"]["subject_missing"] == 8
    assert {one["num_background_cells"] for one in result["rows"]} == {256}


def picture(prompt, seed):
    return Picture(prompt, None, seed, place(0))


def test_arms_must_be_paired():
    full = [picture("a", 0), picture("b", 0)]
    with pytest.raises(UserError, match=r"^arm plain: no picture of 'b' with seed 0; every arm needs"):
        check_pairs({"base": full, "plain": full[:1]})
    with pytest.raises(UserError, match=r"^arm base: no picture of 'b' with seed 0"):
        check_pairs({"base": full[:1], "plain": full})
    with pytest.raises(UserError, match=r"^arm base: two pictures of 'a' with seed 0"):
        check_pairs({"base": [picture("a", 0), picture("a", 0)]})
    with pytest.raises(UserError, match="at least one picture"):
        check_pairs({"base": []})


def test_pictures_are_read_with_what_was_asked(tmp_path):
    Image.fromarray(place(1)).save(tmp_path / "00_3.png")

    class Drawn:
        prompt: str = "a cat on a beach"
        seed: int = 3
        path: Path = tmp_path / "00_3.png"

    (found,) = read_pictures([Drawn()], {"a cat on a beach": "beach"})
    assert (found.key, found.background) == (("a cat on a beach", 3), "beach")
    assert np.array_equal(found.pixels, place(1))
    assert read_pictures([Drawn()])[0].background is None
