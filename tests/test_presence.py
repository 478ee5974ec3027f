"""Whether a subject is there at all: the line between pictures of which that is known."""

import numpy as np
import pytest
from leakage_cases import row

from persam_dreambooth.leakage.album import Album
from persam_dreambooth.leakage.presence import (
    MAX_LOST,
    MAX_PLACES,
    MIN_CAUGHT,
    Presence,
    evenly,
    presence_of,
    presence_warnings,
)
from persam_dreambooth.leakage.provenance import mask_told
from persam_dreambooth.leakage.summary import summarise


def test_the_line_lies_half_way_by_hand():
    """20 of each: the second lowest with a subject is not looked past, nor the second highest without one."""
    found = presence_of([0.75] * 20, [0.25] * 20)
    assert found == Presence(0.5, 0.0, 1.0, 20, 20)
    assert found.is_there(0.5) is True
    assert found.is_there(0.49) is False


def test_a_base_picture_that_lacks_its_subject_moves_nothing_but_its_own_count():
    """One of 40 may be below the line; the line is where it would be without it."""
    found = presence_of([0.30] + [0.80] * 39, [0.40] * 20)
    assert found.threshold == pytest.approx(0.6)
    assert found.lost == 1 / 40 <= MAX_LOST


def test_a_decoy_that_shows_such_a_subject_is_not_believed():
    found = presence_of([0.80] * 20, [0.40] * 39 + [0.80])
    assert found.threshold == pytest.approx(0.6)
    assert found.caught == 39 / 40


def test_where_they_overlap_no_more_than_three_percent_of_the_base_are_given_up():
    base = np.linspace(0.5, 1.0, 101)
    found = presence_of(list(base), list(base - 0.45))
    assert found.lost <= MAX_LOST
    assert found.threshold == pytest.approx(base[3])
    assert found.caught >= MIN_CAUGHT


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.3])
def test_where_they_are_not_told_apart_nothing_is_called_missing(shift):
    """What is marked in places without a subject resembles it as much, or more."""
    rng = np.random.default_rng(0)
    found = presence_of(list(rng.uniform(0.5, 0.9, 60)), list(rng.uniform(0.5, 0.9, 24) - shift / 3))
    assert found == Presence(None, None, None, 60, 24)
    assert found.is_there(-1.0)
    (told,) = presence_warnings(found)
    assert told.startswith("whether the subject is missing cannot be told: SAM finds as much of it in places")
    assert "60 pictures of the class by the base model and 24 places without it" in told


def test_few_pictures_draw_no_line():
    found = presence_of([0.9] * 7, [0.1] * 19)
    assert found.threshold is None
    (told,) = presence_warnings(found)
    assert told == (
        "whether the subject is missing was not looked for: 7 pictures of the class by the base model and 19 "
        "places without it, where 8 of each are needed; whatever SAM marks counts as the subject"
    )
    assert presence_of([0.9] * 8, [0.1] * 8).threshold == pytest.approx(0.5)
    assert presence_warnings(presence_of([0.9] * 8, [0.1] * 8)) == []


def test_a_picture_without_any_usable_mask_is_the_least_alike():
    found = presence_of([0.8] * 20, [None] * 20)
    assert found.threshold == pytest.approx((0.8 - 1) / 2)
    assert found.caught == 1.0


def test_chance_rarely_draws_a_line():
    """Both kinds from one distribution, 16 and 24 of them: a line that catches 60 % is a rare accident."""
    rng = np.random.default_rng(1)
    drawn = sum(
        presence_of(list(rng.normal(size=16)), list(rng.normal(size=24))).threshold is not None
        for _ in range(300)
    )
    assert drawn <= 3


def test_decoys_are_taken_from_all_kinds_of_places():
    assert evenly(range(5)) == [0, 1, 2, 3, 4]
    chosen = evenly(range(57))
    assert len(chosen) == len(set(chosen)) == MAX_PLACES
    assert (chosen[0], chosen[-1]) == (0, 56)
    assert evenly([]) == []


def test_the_analysis_without_missing_subjects_is_there_too():
    """Whoever loses the subject in front of the photos' background wins nothing by it, either way."""
    rows = [
        row("base", "a", 0),
        row("base", "a", 1),
        row("plain", "a", 0, attribution=0.85, likeness=0.0, subject_found=False, missing=True),
        row("plain", "a", 1, attribution=0.25),
    ]
    plain = summarise(rows)["arms"]["plain"]
    assert plain["excess"]["mean"] == pytest.approx((0.8 + 0.2) / 2)
    assert plain["excess_found"]["mean"] == pytest.approx(0.2)
    assert plain["excess_found"]["n"] == 1


def test_a_report_says_where_the_line_was_and_what_it_is_worth():
    told = mask_told(Album((), {}, ("00",)), "toy", Presence(0.7, 0.0, 0.9, 16, 20))
    assert told["presence"] == {
        "threshold": 0.7,
        "lost": 0.0,
        "caught": 0.9,
        "num_base": 16,
        "num_places": 20,
    }
    assert (told["method"], told["references"]) == ("persam_f", ["00"])
