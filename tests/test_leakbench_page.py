"""LeakBench: how rows are kept and pooled, and what tables, plot and page make of them."""

import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from leakbench_cases import row, two_albums

from persam_dreambooth.errors import UserError

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import leakbench
from leakbench_coverage import coverage
from leakbench_page import buys, confirmation_of, page_of, spliced, verdict, write_page
from leakbench_plan import ARMS, CHOSEN, FIXED, RECONTEXT, VARIED
from leakbench_plot import pareto_plot
from leakbench_scores import read_rows, write_rows
from leakbench_tables import (
    arms_table,
    at_step,
    matched_table,
    others_table,
    pooled,
    scenes_table,
    steps_table,
)

DOCS = Path(__file__).parent.parent / "docs"


def test_pooling_by_hand():
    summary = pooled(two_albums())
    # Excess: plain (.4 + .2) / 2, masked (.1 + 0) / 2.
    assert summary["arms"]["plain"]["excess"]["mean"] == pytest.approx(0.3)
    assert summary["arms"]["masked"]["excess"]["mean"] == pytest.approx(0.05)
    assert summary["arms"]["plain"]["leak"]["mean"] == pytest.approx(0.5)
    (difference,) = summary["differences"]
    assert difference["excess"]["mean"] == pytest.approx(-0.25)
    assert difference["trait_likeness"]["mean"] == pytest.approx(0)
    # Two subjects that differ: the interval of the mean over subjects must be wide.
    assert difference["excess"]["high"] - difference["excess"]["low"] > 0.1


def test_the_base_model_stands_beside_every_training_seed():
    rows = two_albums()
    again = [one | {"training_seed": 1, "attribution": 0.9} for one in rows if one["arm"] == "plain"]
    summary = pooled([*rows, *again])
    # Seed 0: .4 and .2 over the base; seed 1: .8 and .8.
    assert summary["arms"]["plain"]["excess"]["mean"] == pytest.approx((0.4 + 0.2 + 0.8 + 0.8) / 4)
    # The masked arm has no second seed: its pairs are those of the first.
    assert summary["differences"][0]["excess"]["mean"] == pytest.approx(-0.25)


def test_a_picture_of_the_base_model_counts_once_whatever_number_of_trainings_it_is_paired_with():
    rows = [one | {"leak": False} for one in two_albums()]
    seeds = [one | {"training_seed": seed} for one in rows if one["arm"] != "base" for seed in (0, 1, 2)]
    one, three = pooled(rows), pooled([*(row for row in rows if row["arm"] == "base"), *seeds])
    assert three["arms"]["base"]["leak"]["n"] == 4
    assert three["arms"]["base"] == one["arms"]["base"]
    assert three["families"][RECONTEXT]["base"] == one["families"][RECONTEXT]["base"]
    assert three["pareto"][0] == one["pareto"][0]
    assert three["arms"]["plain"]["leak"]["n"] == 12


def test_tables_tell_what_the_rows_hold():
    rows = two_albums()
    late = [one | {"step": 5, "attribution": 0.1} for one in rows if one["arm"] == "plain"]
    assert coverage([*rows, *late]).startswith(
        "4 trainings of 2 subjects (1 fixed, 1 varied) with 1 training seed, 12 pictures."
    )
    table = arms_table(rows, pooled(rows))
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    assert list(lines) == ["base (untrained)", "plain", "masked (loss mask alone)"]
    assert "| 2 | 50% [" in lines["plain"]
    assert " | +30.0 [" in lines["plain"]
    fixed, varied = (
        pooled(rows, lambda one, group=group: one["group"] == group) for group in (FIXED, VARIED)
    )
    assert f"{100 * fixed['arms']['plain']['excess']['mean']:+.1f}" == "+40.0"
    assert f"{100 * varied['arms']['plain']['excess']['mean']:+.1f}" == "+20.0"
    assert {"+40.0", "+20.0"} <= set(re.findall(r"\+\d+\.\d", scenes_table(rows)))
    more = [*rows, *late]
    assert "| plain | +0.0 | +30.0 | 0.60 | 0.60 |" in steps_table(more, pooled(more))


