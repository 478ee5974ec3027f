"""Names beside points: none on another, none outside, whatever the points are."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from browser import browser, open_tab
from report_cases import Page, around

from persam_dreambooth.leakage.report import looks, pareto
from persam_dreambooth.leakage.report.labels import Box, place_labels
from persam_dreambooth.leakage.report.labels import around as box_around

PANEL = Box(58, 22, 560, 340)


def marks_of(names, reach=9):
    return [box_around(x, y, reach) for _, x, y in names]


def assert_apart(labels, names, marks=()):
    """None meets another or a mark, all lie in the panel, and a line leads to those that stand away."""
    for one, other in combinations(labels, 2):
        assert not one.box.meets(other.box), (one, other)
    for label in labels:
        assert PANEL.holds(label.box)
        assert not any(label.box.meets(mark) for mark in marks)
        _, x, y = names[label.number]
        far = math.dist(label.box.nearest(x, y), (x, y))
        assert (label.leader is None) == (far <= 1.01 * math.hypot(11, 11)), label


@pytest.mark.parametrize("seed", range(12))
def test_names_of_random_points_are_apart(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 13))
    # From spread over the panel to all within a few units.
    spread = 10.0 ** rng.uniform(0, 2.4)
    middle = rng.uniform((100, 60), (520, 300))
    points = np.clip(middle + rng.normal(0, spread, (count, 2)), (58, 34), (542, 340))
    names = [("x" * int(rng.integers(3, 16)), *map(float, point)) for point in points]
    labels = place_labels(names, PANEL, marks_of(names))
    assert_apart(labels, names, marks_of(names))
    assert len(labels) == count
    assert labels == place_labels(names, PANEL, marks_of(names))


@pytest.mark.parametrize("point", [(58, 34), (542, 340), (542, 34), (58, 340), (300, 190)])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_names_of_equal_points_are_apart_even_in_corners(point, count):
    names = [(f"arm {number}", *map(float, point)) for number in range(count)]
    labels = place_labels(names, PANEL, marks_of(names))
    assert_apart(labels, names, marks_of(names))
    assert len(labels) == count


def test_names_without_room_are_left_out_rather_than_drawn_on_others():
    names = [(f"a rather long name {number:03d}", 300.0, 190.0) for number in range(60)]
    labels = place_labels(names, PANEL, marks_of(names))
    assert_apart(labels, names)
    assert 5 < len(labels) < 60
    assert labels[0].number == 0


def test_a_lonely_name_stands_to_the_right_and_at_the_right_end_to_the_left():
    (label,) = place_labels([("plain", 100.0, 200.0)], PANEL, [])
    assert (label.box.left, label.box.bottom, label.ends_here, label.leader) == (111, 200, False, None)
    (label,) = place_labels([("plain", 540.0, 200.0)], PANEL, [])
    assert (label.box.right, label.box.bottom, label.ends_here, label.leader) == (529, 200, True, None)
    assert label.place[0] == 529


def test_lines_are_kept_clear_where_there_is_room_and_crossed_where_not():
    line = Box(58, 188, 560, 192)
    (label,) = place_labels([("plain", 100.0, 190.0)], PANEL, [], [line])
    assert not label.box.meets(line)
    (label,) = place_labels([("plain", 100.0, 190.0)], PANEL, [], [PANEL])
    assert (label.box.left, label.leader) == (111, None)


def test_a_name_wider_than_the_panel_is_cut_and_told_whole_when_pointed_at():
    name = "prior preservation with a random background"
    (label,) = place_labels([(name, 300.0, 190.0)], PANEL, [])
    assert PANEL.holds(label.box)
    assert label.name.endswith("…")
    assert name.startswith(label.name[:-1])
    points = [{"arm": name, "step": None, "x": around(0.3), "y": around(0.5)}]
    drawn = Page(pareto.pareto_chart(points, [], "excess", "likeness", looks.looks_of([name])))
    assert drawn.text.count(name) == 2


def crowded():
    """A panel of arms that came out alike, with the base model and the photos where the first arm is."""
    arms = ["plain", "masked", "masked_prior", "strict", "noise", "random"]
    points = [
        {"arm": arm, "step": step, "x": around(0.3 + step * 1e-5), "y": around(1 - number * 1e-3)}
        for number, arm in enumerate(arms)
        for step in (100, 200)
    ]
    marks = [("base", "base model", 0.302, 1.0), ("real", "the photos", 0.302, 1.0)]
    return pareto.pareto_chart(points, marks, "excess", "likeness", looks.looks_of(arms))


def test_every_arm_and_anchor_of_a_crowded_panel_has_its_name():
    read = Page(crowded())
    told = [*read.all("text", "name"), *read.all("text", "first"), *read.all("text", "end")]
    assert len({(own["x"], own["y"]) for own in told}) == len(told) - 6
    assert {"plain", "masked_prior", "random", "base model", "the photos"} <= set(read.words)
    assert read.all("line", "leader")


def test_the_step_is_named_where_arms_end_at_different_ones():
    points = [
        {"arm": arm, "step": step, "x": around(x), "y": around(0.5)}
        for arm, step, x in (("plain", 100, 0.1), ("masked", 200, 0.4))
    ]
    read = Page(pareto.pareto_chart(points, [], "excess", "likeness", looks.looks_of(["plain", "masked"])))
    assert {"plain, step 100", "masked, step 200"} <= set(read.words)


@pytest.mark.skipif(browser() is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_real_browser_draws_no_name_on_another(tmp_path, width):
    css = (Path(pareto.__file__).parent / "page.css").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    figure = f'<main><div class="charts"><figure>{crowded()}</figure></div></main>'
    page.write_text(f"<!doctype html><meta charset=utf-8><style>{css}</style>{figure}", encoding="utf-8")
    with open_tab() as tab:
        tab.open(page.as_uri(), width=width)
        boxes = tab.run(
            "[...document.querySelectorAll('text:is(.name, .first, .end):not(.tick)')].map((one) => {"
            " const box = one.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; })"
        )
    assert len(boxes) == 8
    for one, other in combinations([Box(*box) for box in boxes], 2):
        assert not one.meets(other)
    assert all(box[0] >= 0 and box[2] <= width for box in boxes)
