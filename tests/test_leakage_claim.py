"""The claim: four conditions fixed beforehand, and sentences that claim no more than the intervals allow."""

import pytest
from leakage_cases import PROMPTS, comparison

from persam_dreambooth.leakage.claim import check, claim, verdict
from persam_dreambooth.leakage.summary import summarise


def states(result):
    return [one["state"] for one in result["claim"]["conditions"]]


def test_a_clear_win_is_said():
    result = comparison(plain_leaks=8, masked_leaks=0)
    told = result["claim"]
    assert [one["name"] for one in told["conditions"]] == ["leakage", "likeness", "adherence", "missing"]
    assert states(result) == ["met"] * 4
    assert (told["arm"], told["minus"], told["met"], told["verdict"]) == ("masked", "plain", 4, "supported")
    assert result["verdict"] == (
        "Masked training leaves 5 % [5, 5] of the background nearer to the photos’ than to any other place, "
        "plain training 85 % [85, 85]; the base model’s own share is 5 % [5, 5]. That is 100 % [100, 100] of "
        "what plain training adds. The subject keeps its likeness (0.00 [0.00, 0.00]). Claim supported: 4 of "
        "4 conditions. The toy world’s judge sees the photos’ background in 0 % [0, 32] of pictures against "
        "100 % [68, 100]."
    )


def test_every_number_of_the_verdict_has_its_interval():
    text = comparison(plain_leaks=6, masked_leaks=1)["verdict"]
    for part in text.split("%")[:-1]:
        assert not part.rstrip().endswith("of")
    assert text.count("[") == text.count("]") >= 5


def test_a_difference_within_its_interval_is_undecided():
    result = comparison(plain_leaks=2, masked_leaks=1)
    assert states(result)[0] == "open"
    assert result["claim"]["verdict"] == "undecided"
    assert result["verdict"].startswith(("Undecided: masked training", "Nothing to remove"))


def test_masks_that_leak_more_are_said_to():
    result = comparison(plain_leaks=0, masked_leaks=8)
    assert states(result) == ["broken", "met", "broken", "met"]
    assert result["claim"]["verdict"] == "not supported"
    assert result["verdict"].startswith("It did not help: masked training")


def test_a_loss_of_likeness_is_said():
    result = comparison(plain_leaks=8, masked={"likeness": 0.5})
    assert states(result)[1] == "broken"
    assert "But the subject is less alike (−0.30 [−0.30, −0.30])." in result["verdict"]


def test_a_loss_within_the_margin_is_none():
    assert states(comparison(plain_leaks=8, masked={"likeness": 0.76}))[1] == "met"
    assert states(comparison(plain_leaks=8, masked={"likeness": 0.74}))[1] == "broken"


def test_scenes_that_are_drawn_less_often_are_said():
    result = comparison(plain_leaks=0, masked={"adherence": False})
    assert states(result)[2] == "broken"
    assert (
        "The prompted scene is drawn less often (0 % [0, 32] against 100 % [68, 100])." in result["verdict"]
    )


def test_scenes_that_nobody_judged_are_the_toy_worlds():
    result = comparison(plain_leaks=8)
    for row in result["rows"]:
        row["adherence"] = None
    assert states(summarise(result["rows"]))[2] == "met"
    for row in result["rows"]:
        del row["agreement"]
    (_, _, scenes, _) = summarise(result["rows"])["claim"]["conditions"]
    assert scenes["state"] == "open"
    assert scenes["text"].endswith("not measured")


def test_nobody_wins_by_losing_the_subject():
    result = comparison(plain_leaks=8, masked={"missing": True, "likeness": 0.8})
    assert states(result)[3] == "broken"
    assert result["claim"]["verdict"] == "not supported"


def test_one_subject_more_that_is_missing_is_open():
    """One of eight is more than two points more, and may be chance."""
    result = comparison(plain_leaks=8)
    lost = next(row for row in result["rows"] if row["arm"] == "masked")
    lost["missing"] = True
    assert states(summarise(result["rows"]))[3] == "open"


def test_when_nothing_leaks_nothing_is_claimed():
    result = comparison(plain_leaks=0, masked_leaks=0)
    assert states(result)[0] == "open"
    assert result["verdict"].startswith("Nothing to remove: plain training itself did not measurably leak.")


@pytest.mark.parametrize(("prompts", "seeds"), [(PROMPTS[:3], range(8)), (PROMPTS, (0,))])
def test_few_pictures_give_no_verdict(prompts, seeds):
    result = comparison(plain_leaks=24, prompts=tuple(prompts), seeds=tuple(seeds))
    assert set(states(result)) == {"open"}
    assert result["claim"]["verdict"] == "too few pictures"
    assert result["verdict"].startswith("Not enough pictures to tell: ")


def test_without_a_plain_arm_there_is_no_claim():
    result = comparison()
    rows = [row for row in result["rows"] if row["arm"] != "plain"]
    alone = summarise(rows)
    assert alone["claim"] is None
    assert alone["verdict"].startswith("No verdict")
    assert alone["differences"] == []


def test_other_arms_have_claims_of_their_own():
    rows = comparison(plain_leaks=8)["rows"]
    worse = [{**row, "arm": "strict", "likeness": 0.2} for row in rows if row["arm"] == "masked"]
    result = summarise([*rows, *worse])
    assert result["claim"]["arm"] == "masked"
    assert claim(result, "strict")["verdict"] == "not supported"
    assert claim(result, "nobody") is None
    assert verdict(result) == result["verdict"]


def check_states(result, **limits):
    return [one.state for one in check(result, **limits)]


def test_limits_are_kept_broken_or_open():
    good, bad = comparison(plain_leaks=8, masked_leaks=0), comparison(plain_leaks=0, masked_leaks=8)
    assert check_states(good, max_excess=0.05, min_fidelity=-0.05) == ["ok", "ok"]
    assert check_states(bad, max_excess=0.05) == ["breach"]
    assert check_states(comparison(masked_leaks=1), max_excess=0.05) == ["undecided"]
    assert check_states(comparison(masked={"likeness": 0.5}), min_fidelity=-0.05) == ["breach"]
    assert check_states(good) == []


def test_limits_say_what_was_asked_and_found():
    (excess, likeness) = check(comparison(plain_leaks=8, masked_leaks=8), max_excess=0.05, min_fidelity=-0.05)
    assert excess.text == "masked: excess 80 points [80, 80]; at most 5 points is asked"
    assert likeness.text == "masked: likeness against plain 0.00 [0.00, 0.00]; at least −0.05 is asked"


def test_limits_of_what_was_not_measured_or_too_little_are_undecided():
    result = comparison(plain_leaks=8, prompts=PROMPTS[:2])
    assert check_states(result, max_excess=0.05) == ["undecided"]
    alone = summarise([row for row in comparison()["rows"] if row["arm"] != "plain"])
    assert check_states(alone, max_excess=0.05, min_fidelity=-0.05) == ["ok", "undecided"]
    assert "likeness against plain not measured" in check(alone, min_fidelity=-0.05)[0].text
