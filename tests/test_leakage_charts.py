"""The report's drawings: axes, bars, paths and outlines, with coordinates worked out by hand."""

import re

import pytest
from report_cases import NASTY, Page, around

from persam_dreambooth.leakage.measures import MEASURES, difference_text, value_text
from persam_dreambooth.leakage.report import charts, curves, looks, overlays, pareto
from persam_dreambooth.leakage.report.scales import Axis, round_ticks, round_up

LOOKS = looks.looks_of(["base", "plain", "masked"])


def numbers(drawn, tag, css, *names):
    """Return attributes of every such element as numbers."""
    return [tuple(float(own[name]) for name in names) for own in Page(drawn).all(tag, css)]


@pytest.mark.parametrize(
    ("values", "least", "ticks"),
    [
        ([0.1, 0.33], 0.05, (0.0, 0.1, 0.2, 0.3, 0.4)),
        ([-0.12, 0.3], 0.05, (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3)),
        ([-0.3, -0.1], 0.05, (-0.3, -0.2, -0.1, 0.0)),
        ([], 0.05, (0.0, 0.01)),
        ([0.0, 3e-9], 0.05, (0.0, 0.01)),
        ([0.6], 0.05, (0.0, 0.2, 0.4, 0.6)),
        ([7.0], 0.05, (0.0, 2.0, 4.0, 6.0, 8.0)),
    ],
)
def test_ticks_are_round_enclose_everything_and_hold_zero(values, least, ticks):
    assert round_ticks(values, least=least) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.05, 0.06), (0.6, 0.6), (0.61, 0.8), (1.0, 1.0), (3e-4, 4e-4)]
)
def test_rounding_up_keeps_quarters_round(value, rounded):
    assert round_up(value) == pytest.approx(rounded)


def test_an_axis_places_values_between_its_ends():
    assert Axis((-1.0, 0.0, 1.0), 10.0, 330.0).place(0.0) == 170.0
    assert Axis((0.0, 2.0), 100.0, 20.0).place(0.5) == 80.0


def test_a_bar_ends_at_its_mean_and_its_interval_at_its_ends():
    found = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8}
    axis = charts.bar_axis("leak", [found], [0.0, 1.0])
    drawn = charts.bar("leak", "plain", found, {"a": 0.0, "b": 1.0}, axis, LOOKS["plain"])
    # The axis runs from 0 at 10 to 1 at 330.
    assert numbers(drawn, "rect", "bar", "x", "width") == [(10.0, 160.0)]
    assert numbers(drawn, "line", "interval", "x1", "x2") == [(90.0, 250.0)]
    assert numbers(drawn, "circle", "dot", "cx") == [(10.0,), (330.0,)]
    assert 'aria-label="plain: 50 % [25, 75]"' in drawn


def test_a_bar_to_the_left_starts_at_its_mean():
    found = {"mean": -0.1, "low": -0.2, "high": 0.1, "n": 8}
    axis = charts.bar_axis("excess", [found], [])
    assert axis.ticks == (-0.2, -0.1, 0.0, 0.1)
    drawn = charts.bar("excess", "plain", found, {}, axis, LOOKS["plain"])
    (x, width), *_ = numbers(drawn, "rect", "bar", "x", "width")
    assert (x, x + width) == pytest.approx((axis.place(-0.1), axis.place(0.0)), abs=0.1)


def test_a_share_whose_interval_leaves_0_to_1_is_still_on_its_axis():
    found = {"mean": 0.99, "low": 0.9, "high": 1.02, "n": 8}
    assert charts.bar_axis("adherence", [found], []).high >= 1.02


def test_prompts_of_one_value_do_not_hide_each_other():
    found = around(0.5)
    axis = charts.bar_axis("leak", [found], [])
    drawn = charts.bar("leak", "x", found, {"a": 0.5, "b": 0.5, NASTY: 0.5}, axis, LOOKS["base"])
    assert len(set(numbers(drawn, "circle", "dot", "cx", "cy"))) == 3
    assert NASTY in Page(drawn).text


def test_more_dots_than_can_be_pointed_at_have_no_names():
    found = around(0.5)
    axis = charts.bar_axis("leak", [found], [])
    for count, names in ((charts.MAX_NAMED_DOTS, charts.MAX_NAMED_DOTS), (charts.MAX_NAMED_DOTS + 1, 0)):
        dots = {f"prompt {number}": number % 2 for number in range(count)}
        drawn = charts.bar("leak", "x", found, dots, axis, LOOKS["plain"])
        assert drawn.count("<title>prompt") == names
        assert {x for (x,) in numbers(drawn, "circle", "dot", "cx")} == {10, 330}


