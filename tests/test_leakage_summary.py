"""What follows from rows alone: families, subjects, prompts in conflict, paths over the steps."""

import json
from pathlib import Path

import numpy as np
import pytest
from leakage_cases import PROMPTS, SEEDS, comparison, leaked, row

from persam_dreambooth.leakage.matched import at_matched_likeness
from persam_dreambooth.leakage.measures import MEASURES
from persam_dreambooth.leakage.statistics import holm
from persam_dreambooth.leakage.summary import SCHEMA, SECONDARY, summarise
from persam_dreambooth.leakage.tables import AVERAGED

DOCS = Path(__file__).parents[1] / "docs" / "leakage_measure.md"
KEYS = [(prompt, seed) for prompt in PROMPTS for seed in SEEDS]


def test_every_key_of_the_schema_is_there():
    result = comparison()
    assert result["schema"] == SCHEMA == "persam-dreambooth-comparison/2"
    assert set(result) == {
        *("schema", "verdict", "claim", "config", "inputs", "arms", "families", "pareto", "differences"),
        *("secondary", "prompts", "seeds", "statistics", "training", "proof", "validation", "truth"),
        *("warnings", "rows"),
    }
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_documentation_names_every_key():
    text = DOCS.read_text(encoding="utf-8")
    result = comparison()
    for key in (*result, *result["rows"][0], *AVERAGED):
        assert f"`{key}`" in text or f"`.{key}`" in text or f"`{key}." in text, key


def test_measures_mean_the_same_in_words_and_in_numbers():
    """The page says which way is better; the tests of differences ask for that way."""
    for name, kind in AVERAGED.items():
        if name in MEASURES:
            assert MEASURES[name].lower_is_better == kind.lower_is_better, name


def in_family(family: str, **measured) -> list[dict]:
    """Return rows of three arms in one more family; plain's are given what is measured."""
    rows = []
    for arm in ("base", "plain", "masked"):
        for number in range(4):
            rows.append(
                row(arm, f"{family} {number}", 0, family=family, **(measured if arm == "plain" else {}))
            )
    return rows


def test_families_are_kept_apart():
    rows = comparison(plain_leaks=8)["rows"]
    more = in_family("class", contamination=0.5, likeness=None) + in_family("none", attribution=0.45)
    result = summarise([*rows, *more], chance=0.05)
    assert result["arms"] == comparison(plain_leaks=8)["arms"]
    assert list(result["families"]) == ["recontext", "class", "none"]
    assert result["families"]["class"]["plain"]["contamination"]["mean"] == 0.5
    assert result["families"]["none"]["plain"]["excess"]["mean"] == pytest.approx(0.4)
    assert result["prompts"] == list(PROMPTS)


def test_secondary_differences_have_holms_p_values():
    rows = comparison(plain_leaks=8)["rows"]
    more = in_family("class", contamination=0.5) + in_family("none", attribution=0.45)
    found = summarise([*rows, *more])["secondary"]
    asked = {(one["family"], one["measure"]) for one in found}
    assert asked <= {(family, measure) for family, names in SECONDARY.items() for measure in names}
    assert {("recontext", "copy_rate"), ("class", "excess"), ("none", "excess")} <= asked
    raised = holm({str(number): one["p_two_sided"] for number, one in enumerate(found)})
    assert [one["p_holm"] for one in found] == list(raised.values())


def test_p_values_are_one_sided_in_favour_of_the_arm():
    """Four prompts that all agree: one of 16 choices of signs, whichever way is better."""
    (found,) = comparison(plain_leaks=8, masked={"likeness": 0.9})["differences"]
    for measure in ("excess", "likeness", "adherence"):
        assert (found[measure]["p"], found[measure]["p_two_sided"]) == (1 / 16, 2 / 16), measure
    (worse,) = comparison(plain_leaks=8, masked={"likeness": 0.7})["differences"]
    assert worse["likeness"]["p"] == 1.0


def test_subjects_are_the_units_at_the_top_where_there_are_several():
    """Two of three subjects leak in every picture: pictures are no witnesses of other subjects."""
    rows = []
    for album, leaks in (("cat", True), ("dog", True), ("mug", False)):
        for arm in ("base", "plain"):
            measured = leaked() if leaks and arm == "plain" else {}
            rows += [row(arm, prompt, seed, album=album, **measured) for prompt, seed in KEYS]
    together = summarise(rows)["arms"]["plain"]["excess"]
    assert together["mean"] == pytest.approx(0.8 * 2 / 3)
    assert together["n"] == 24
    assert together["low"] < 0
    # The same prompt of two subjects is two prompts.
    assert summarise(rows)["arms"]["base"]["num_pictures"] == 24


def test_other_arms_can_be_what_is_compared_with():
    (found,) = summarise(comparison()["rows"], minus="masked")["differences"]
    assert (found["arm"], found["minus"]) == ("plain", "masked")
    assert summarise(comparison()["rows"], minus="nobody")["differences"] == []


def conflicting(**options):
    rows = comparison(plain_leaks=8)["rows"]
    for one in rows:
        if one["prompt"] == PROMPTS[0] and one["arm"] == "base":
            one["attribution"] = 0.11
    return summarise(rows, **options)


