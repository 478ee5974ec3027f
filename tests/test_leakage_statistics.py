"""Intervals and tests: cases by hand, and what they promise, by simulation."""

import numpy as np
import pytest

from persam_dreambooth.leakage import statistics
from persam_dreambooth.leakage.intervals import student_quantile
from persam_dreambooth.leakage.statistics import holm, resamples, sign_flip_p


def interval(values, units=None, **options):
    units = units or [str(number) for number in range(len(values))]
    return statistics.estimate(np.array(values, float), resamples(units, num_resamples=1000), **options)


def test_an_interval_holds_its_mean_and_narrows_with_more_pictures():
    rng = np.random.default_rng(0)
    few, many = interval(rng.normal(0, 1, 10)), interval(rng.normal(0, 1, 200))
    for found in (few, many):
        assert found.low < found.mean < found.high
    assert many.high - many.low < 0.5 * (few.high - few.low)


@pytest.mark.parametrize(("prompts", "seeds"), [(4, 2), (10, 4)])
@pytest.mark.parametrize("between", [0.0, 0.5, 1.0])
def test_intervals_cover_the_truth_as_often_as_they_say(prompts, seeds, between):
    """Whatever share of the variance lies between prompts; a plain percentile interval has 79 % at 4 x 2."""
    rng = np.random.default_rng(0)
    drawn = resamples([str(number // seeds) for number in range(prompts * seeds)], num_resamples=400)
    covered = 0
    for _ in range(300):
        values = np.repeat(rng.normal(0, np.sqrt(between), prompts), seeds)
        values = values + rng.normal(0, np.sqrt(1 - between), prompts * seeds)
        found = statistics.estimate(values, drawn)
        covered += found.low <= 0 <= found.high
    # 95 % of 300 spread by 1.3 points.
    assert covered / 300 >= 0.92


def test_intervals_cover_the_truth_over_subjects_too():
    rng = np.random.default_rng(1)
    units = [(str(number // 8), str(number // 2)) for number in range(48)]
    drawn = resamples(units, num_resamples=400)
    covered = 0
    for _ in range(200):
        levels = (np.repeat(rng.normal(0, 0.6, 48 // size), size) for size in (8, 2, 1))
        found = statistics.estimate(sum(levels), drawn)
        covered += found.low <= 0 <= found.high
    assert covered / 200 >= 0.91


def test_seeds_of_one_prompt_are_no_independent_witnesses():
    values = [0.0] * 6 + [1.0] * 6 + [0.0] * 6 + [1.0] * 6
    alone = interval(values)
    together = interval(values, units=[str(number // 6) for number in range(24)])
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_a_whole_subject_is_drawn_or_not():
    drawn = resamples([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")], num_resamples=500)
    assert set(drawn.weights.sum(axis=1)) == {4.0}
    # Subject a is drawn 0, 1 or 2 times, each time with two prompts.
    assert set(drawn.weights[:, :2].sum(axis=1)) == {0.0, 2.0, 4.0}
    assert drawn.top.tolist() == [0, 0, 1, 1]
    assert drawn.weights.mean(axis=0) == pytest.approx(np.ones(4), abs=0.15)


def test_the_order_of_pictures_changes_nothing():
    rng = np.random.default_rng(0)
    values, units = rng.normal(size=12), [str(number // 3) for number in range(12)]
    backwards = interval(values.reshape(4, 3)[:, ::-1].ravel(), units)
    assert interval(values, units).low == pytest.approx(backwards.low, abs=0.15)
    assert interval(values, units) == interval(values, units)


def test_pairing_cancels_what_prompts_share():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 20)
    drawn = resamples([str(number) for number in range(20)])
    found = statistics.difference(hard + 1, hard, drawn)
    assert (found.low, found.mean, found.high) == pytest.approx((1, 1, 1))


def test_none_of_24_is_not_never():
    """Wilson's interval of 0 of 24 ends at z^2 / (n + z^2) = 3.8415 / 27.8415."""
    found = interval([0.0] * 24, is_share=True)
    assert (found.mean, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(3.8415 / 27.8415, abs=1e-4)
    drawn = resamples([str(number) for number in range(24)])
    change = statistics.difference(np.zeros(24), np.ones(24), drawn, is_share=True)
    assert change.mean == -1.0
    assert change.high == pytest.approx(-1 + np.sqrt(2) * 3.8415 / 27.8415, abs=1e-4)


def test_intervals_stay_where_means_can_lie():
    found = interval([0.0, 0.0, 0.0, 1.0], bounds=(0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_nothing_measured_has_no_estimate():
    assert interval([np.nan, np.nan]) is None
    assert statistics.difference(np.array([np.nan]), np.array([1.0]), resamples(["a"])) is None


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (3, 3.182), (9, 2.262), (100, 1.984)])
def test_students_quantiles_are_those_of_the_tables(degrees, quantile):
    assert student_quantile(degrees) == pytest.approx(quantile, abs=2e-3)


def test_two_prompts_have_students_interval_by_hand():
    """Means 0 and 2: mean 1, standard error 1, one degree of freedom."""
    found = interval([0.0, 2.0])
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, 1 - 12.706, 1 + 12.706), rel=0.05)


def test_relative_reduction_by_hand():
    plain = np.array([0.4, 0.5, 0.6, 0.5] * 3)
    drawn = resamples([str(number) for number in range(12)])
    found = statistics.relative_reduction(plain / 5, plain, drawn)
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8))
    noisy = statistics.relative_reduction(plain[::-1] / 5 + 0.05, plain, drawn)
    assert noisy.mean == pytest.approx(0.7)
    assert noisy.low < 0.7 < noisy.high


def test_of_nothing_there_is_no_reduction():
    drawn = resamples([str(number) for number in range(8)])
    plain = np.array([0.1, -0.1] * 4)
    assert statistics.relative_reduction(plain / 2, plain, drawn) is None


def test_signs_by_hand():
    """Of the 8 choices of signs of (1, 2, 3) one gives 6, two give 6 or more by size, and so on."""
    values = np.array([1.0, 2.0, 3.0])
    assert sign_flip_p(values) == 1 / 8
    assert sign_flip_p(values, alternative="less") == 1.0
    assert sign_flip_p(values, alternative="two-sided") == 2 / 8
    # Sums of at least 4: 6 and 4.
    assert sign_flip_p(np.array([-1.0, 2.0, 3.0])) == 2 / 8


def test_signs_of_nothing_say_nothing():
    assert sign_flip_p(np.zeros(5)) == 1.0
    assert sign_flip_p(np.array([])) == 1.0
    assert sign_flip_p(np.array([np.nan, 1.0])) == 1 / 2
    with pytest.raises(ValueError, match="one of greater, less, two-sided"):
        sign_flip_p(np.ones(3), alternative="bigger")


def test_many_units_are_tested_by_drawn_signs():
    values = np.random.default_rng(0).normal(0.3, 1, 16)
    drawn = sign_flip_p(values)
    numbers = np.arange(2**16)
    signs = 1 - 2 * (numbers[:, None] >> np.arange(16) & 1)
    assert drawn == pytest.approx((signs @ values >= values.sum()).mean(), abs=0.01)
    assert sign_flip_p(np.ones(20)) == pytest.approx(1 / (2**14 + 1), rel=0.5)


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_p_values_of_nothing_are_uniform(alternative):
    rng = np.random.default_rng(0)
    found = np.array([sign_flip_p(rng.normal(size=9), alternative=alternative) for _ in range(600)])
    for level in (0.05, 0.25, 0.5, 0.9):
        # A share of 600 spreads by two points at most.
        assert (found <= level).mean() == pytest.approx(level, abs=0.06)


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.5}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
