"""LeakBench partly run: which ways to train compare, what is marked, and what the plot leaves out."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from leakbench_cases import row, two_albums
from leakbench_coverage import comparable
from leakbench_labels import placed
from leakbench_page import buys, plot, verdict
from leakbench_tables import arms_table, others_table, pooled, scenes_table, steps_table

from persam_dreambooth.leakage.report.labels import Box


def trained(**trainings):
    return [
        row(album, arm, "x", 0.2, training_seed=int(seed), trait_likeness=0.5)
        for arm, told in trainings.items()
        for album, seed in told.split()
    ]


def test_arms_compare_that_have_the_same_subjects_by_what_they_share():
    found = comparable(trained(plain="a0 b0 a1 b1", masked="a0 b0 a1", random="a0 a1", fill="a0 b0"))
    assert found.arms == ("plain", "masked", "fill")
    # The second seed is of one subject only in one arm, and of none in another.
    assert found.trainings == {("a", 0), ("b", 0)}
    assert found.left_out == {"random": "1 of 2 subjects"}
    # A way with a seed of its own shares no training with the others.
    assert comparable(trained(plain="a0 b0", fill="a1 b1")).arms == ("plain",)
    assert comparable([]).arms == ()
    whole = comparable(trained(plain="a0 b0", masked="a0 b0"))
    assert (whole.arms, whole.left_out) == (("plain", "masked"), {})


def partly_run():
    # Of `random` only the subject is there that leaks more.
    more = [one | {"arm": "random", "attribution": 0.4} for one in two_albums() if one["arm"] == "masked"]
    return [*two_albums(), *(one for one in more if one["album"] == "a")]


def test_an_arm_that_lacks_subjects_is_not_in_the_plot_and_is_named_below_it():
    drawn = ET.fromstring(plot(pooled(partly_run())))
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "masked (loss mask alone)" in texts
    assert "strict, random background" not in texts
    caption = " ".join(texts[-2:])
    assert (
        "2 trainings of each way, the same 2 subjects and seeds. Left out, because other subjects" in caption
    )
    assert "strict, random background (1 of 2 subjects)." in caption


def test_an_arm_that_lacks_subjects_is_marked_and_paired_with_those_it_has():
    rows = partly_run()
    summary = pooled(rows)
    (found,) = (one for one in summary["differences"] if one["arm"] == "random")
    # Both of subject a: .3 over the base model against plain's .4, whatever plain does with subject b.
    assert found["excess"]["mean"] == pytest.approx(-0.1)
    assert found["excess"]["n"] == 2
    for table in (
        arms_table(rows, summary),
        scenes_table(rows),
        steps_table(rows, summary),
        others_table(rows, summary),
    ):
        assert "| strict, random background † |" in table
        assert "| plain |" in table
        assert (
            "† not all trainings: strict, random background 1 of 2 trainings, 1 of 2 subjects. Such" in table
        )
    assert "strict, random background (1 of 2 subjects): leaked" in buys(summary)
    assert "†" not in arms_table(two_albums(), pooled(two_albums()))


def test_an_arm_that_lacks_subjects_does_not_win():
    rows = []
    for number in range(6):
        for arm, value in {"base": 0.05, "plain": 0.5, "masked": 0.2, "random": 0.06}.items():
            rows += [row(f"s{number}", arm, place, value, trait_likeness=0.6) for place in ("x", "y")]
    assert verdict(pooled(rows)).startswith("**Target met.** Strict, random background removes 98%")
    rows = [one for one in rows if (one["arm"], one["album"]) != ("random", "s0")]
    assert verdict(pooled(rows)).startswith("**Target missed.** Masked (loss mask alone) removes 67%")


def test_without_likeness_there_is_no_verdict_and_an_empty_plot():
    rows = [
        row(f"s{number}", arm, place, value)
        for number in range(6)
        for arm, value in {"base": 0.05, "plain": 0.5, "masked": 0.06}.items()
        for place in ("x", "y")
    ]
    assert verdict(pooled(rows)) == (
        "These features could not measure likeness, so that nothing is said of the target."
    )
    ET.fromstring(plot(pooled(rows)))


def test_numbers_lie_on_no_other_and_on_no_dot():
    rng, area = np.random.default_rng(0), Box(0, 0, 300, 200)
    for spread in (0, 2, 20, 150):
        dots = [tuple(dot) for dot in rng.normal((150, 100), spread, (14, 2)).clip(10, 190)]
        boxes = placed(dots, [20] * 14, area, radius=6)
        assert all(area.holds(box) for box in boxes)
        for number, box in enumerate(boxes):
            assert not any(box.meets(other) for other in boxes[:number])
            assert not any(box.meets(Box(x - 6, y - 6, x + 6, y + 6)) for x, y in dots)