def test_differences_stand_about_zero_in_the_middle():
    entry = {"arm": "masked", "minus": "plain", "leak": {"mean": -0.5, "low": -0.75, "high": -0.25, "n": 8}}
    axis = charts.difference_axis("leak", [entry], [{"a": -0.5}])
    assert axis.ticks == (-0.8, -0.4, 0.0, 0.4, 0.8)
    drawn = charts.difference("leak", entry, {"a": -0.5}, axis, LOOKS["masked"])
    # Zero is drawn at 170, and -0.75 at 170 - 160 * 0.75 / 0.8.
    assert numbers(drawn, "line", "zero", "x1")[0] == (170.0,)
    assert numbers(drawn, "line", "interval", "x1", "x2") == [(20.0, 120.0)]
    assert numbers(drawn, "circle", "dot", "cx") == [(70.0,)]
    assert "masked minus plain −50 points [−75, −25]" in drawn


def test_differences_of_nothing_can_be_drawn():
    entry = {"arm": "masked", "minus": "plain", "leak": {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 8}}
    axis = charts.difference_axis("leak", [entry], [{}])
    drawn = charts.difference("leak", entry, {}, axis, LOOKS["masked"])
    assert numbers(drawn, "line", "interval", "x1", "x2") == [(170.0, 170.0)]


def pareto_result():
    """Return two arms of two steps each, one of them with the finished model."""
    return {
        "arms": {"base": {"attribution": around(0.02)}, "plain": {}, "masked": {}},
        "inputs": {"photos": [{"own_attribution": 0.5}, {"own_attribution": 0.7}, {"own_attribution": None}]},
        "pareto": [
            {"arm": "plain", "step": None, "excess": around(0.4), "likeness": around(0.8)},
            {"arm": "plain", "step": 100, "excess": around(0.2), "likeness": around(0.4)},
            {"arm": "masked", "step": 100, "excess": around(0.1), "likeness": around(0.5)},
            {"arm": "base", "step": None, "excess": around(0.0), "likeness": around(0.0)},
            {"arm": "masked", "step": 200, "excess": None, "likeness": around(0.6)},
        ],
    }


def test_a_path_runs_through_its_steps_to_the_finished_model():
    points = pareto.pareto_points(pareto_result(), "excess", "likeness")
    assert [(point["arm"], point["step"]) for point in points] == [
        ("plain", 100),
        ("plain", None),
        ("masked", 100),
    ]
    drawn = pareto.pareto_chart(points, [], "excess", "likeness", LOOKS)
    across, up = pareto.axes(points, [])
    # To the right 0 to 0.5 from 58 to 542, upwards 0 to 1 from 340 to 34.
    assert (across.ticks[-1], up.ticks[-1]) == (0.5, 1.0)
    assert (across.start, across.end, up.start, up.end) == (58.0, 542.0, 340.0, 34.0)
    path = Page(drawn).all("polyline", "path")[0]["points"]
    assert path == f"{58 + 484 * 0.4:g},{340 - 306 * 0.4:g} {58 + 484 * 0.8:g},{340 - 306 * 0.8:g}"
    crosses = numbers(drawn, "line", "last", "x1", "x2", "y1", "y2")
    assert len(crosses) == 4
    assert crosses[0][:2] == pytest.approx((58 + 484 * 0.7, 58 + 484 * 0.9), abs=0.1)
    assert crosses[1][2:] == pytest.approx((340 - 306 * 0.75, 340 - 306 * 0.85), abs=0.1)
    assert "plain at step 100: excess 20 points [15, 25], likeness 0.40 [0.35, 0.45]" in drawn


def test_without_steps_every_arm_is_one_dot():
    result = {
        "arms": {"base": {"excess": around(0)}, "plain": {"excess": around(0.3), "likeness": around(1)}}
    }
    points = pareto.pareto_points(result, "excess", "likeness")
    assert [(point["arm"], point["step"]) for point in points] == [("plain", None)]
    assert "polyline" not in pareto.pareto_chart(points, [], "excess", "likeness", LOOKS)


def test_the_base_model_and_the_photos_are_marked():
    marks = pareto.anchors(pareto_result(), "excess", "likeness")
    assert [mark[:2] for mark in marks] == [("base", "base model"), ("real", "the photos")]
    assert marks[0][2:] == (0.0, 0.0)
    # What photos share among themselves, less what the base model's pictures share with them.
    assert marks[1][2:] == pytest.approx((0.6 - 0.02, 1.0))
    truth = {"arms": {"base": {"leak": around(0.1), "trait_likeness": around(0.2)}}}
    assert pareto.anchors(truth, "leak", "trait_likeness") == [("base", "base model", 0.1, 0.2)]