def test_at_equal_likeness_arms_are_compared_on_their_way():
    # plain: likeness .4, then .8 with excess 10, then 50 points; masked gets to .6 with 6 points.
    paths = {
        "base": [(None, 0, 0.1)],
        "plain": [(5, 0.4, 0.2), (None, 0.8, 0.6)],
        "masked": [(5, 0.3, 0.1), (None, 0.6, 0.16)],
    }
    rows = [
        row(album, arm, "x", value, step=step, likeness=alike)
        for arm, path in paths.items()
        for step, alike, value in path
        for album in "ab"
    ]
    (line,) = matched_table(pooled(rows)).splitlines()[2:]
    # Half way from .4 to .8 plain has (10 + 50) / 2.
    assert line.startswith(
        "| masked (loss mask alone) | 0.60 | +6.0 [+6.0, +6.0] | +30.0 [+30.0, +30.0] | -24.0 ["
    )


def test_bare_prompts_tell_whether_they_are_drawn_at_home():
    places = {"dog": ("room", "beach"), "cat": ("library", "city")}
    rows = [
        row(album, arm, "bare", 0.2, family="bare", predicted_background=place if arm == "plain" else "snow")
        for album, seen in places.items()
        for arm in ("base", "plain")
        for place in seen
    ]
    rows = [one | {"seed": number} for number, one in enumerate(rows)]
    lines = others_table(rows, pooled(rows)).splitlines()
    # The dog was photographed in the room, the cat in the library and the city: 3 of 4.
    assert lines[3].startswith("| plain | 75% |")
    assert lines[2].startswith("| base (untrained) | 0% |")


def test_rows_of_an_earlier_step_stand_for_the_end():
    rows = two_albums()
    early = [one | {"step": 5, "attribution": 0.15} for one in rows if one["arm"] != "base"]
    assert at_step([*rows, *early], None) == [*rows, *early]
    summary = pooled(at_step([*rows, *early], 5))
    # Both arms 15 % over the base model's 10 %.
    assert summary["arms"]["plain"]["excess"]["mean"] == pytest.approx(0.05)
    assert summary["arms"]["masked"]["excess"]["mean"] == pytest.approx(0.05)


def test_the_verdict_follows_from_reduction_and_likeness():
    rows = []
    for number in range(6):
        for arm, value in {"base": 0.05, "plain": 0.5, "masked": 0.06, "random": 0.3}.items():
            alike = {"masked": 0.3, "random": 0.6}.get(arm, 0.6)
            rows += [row(f"s{number}", arm, place, value, trait_likeness=alike) for place in ("x", "y")]
    # masked removes most but is less like the subject; random is as like but removes less than 80 %.
    # Nothing varies from subject to subject, so that both are sure.
    told = verdict(pooled(rows))
    assert told.startswith("**Target missed.** Strict, random background removes 44% [44, 44] of plain")
    for number, one in enumerate(rows):
        # As like on average, but by chance: no arm is surely within the margin.
        one["trait_likeness"] = 0.6 + (0.3 if number % 16 < 8 else -0.3) * (one["arm"] == "masked")
    told = verdict(pooled(rows))
    assert told.startswith("**Target not shown and not ruled out: more runs would tell.** Masked (loss mask")
    for one in rows:
        one["trait_likeness"] = 0.6
    assert verdict(pooled(rows)).startswith(
        "**Target met.** Masked (loss mask alone) removes 98% [98, 98] of"
    )
    without = [one for one in rows if one["arm"] != "plain"]
    assert verdict(pooled(without)).startswith("Plain training did not leak for sure")


def test_fresh_subjects_are_asked_of_the_way_that_others_chose_and_of_no_better_one():
    rows = []
    for number in range(6):
        for arm, value in {"base": 0.05, "plain": 0.5, "masked_outside": 0.06, CHOSEN: 0.3}.items():
            rows += [row(f"s{number}", arm, place, value, trait_likeness=0.6) for place in ("x", "y")]
    title = ARMS[CHOSEN].title
    told = confirmation_of(rows, {"features": "ct", "steps": [5]})
    assert told.plot is None
    sentence = f"**Target missed.** {title[0].upper()}{title[1:]} removes 44% [44, 44] of plain"
    assert sentence in told.parts["confirmed"]
    assert "It was chosen before, on other subjects.)" in told.parts["confirmed"]
    # Where the choice itself is made, the best is named.
    assert "**Target met.** Masked + outside prior removes 98% [98, 98] of" in verdict(pooled(rows))