def test_a_prompt_like_the_photos_scene_is_told_and_stays():
    result = conflicting(chance=0.05)
    first, *others = result["config"]["prompts"]
    assert (first["id"], first["text"], first["dropped"]) == ("recontext-01", PROMPTS[0], False)
    assert "11 % of cells; by chance 5 %" in first["reason"]
    assert all(one["reason"] is None for one in others)
    assert result["arms"]["plain"]["num_pictures"] == 8
    assert result["arms"]["plain"]["excess_without_conflicts"]["n"] == 6


def test_a_prompt_like_the_photos_scene_can_be_dropped():
    result = conflicting(chance=0.05, drop_conflicting=True)
    assert result["config"]["prompts"][0]["dropped"]
    assert result["prompts"] == list(PROMPTS[1:])
    assert result["arms"]["plain"]["num_pictures"] == 6
    assert len(result["rows"]) == 24


def test_without_a_chance_level_there_is_no_conflict():
    assert all(one["reason"] is None for one in conflicting()["config"]["prompts"])


def test_dropping_prompts_by_their_base_pictures_makes_any_excess_look_larger():
    """An arm that is the base model with other noise has no excess; without the "conflicts" it seems to."""
    rng = np.random.default_rng(0)
    kept, all_of_them = [], []
    for _ in range(400):
        base, tuned = rng.beta(0.2, 3.8, (2, 10))
        all_of_them.append((tuned - base).mean())
        kept.append((tuned - base)[base <= 0.1].mean())
    assert abs(np.mean(all_of_them)) < 0.01
    assert np.mean(kept) > 0.02


def path(arm: str, points: dict[int | None, tuple[float, float]], spread: float = 0.0) -> list[dict]:
    """Return rows of an arm whose excess and likeness after each step are given."""
    rng = np.random.default_rng(len(arm))
    rows = []
    for step, (excess, likeness) in points.items():
        for prompt, seed in KEYS:
            off = spread * rng.normal(size=2)
            rows.append(
                row(
                    arm,
                    prompt,
                    seed,
                    step=step,
                    attribution=0.05 + excess + off[0],
                    likeness=likeness + off[1],
                )
            )
    return rows


def paths(spread: float = 0.0):
    base = path("base", {None: (0.0, 0.0)})
    plain = path("plain", {100: (0.2, 0.4), 200: (0.6, 0.8), None: (0.8, 1.0)}, spread)
    masked = path("masked", {100: (0.0, 0.2), 200: (0.05, 0.5), None: (0.1, 0.6)}, spread)
    return summarise([*base, *plain, *masked])


def test_the_path_over_the_steps():
    points = paths()["pareto"]
    assert [(point["arm"], point["step"]) for point in points] == [
        ("base", None),
        *(("plain", step) for step in (100, 200, None)),
        *(("masked", step) for step in (100, 200, None)),
    ]
    assert points[2]["excess"]["mean"] == pytest.approx(0.6)
    assert points[2]["likeness"]["mean"] == pytest.approx(0.8)


def test_leakage_at_equal_likeness_by_hand():
    """Both reach 0.6: plain half way between its first two points, at 0.4; masked at its end, at 0.1."""
    found = at_matched_likeness(paths()["rows"], "masked", "plain")
    assert found["likeness"] == pytest.approx(0.6)
    assert found["own"]["mean"] == pytest.approx(0.1)
    assert found["other"]["mean"] == pytest.approx(0.4)
    assert found["difference"]["mean"] == pytest.approx(-0.3)


def test_the_base_model_is_where_the_paths_begin():
    """Traits 0.2 in the base model, 0.4 after plain's first steps: 0.25 is a quarter of the way, at 0.05."""
    base = path("base", {None: (0.0, 0.0)})
    plain = path("plain", {100: (0.2, 0.4), None: (0.8, 1.0)})
    masked = path("masked", {100: (0.0, 0.05), None: (0.02, 0.1)})
    rows = summarise([*base, *plain, *masked])["rows"]
    for one in rows:
        one["trait_likeness"] = 0.2 + 0.5 * one["likeness"]
    found = at_matched_likeness(rows, "masked", "plain", likeness="trait_likeness")
    assert found["likeness"] == pytest.approx(0.25)
    assert found["other"]["mean"] == pytest.approx(0.05)
    assert at_matched_likeness([one for one in rows if one["arm"] != "base"], "masked", "plain") is None


def test_leakage_at_equal_likeness_has_intervals():
    found = at_matched_likeness(paths(spread=0.02)["rows"], "masked", "plain")
    assert found["difference"]["low"] < -0.3 < found["difference"]["high"] < -0.2


def test_who_only_trains_less_does_not_leak_less():
    """The same path, cut off half way: at equal likeness nothing is gained."""
    base = path("base", {None: (0.0, 0.0)})
    plain = path("plain", {100: (0.2, 0.4), None: (0.6, 0.8)})
    short = path("short", {50: (0.1, 0.2), None: (0.2, 0.4)})
    result = summarise([*base, *plain, *short])
    assert result["differences"][0]["excess"]["mean"] == pytest.approx(-0.4)
    found = at_matched_likeness(result["rows"], "short", "plain")
    assert found["difference"]["mean"] == pytest.approx(0.0)


def test_without_steps_nothing_is_matched():
    assert at_matched_likeness(comparison()["rows"], "masked", "plain") is None
    rows = paths()["rows"]
    assert at_matched_likeness(rows, "masked", "nobody") is None
    assert at_matched_likeness([{**one, "likeness": -0.1} for one in rows], "masked", "plain") is None
