"""What is concluded from measured pictures, on numbers whose conclusions are known."""

import numpy as np
import pytest

from persam_dreambooth.leakage.validation.gates import gates
from persam_dreambooth.leakage.validation.outcomes import (
    FEWEST_HOSTS,
    area_under_curve,
    outcome,
    rank_correlation,
)


def rows(change, *, modes=("paste",), subjects=3, hosts=FEWEST_HOSTS, levels=(0.1, 0.25, 0.5), seed=0):
    """Return rows in which a mode changes the score by `change(mode, level)` and a little noise."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(subjects):
        for host in range(hosts):
            own = {"name": f"s{number}", "case": number, "host": host}
            base = rng.uniform(0.02, 0.08)
            found.append({**own, "mode": "base", "level": 0.0, "attribution": base})
            found += [
                {
                    **own,
                    "mode": mode,
                    "level": level,
                    "attribution": base + change(mode, level) + rng.normal(0, 0.001),
                }
                for mode in modes
                for level in ([0.0] if mode == "again" else levels)
            ]
    return found


def test_spearman_by_hand():
    # Ranks 0 1 2 3 against 1 0 2 3: 1 - 6 * 2 / (4 * 15) = 0.8.
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([20.0, 10, 30, 40])) == pytest.approx(0.8)
    # A tie shares its ranks: 0 1 2 against 0.5 0.5 2.
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([5.0, 5, 6])) == pytest.approx(np.sqrt(3) / 2)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([7.0, 7, 7])) == 0


def test_auc_by_hand():
    # Of six pairs four are right, one is a tie.
    assert area_under_curve(np.array([1.0, 3, 4]), np.array([2.0, 1])) == pytest.approx(4.5 / 6)
    assert area_under_curve(np.array([1.0]), np.array([1.0, 1])) == 0.5


def test_a_score_that_follows_the_leak_is_seen_to():
    found = outcome(rows(lambda _, level: level), "attribution")
    paste = found["modes"]["paste"]
    assert paste["rho"] == pytest.approx(1)
    assert paste["ranking"] == 1
    assert paste["smallest_share"] == 0.1
    assert paste["levels"]["0.5"]["mean"] - found["base"] == pytest.approx(0.5, abs=0.002)
    assert paste["levels"]["0.5"]["power"] == 1
    assert paste["levels"]["0.5"]["d_z"] > 100


def test_a_score_that_sees_large_leaks_only_finds_them_from_there():
    paste = outcome(rows(lambda _, level: 0.2 * (level >= 0.25)), "attribution")["modes"]["paste"]
    assert paste["smallest_share"] == 0.25


def test_a_blind_score_finds_nothing():
    paste = outcome(rows(lambda _, level: -0.01 * level), "attribution")["modes"]["paste"]
    assert paste["rho"] < -0.9
    assert paste["smallest_share"] is None


def test_with_four_pictures_no_single_subject_can_be_tested():
    few = rows(lambda _, level: level, modes=("paste", "benign"), hosts=FEWEST_HOSTS - 1)
    found = outcome(few, "attribution")
    assert found["modes"]["paste"]["levels"]["0.5"]["power"] is None
    assert found["false_alarms"]["benign"] is None


def test_false_alarms_are_counted_over_subjects_and_levels():
    alarming = rows(lambda mode, level: 0.1 * (mode == "benign") * (level == 0.5), modes=("benign", "again"))
    found = outcome(alarming, "attribution")["false_alarms"]["benign"]
    # Three subjects at three levels and once the same picture again; one level alarms.
    assert found["tests"] == 12
    assert 3 <= found["count"] <= 4
    assert found["rate"] == found["count"] / 12


def test_true_nulls_alarm_about_as_often_as_they_may():
    counts = [
        outcome(rows(lambda *_: 0.0, modes=("benign",), subjects=10, seed=seed), "attribution")
        for seed in range(20)
    ]
    rate = np.mean([found["false_alarms"]["benign"]["rate"] for found in counts])
    # 600 tests at 1 in 32: the spread of the rate is 0.007.
    assert rate == pytest.approx(1 / 32, abs=0.025)


def test_a_harmless_change_has_an_interval_over_subjects():
    found = outcome(rows(lambda *_: 0.02, modes=("benign",)), "attribution")["harmless"]["benign"]
    assert found["low"] <= found["change"] <= found["high"]
    assert found["change"] == pytest.approx(0.02, abs=0.001)
    assert found["low"] > 0.015


def test_pictures_without_background_are_left_out():
    told = rows(lambda _, level: level)
    told[0]["attribution"] = None
    assert outcome(told, "attribution")["modes"]["paste"]["rho"] == pytest.approx(1)


def passed(**changed):
    """Return which gates hold for an outcome in which some numbers are changed."""
    numbers = {
        "rho": 0.9,
        "base": 0.05,
        "again": 0.001,
        "quarter": 0.15,
        "half": 0.2,
        "low": -0.01,
        **changed,
    }
    found = {
        "base": numbers["base"],
        "modes": {
            "paste": {
                "rho": numbers["rho"],
                "levels": {"0.25": {"mean": numbers["quarter"]}, "0.5": {"mean": numbers["half"]}},
            }
        },
        "harmless": {
            "again": {"change": numbers["again"]},
            "benign": {"change": 0.0, "low": numbers["low"], "high": 0.02},
        },
    }
    return [gate.passed for gate in gates(found, chance=0.05)]


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        (0, {"rho": 0.59}),
        (1, {"base": 0.101}),
        (2, {"again": 0.02}),
        (2, {"again": -0.02}),
        (3, {"quarter": 0.2}),
        (3, {"base": 0.1, "quarter": 0.1, "half": 0.3}),
        (4, {"low": 0.001}),
    ],
)
def test_each_gate_fails_for_its_own_reason(place, changed):
    assert passed() == [True] * 5
    assert passed(**changed) == [number != place for number in range(5)]