def test_a_line_says_what_an_arm_changes_and_where_it_is_surely_worse():
    rows = []
    for number in range(6):
        rows += [
            row(f"s{number}", "base", "x", 0.05),
            row(f"s{number}", "plain", "x", 0.5, trait_likeness=0.7),
        ]
        rows.append(row(f"s{number}", "masked", "x", 0.1, trait_likeness=0.4 + number / 50))
    told = buys(pooled(rows))
    assert told.startswith("- masked (loss mask alone): excess -40.0 [-40.0, -40.0], likeness -0.25 [-0.")
    assert told.endswith("]. **Worse: likeness.**")


def test_rows_come_back_and_equal_rows_are_equal_bytes(tmp_path):
    rows = two_albums()
    write_rows(tmp_path / "a.gz", rows, {"steps": [1, 2]})
    write_rows(tmp_path / "b.gz", rows, {"steps": [1, 2]})
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    found, about = read_rows(tmp_path / "a.gz")
    assert found == rows
    assert about == {"steps": [1, 2]}


def test_rows_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.gz: no such file; the rows of a benchmark are needed"):
        read_rows(tmp_path / "a.gz")
    (tmp_path / "a.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"a.gz: no table of rows \(.*\); the file that --full writes"):
        read_rows(tmp_path / "a.gz")


def test_only_what_stands_between_the_marks_is_replaced():
    page = "before\n<!-- leakbench: arms -->\nold\n<!-- end -->\nafter\n"
    assert spliced(page, {"arms": "new"}) == page.replace("old", "new")
    assert spliced(spliced(page, {"arms": "new"}), {"arms": "new"}) == page.replace("old", "new")
    two = f"{page}<!-- leakbench: verdict -->\nkept\n<!-- end -->\n"
    assert spliced(two, {"arms": "new"}) == two.replace("old", "new")
    with pytest.raises(UserError, match=r"^leakage.md: has no part 'steps'; "):
        spliced(page, {"steps": ""})


def test_the_plot_holds_a_dot_for_every_point_and_is_well_formed():
    rows = two_albums()
    late = [one | {"step": 5} for one in rows if one["arm"] != "base"]
    points = pooled([*rows, *late])["pareto"]
    titles = {"base": "base", "plain": "plain & simple", "masked": "masked", "noise": "not run"}
    drawn = ET.fromstring(pareto_plot(points, titles))
    marks = drawn.findall(".//{http://www.w3.org/2000/svg}circle")
    # A dot a point, and one a line of the legend.
    assert len(marks) == 5 + 3
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "plain & simple" in texts
    assert "not run" not in texts


def test_leakage_stands_by_its_root_and_no_two_ways_look_alike():
    shares = [0.0, *(0.01 * number**2 for number in range(len(ARMS)))]
    points = [
        {
            "arm": arm,
            "step": None,
            "excess": dict.fromkeys(("mean", "low", "high"), share),
            "trait_likeness": {"mean": 0.5, "low": 0.4, "high": 0.6},
        }
        for arm, share in zip(("base", *ARMS), shares, strict=True)
    ]
    svg = pareto_plot(points, {arm: arm for arm in ("base", *ARMS)})
    drawn = ET.fromstring(svg)
    dots = drawn.findall(".//{http://www.w3.org/2000/svg}circle[@r='6.0']")
    places = [float(dot.get("cx")) for dot in dots]
    steps = np.diff(places[1:])
    # 0, 1, 4, 9, 16, ... percent in equal steps.
    assert places[0] == places[1]
    np.testing.assert_allclose(steps, steps[0], atol=0.11)
    paths = drawn.findall(".//{http://www.w3.org/2000/svg}path[@stroke-width='2'][@fill='none']")
    looks = [(path.get("stroke"), path.get("stroke-dasharray")) for path in paths]
    assert len(set(looks)) == len(looks) == 1 + len(ARMS)


def test_the_page_is_what_the_kept_rows_say(tmp_path):
    rows, about = read_rows(leakbench.PUBLISHED)
    shutil.copy(DOCS / "leakage.md", tmp_path / "leakage.md")
    write_page(tmp_path / "leakage.md", tmp_path, page_of(rows, about))
    assert (tmp_path / "leakage.md").read_text() == (DOCS / "leakage.md").read_text()
    plot = "leakbench_pareto.svg"
    assert (tmp_path / plot).read_text() == (DOCS / "images" / plot).read_text()
    write_page(tmp_path / "leakage.md", tmp_path, confirmation_of(*read_rows(leakbench.CONFIRMED)))
    assert (tmp_path / "leakage.md").read_text() == (DOCS / "leakage.md").read_text()
    assert leakbench.PUBLISHED.stat().st_size + leakbench.CONFIRMED.stat().st_size < 1_500_000
