"""The report: one file that needs nothing else, and sentences that claim no more than the intervals allow."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from leakage_cases import PROMPTS, SEEDS, arm, comparison, disc, place, with_subject

from persam_dreambooth.leakage.charts import loss_chart
from persam_dreambooth.leakage.comparison import summarise
from persam_dreambooth.leakage.finding import conditions, difference_text, finding, summary, value_text
from persam_dreambooth.leakage.gallery import outlined
from persam_dreambooth.leakage.report import write_report
from persam_dreambooth.masks.record import subject_mask
from persam_dreambooth.photos import Photo, array_digest

NASTY = "<script>alert('x')</script> & \"sks\" cat"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The page's tags, their attributes and its text; notes what is not closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words, self.wrong = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\xa0", " ").split())


def write(result, out_dir, *, prompts=PROMPTS, seeds=SEEDS, losses=None, **options):
    photos = []
    for stem in ("00", "01"):
        pixels = with_subject(place(100))
        photos.append(Photo(out_dir / f"{stem}.png", pixels, array_digest(pixels)))
    own = arm({(prompt, seed): place(1, seed, side=32) for prompt in prompts for seed in seeds})
    path = write_report(
        result,
        out_dir,
        photos=photos,
        masks={"00": subject_mask("00", disc(), "given"), "01": subject_mask("01", disc(), "persam_f")},
        pictures=dict.fromkeys(result["arms"], own),
        losses={"plain": [(1, 0.5), (2, 0.4)], "masked": [(1, 0.6), (2, 0.3)]} if losses is None else losses,
        **{"settings": {"steps": 200, "model": "toy"}, "commands": ["train --x 'a & b'"], **options},
    )
    return path, path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_needs_nothing_else(tmp_path):
    path, html = write(comparison(), tmp_path)
    page = Page(html)
    assert (page.open, page.wrong) == ([], [])
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "xlink:href", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html
    assert "$" not in html
    assert path.stat().st_size < 15e6


def test_every_picture_and_drawing_says_what_it_shows(tmp_path):
    page = Page(write(comparison(), tmp_path)[1])
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2 + 3 * len(PROMPTS) * len(SEEDS)
    assert all(attributes["alt"] for attributes in pictures)
    assert all(attributes["aria-label"] for tag, attributes in page.tags if tag == "svg")


def test_prompts_and_settings_are_text(tmp_path):
    prompts = (NASTY, *PROMPTS[1:])
    result = comparison(prompts=prompts)
    html = write(result, tmp_path, prompts=prompts, settings={NASTY: NASTY}, commands=[NASTY])[1]
    page = Page(html)
    assert "script" not in [tag for tag, _ in page.tags]
    assert (page.open, page.wrong) == ([], [])
    assert page.text.count(NASTY) >= 5
    assert any(NASTY in attributes.get("alt", "") for _, attributes in page.tags)


def test_the_page_shows_the_numbers(tmp_path):
    text = Page(write(comparison(plain_leaks=6, masked_leaks=0), tmp_path)[1]).text
    assert "75 %" in text
    assert "0 % [0, 32]" in text
    assert "n = 8" in text
    assert "2 of 2" in text
    assert "gradient of the masked reconstruction loss" in text
    assert "It still enters as input" in text
    assert "train --x 'a & b'" in text


def test_the_json_holds_rows_finding_and_settings(tmp_path):
    result = comparison()
    write(result, tmp_path)
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert told["schema"] == "persam-dreambooth-comparison/1"
    assert told["rows"] == result["rows"]
    assert told["finding"] == finding(result)
    assert [one["state"] for one in told["conditions"]] == [one.state for one in conditions(result)]
    assert told["settings"] == {"steps": 200, "model": "toy"}
    assert told["photos"][1]["mask_source"] == "persam_f"


def test_without_truth_the_page_shows_what_is_known(tmp_path):
    result = comparison(truth=False)
    text = Page(write(result, tmp_path)[1]).text
    assert "Excess over the base model" in text
    assert "Subject likeness" not in text
    assert "likeness was not measured" in text
    assert "undecided" in text


def test_a_page_needs_no_losses_and_no_plain_arm(tmp_path):
    result = comparison()
    rows = [one for one in result["rows"] if one["arm"] == "base"]
    text = Page(write(summarise(rows), tmp_path, losses={})[1]).text
    assert "No verdict" in text
    assert "Training loss" not in text


def states(result):
    return [one.state for one in conditions(result)]


def test_a_clear_win_is_said():
    result = comparison(plain_leaks=8, masked_leaks=0)
    assert states(result) == ["met", "met", "met"]
    assert finding(result) == (
        "Masked training leaked the photos’ background into 0 % of pictures, plain training into 100 %, "
        "and the subject keeps its likeness (0.80 against 0.80)."
    )


def test_a_difference_within_its_interval_is_undecided():
    result = comparison(plain_leaks=2, masked_leaks=1)
    assert states(result)[0] == "open"
    assert finding(result).startswith("Undecided: masked training leaked")
    assert "8 pictures cannot tell the two apart" in finding(result)


def test_masks_that_leak_more_are_said_to():
    result = comparison(plain_leaks=0, masked_leaks=8)
    assert states(result) == ["broken", "met", "broken"]
    assert finding(result).startswith("It did not help: masked training leaked")


def test_a_loss_of_likeness_is_said():
    result = comparison(masked={"likeness": 0.5})
    assert states(result)[1] == "broken"
    assert "but the subject is less alike (0.50 against 0.80)" in finding(result)


def test_a_background_that_drifts_is_said():
    result = comparison(plain_leaks=0, masked={"agreement": False, "attribution": 0.0})
    assert states(result)[2] == "broken"


def test_when_nothing_leaks_nothing_is_claimed():
    result = comparison(plain_leaks=0, masked_leaks=0)
    assert states(result)[0] == "open"
    assert finding(result).startswith("Nothing to remove: neither masked nor plain training leaked")


@pytest.mark.parametrize(("prompts", "seeds"), [(PROMPTS[:3], range(8)), (PROMPTS, (0,))])
def test_few_pictures_give_no_verdict(prompts, seeds):
    result = comparison(plain_leaks=24, prompts=tuple(prompts), seeds=tuple(seeds))
    assert set(states(result)) == {"open"}
    assert finding(result).startswith("Not enough pictures to tell")


def test_the_terminal_gets_three_lines():
    lines = summary(comparison(plain_leaks=6, masked_leaks=0)).splitlines()
    assert len(lines) == 3
    assert re.match(r"Background leaked +base 0 % \[.*plain 75 % \[.*masked 0 % \[0, 32\]", lines[0])
    assert lines[1].startswith("Prompted background kept")
    assert lines[2].startswith("Subject likeness")
    assert summary(comparison(truth=False)).startswith("Excess over the base model")


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        ("leak", 0.617, "62 %"),
        ("likeness", -0.001, "0.00"),
        ("likeness", 0.805, "0.81"),
        ("excess", -0.04, "−4 points"),
    ],
)
def test_values_have_their_units(measure, value, text):
    assert value_text(measure, value) == text


def test_differences_have_a_sign_unless_zero():
    estimate = {"mean": -0.58, "low": -0.71, "high": -0.42}
    assert difference_text("leak", estimate) == "−58 points [−71, −42]"
    assert difference_text("likeness", {"mean": 0.02, "low": -0.03, "high": 0.07}) == "+0.02 [−0.03, 0.07]"
    assert difference_text("leak", {"mean": 0.001, "low": 0.0, "high": 0.1}) == "0 points [0, 10]"


def test_an_outline_surrounds_the_subject():
    picture = np.asarray(outlined(with_subject(place(3)), disc(), side=256))
    yellow = (picture == (255, 214, 10)).all(axis=-1)
    wide_disc = np.kron(disc(), np.ones((2, 2), bool))
    assert yellow.any()
    assert (yellow & wide_disc).sum() < 0.2 * yellow.sum()


@pytest.mark.parametrize(
    "losses", [[(1, 0.0)], [(5, 1e-4), (6, 2e-4)], [(step, 1.0) for step in range(1, 2000)]]
)
def test_losses_of_any_length_and_size_can_be_drawn(losses):
    drawn = loss_chart({"plain": losses}, {"plain": "arm-1"})
    assert "nan" not in drawn
    assert drawn.count("polyline") == 2
    assert len(drawn) < 20_000