def test_every_arm_has_a_shape_of_its_own_and_one_of_three_hues():
    arms = ["base", "plain", "plain_prior", "masked", "strict", "noise", "blur", "random"]
    found = looks.looks_of(arms)
    assert len({look.shape for look in found.values()}) == len(arms)
    assert {look.css.split("-")[0] for look in found.values()} == {"base", "warm", "cool"}
    assert found["plain_prior"].css == "warm-1"


@pytest.mark.parametrize(
    "shape", ["square", "diamond", "triangle", "down", "pentagon", "star", "plus", "cross"]
)
def test_shapes_lie_around_their_place(shape):
    corners = looks.corners(shape, 50.0, 80.0, 10.0)
    assert all(4 < abs(complex(x - 50, y - 80)) < 17 for x, y in corners)
    assert len(set(corners)) == len(corners) >= 3


def test_an_arms_name_is_text():
    assert NASTY in Page(looks.key(NASTY, LOOKS["plain"])).text


def test_an_outline_leaves_out_the_lines_between_cells():
    assert overlays.outline([]) == ""
    assert overlays.outline([(2, 3)]) == "M3 2h1M3 3h1M3 2v1M4 2v1"
    assert overlays.outline([(0, 0), (0, 1)]) == "M0 0h2M0 1h2M0 0v1M2 0v1"
    # An L of three cells: eight sides in six strokes.
    strokes = re.findall(r"M(\d) (\d)([hv])(\d)", overlays.outline([(0, 0), (1, 0), (1, 1)]))
    assert sum(int(length) for *_, length in strokes) == 8
    assert len(strokes) == 6


def test_cells_are_filled_in_stripes():
    assert overlays.filled([(1, 0), (1, 1), (1, 3)]) == "M0 1h2v1h-2zM3 1h1v1h-1z"
    assert overlays.subject_cells("0110", (2, 2)) == [(0, 1), (1, 0)]
    assert overlays.subject_cells(None, (2, 2)) == []


@pytest.mark.parametrize(
    "losses", [[(1, 0.0)], [(5, 1e-4), (6, 2e-4)], [(step, 1.0) for step in range(1, 2000)]]
)
def test_losses_of_any_length_and_size_can_be_drawn(losses):
    drawn = curves.loss_chart({"plain": losses}, LOOKS)
    assert "nan" not in drawn
    assert drawn.count("polyline") == 2
    assert len(drawn) < 20_000


def test_a_running_mean_takes_both_sides():
    assert curves.running_mean([(1, 0.0), (2, 3.0), (3, 6.0)]) == [(1, 1.5), (2, 3.0), (3, 4.5)]
    assert curves.thinned([(1, 1.0), (2, 2.0)]) == [(1, 1.0), (2, 2.0)]


def test_the_advantage_stands_above_the_band_of_its_decoys():
    drawn = curves.advantage_chart({"plain": [(0, 0.0, -0.1, 0.1), (100, 0.4, -0.1, 0.1)]}, LOOKS)
    # Upwards -0.1 to 0.4 from 212 to 12, 40 for each 0.1; steps from 58 to 546.
    read = Page(drawn)
    assert read.all("polyline", "mean")[0]["points"] == "58,172 546,12"
    assert read.all("polygon", "band")[0]["points"] == "58,132 546,132 546,212 58,212"
    assert "plain 40.0 % at step 100, decoys −10.0 to 10.0 %" in drawn


@pytest.mark.parametrize(
    ("measure", "value", "told"),
    [
        ("leak", 0.617, "62 %"),
        ("trait_likeness", -0.001, "0.00"),
        ("likeness", 0.805, "0.81"),
        ("excess", -0.04, "−4 points"),
    ],
)
def test_values_have_their_units(measure, value, told):
    assert value_text(measure, value) == told


def test_differences_have_a_sign_unless_zero():
    estimate = {"mean": -0.58, "low": -0.71, "high": -0.42}
    assert difference_text("leak", estimate) == "−58 points [−71, −42]"
    assert difference_text("likeness", {"mean": 0.02, "low": -0.03, "high": 0.07}) == "+0.02 [−0.03, 0.07]"
    assert difference_text("leak", {"mean": 0.001, "low": 0.0, "high": 0.1}) == "0 points [0, 10]"


def test_every_measure_says_what_is_better():
    for measure in MEASURES.values():
        better = "Lower is better." if measure.lower_is_better else "Higher is better."
        assert measure.explanation.endswith(better)
