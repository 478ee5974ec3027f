"""The page: one file that needs nothing else, with the numbers of report.json and without empty parts."""

import json
import re

import pytest
from leakage_cases import PROMPTS, SEEDS, comparison
from report_cases import HITS, LEAKING, NASTY, Page, full_result, write

from persam_dreambooth.leakage.comparison import summarise
from persam_dreambooth.leakage.report import material, page
from persam_dreambooth.leakage.report.photos import risk
from persam_dreambooth.leakage.report.trust import trust
from persam_dreambooth.leakage.report.verdict import first_sentence
from persam_dreambooth.leakage.report.words import embedded, table, text

SECTIONS = [
    "pareto", "bars", "differences", "evidence", "matches", "photos", "training", "trust", "table", "method",
    "settings",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page with every section: its HTML, and what was read of it."""
    folder = tmp_path_factory.mktemp("whole")
    html = write(full_result(), folder).read_text(encoding="utf-8")
    return html, Page(html), folder


def test_the_page_is_whole_and_needs_nothing_else(whole):
    html, read, folder = whole
    assert (read.open, read.wrong) == ([], [])
    assert {tag for tag, _ in read.tags}.isdisjoint({"link", "iframe", "object", "base", "form"})
    for tag, attributes in read.tags:
        for name in ("src", "srcset", "action", "data", "xlink:href", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    for address in ("url(", "@import", "http://", "https://", "import(", "fetch(", "XMLHttpRequest"):
        assert address not in html
    assert (folder / "report.html").stat().st_size < 15e6


def test_the_sections_come_in_the_order_in_which_people_ask(whole):
    _, read, _ = whole
    assert [own["id"] for own in read.all("section")] == SECTIONS
    names = [own["id"] for _, own in read.tags if "id" in own]
    assert len(names) == len(set(names))


def test_every_picture_and_drawing_says_what_it_shows(whole):
    _, read, _ = whole
    pictures = read.all("img")
    shots = 3 * len(PROMPTS) * len(SEEDS)
    pairs = 2
    assert len(pictures) == shots + 2 + 2 * pairs / 2
    assert all(own["alt"] for own in pictures)
    assert all("aria-label" in own or own.get("aria-hidden") == "true" for own in read.all("svg"))
    alt = next(own["alt"] for own in pictures if "3 leaked patches" in own["alt"])
    assert alt.startswith(f"plain: {LEAKING[1]}, seed 1.")


def test_what_can_be_clicked_can_be_reached_by_keyboard(whole):
    _, read, _ = whole
    links = read.all("a", "frame")
    assert [own["href"] for own in links] == ["#hit=plain/1/1/2/3"]
    assert {own["type"] for own in read.all("input")} == {"radio", "checkbox"}
    assert read.all("label")
    assert all("tabindex" in own for own in read.all("div", "scroll"))


def test_hostile_text_stays_text(tmp_path):
    prompts = (NASTY, *PROMPTS[1:])
    result = full_result(prompts=prompts)
    rename = {"masked": NASTY}
    for row in result["rows"]:
        row["arm"] = rename.get(row["arm"], row["arm"])
        if row["arm"] == NASTY:
            row["hits"] = HITS
    told = summarise(result["rows"], chance=0.05)
    told |= {"inputs": result["inputs"], "warnings": [NASTY], "validation": {NASTY: NASTY}}
    told["proof"] = {NASTY: {NASTY: NASTY}}
    told["config"] |= {"decoys": {"source": NASTY, "k": 19}, "sampler": {NASTY: NASTY}}
    names = ("<img src=x>&", "'\"><b>")
    path = write(told, tmp_path, prompts=prompts, settings={NASTY: NASTY}, commands=[NASTY], names=names)
    html = path.read_text(encoding="utf-8")
    read = Page(html)
    assert (read.open, read.wrong) == ([], [])
    assert len(read.all("script")) == 2
    assert len(read.all("style")) == 1
    assert {"b", "i"} & {tag for tag, _ in read.tags} <= {"b"}
    assert html.count("<script>") == 1
    assert read.text.count(NASTY) > 20
    assert any(NASTY in own.get("alt", "") for own in read.all("img"))
    assert "<img src=x>&.png" in read.text
    data = json.loads(read.data)
    assert NASTY in {shot["arm"] for shot in data["shots"].values()}
    # The address in a link names the same picture as the data.
    links = {own["data-shot"] for own in read.all("a", "frame")}
    assert links == set(data["shots"])


def test_the_numbers_are_those_of_the_json(whole):
    html, read, folder = whole
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    leak = told["arms"]["plain"]["leak"]
    assert leak["mean"] == 0.75
    assert f"75 % [{round(100 * leak['low'])}, {round(100 * leak['high'])}] n = 8" in read.text
    assert told["verdict"].split(". ")[0].rstrip(".") in read.text
    for condition in told["claim"]["conditions"]:
        assert condition["text"] in read.text
    assert f"{told['claim']['met']} of 4 conditions met" in read.text
    assert "plain at step 200: " in html
    assert "rank correlation with the true share: 0.78" in read.text
    assert "false alarms: 5 %" in read.text
    assert "smallest leak that is found reliably: none of those tried" in read.text
    assert "a leak of 10 % of the background is found: yes" in read.text
    assert f"a-base {'ef' * 6}" in read.text
    assert f"plain: plain {'12' * 6}" in read.text
    assert "bitwise equal" in read.text
    assert "exactly 0" in read.text
    assert "41 %" in read.text
    assert "leak-prone: high, 62 % in the other photos" in read.text
    assert "leak-prone: low, 8 % in the other photos" in read.text
    assert "on average 35 % of a photo’s background" in read.text
    assert "one scene & little else" in read.text
    assert "2 of 2" in read.text
    assert "train --x 'a & b'" in read.text


def test_the_click_through_knows_every_leaked_patch(whole):
    _, read, _ = whole
    data = json.loads(read.data)
    assert data["banks"] == 19
    assert [photo["name"] for photo in data["photos"]] == ["00.png", "01.png"]
    assert all(photo["src"].startswith("data:image/webp;base64,") for photo in data["photos"])
    assert list(data["shots"]) == ["plain/1/1"]
    shot = data["shots"]["plain/1/1"]
    assert shot["hits"] == HITS
    assert (shot["prompt"], shot["seed"], shot["grid"]) == (LEAKING[1], 1, [16, 16])


def test_the_prompts_that_leak_most_stand_first(whole):
    _, read, _ = whole
    rows = read.all("article", "row")
    assert [int(own["data-order"]) for own in rows] == [3, 0, 1, 2]
    worst = [float(own["data-worst"]) for own in rows]
    assert worst == sorted(worst, reverse=True)
    # Both of its pictures leaked, and 90 % of their background; base, plain, masked.
    assert [float(rate) for rate in rows[0]["data-rates"].split()] == pytest.approx([0.0005, 0.5045, 1.009])


def test_every_seed_is_there_and_the_first_is_chosen(whole):
    html, read, _ = whole
    seeds = [own for own in read.all("input") if own["type"] == "radio"]
    assert ["checked" in own for own in seeds] == [True, False]
    for number in range(material.MAX_SEEDS):
        assert f"#seed-{number}:checked" in html
    assert len(read.all("figure", "at-1")) == 3 * len(PROMPTS)


def test_without_truth_the_page_shows_what_is_known(tmp_path):
    result = comparison(truth=False)
    read = Page(write(result, tmp_path).read_text(encoding="utf-8"))
    assert "Excess over the base model" in read.text
    assert "Likeness of the subject" in read.text
    assert "Subject’s traits" not in read.text
    assert "classifier trained on renderings" not in read.text
    assert not read.all("figure", "leak")


def test_parts_that_a_result_does_not_have_are_left_out(tmp_path):
    result = comparison()
    rows = [one for one in result["rows"] if one["arm"] == "base"]
    told = summarise(rows)
    read = Page(write(told, tmp_path, settings={}, commands=[]).read_text(encoding="utf-8"))
    sections = [own["id"] for own in read.all("section")]
    assert sections == ["bars", "evidence", "photos", "trust", "table", "method"]
    assert "No verdict" in read.text
    assert "The claim" not in read.text
    for empty in ("None", "null", "nan", "{}", "[]"):
        assert not re.search(rf"(?<![\w#.-]){re.escape(empty)}(?![\w-])", read.text)


def test_steps_that_were_not_measured_are_said_not_to_be(tmp_path):
    result = full_result()
    result["pareto"] = []
    read = Page(write(result, tmp_path).read_text(encoding="utf-8"))
    assert "Steps were not measured" in read.text
    assert "step 200" not in read.text


def test_noise_is_promised_only_of_pictures_that_were_drawn_here(tmp_path):
    """`score` measures pictures of any program: it knows nothing of their noise."""
    result = full_result()
    elsewhere = Page(write(result, tmp_path / "a").read_text(encoding="utf-8")).text
    result["config"]["sampler"] = {"name": "DDIM", "noise": {"0": "ab"}}
    here = Page(write(result, tmp_path / "b").read_text(encoding="utf-8")).text
    for words in ("the same noise for every arm", "Every arm drew the same prompts from the same noise"):
        assert (words in here, words in elsewhere) == (True, False)
    assert "they were drawn elsewhere" in elsewhere
    assert "they were drawn elsewhere" not in here
    assert "Every row is one prompt" in elsewhere


def test_of_a_certificate_the_page_tells_the_first_line_and_the_numbers():
    lines = "--background blur: the background had influence\n  loss masks: equal"
    told = {"text": lines, "nan_canary": "fail", "input_share": 0.33, "promised": False, "equal": {"a": 1}}
    read = Page(trust({"arms": {}, "proof": {"blur": told}}))
    assert "--background blur: the background had influence; NaN canary: fail" in read.text
    assert "lies on the background 33 %" in read.text
    assert "loss masks" not in read.text


@pytest.mark.parametrize(
    ("presence", "told"),
    [
        (
            {"threshold": 0.7123, "lost": 0.0, "caught": 1.0, "num_base": 14, "num_places": 1},
            "below a resemblance of 0.71 it counts as missing, as in 0 % of 14 pictures by the base model "
            "and 100 % of 1 place without it",
        ),
        (
            {"threshold": None, "lost": None, "caught": None},
            "whatever looks most like it was taken for it: no line between there and missing was found",
        ),
    ],
)
def test_from_when_on_a_subject_is_missing_is_told(presence, told):
    arms = {"plain": {"subject_missing": 1, "num_pictures": 8}}
    read = Page(trust({"arms": arms, "config": {"mask": {"presence": presence}}}))
    assert f"plain 1 of 8; such a picture is counted, with all of it as background; {told}" in read.text


def test_words_begin_at_one_line_and_numbers_end_at_one():
    read = Page(table([[("Arms", 1), ("Measure", 1), ("p", 1)]], [["a", "b", "0.1"]], "", num_names=2))
    assert [own.get("class") for own in read.all("td")] == ["words", None]
    assert [own.get("class") for own in read.all("th")] == [None, "words", None, None]


def test_a_prompt_that_does_not_count_says_why(tmp_path):
    result = full_result()
    result["config"]["prompts"][0] |= {"dropped": True, "reason": "the base model draws the room"}
    result["config"]["prompts"][1] |= {"dropped": False, "reason": "much like the room"}
    read = Page(write(result, tmp_path).read_text(encoding="utf-8"))
    assert "not counted: the base model draws the room" in read.text
    assert "in conflict: much like the room" in read.text
    assert f"{PROMPTS[1]}: much like the room; counted all the same" in read.text


@pytest.mark.parametrize(
    ("told", "first", "rest"),
    [
        ("Less leaks. Likeness is 0.81.", "Less leaks.", "Likeness is 0.81."),
        ("From 3.1 % to 2.0 %.", "From 3.1 % to 2.0 %.", ""),
        ("Undecided", "Undecided", ""),
    ],
)
def test_the_heading_is_the_first_sentence(told, first, rest):
    assert first_sentence(told) == (first, rest)


@pytest.mark.parametrize(
    ("own", "word"), [(0.31, "high"), (0.3, "high"), (0.29, "middle"), (0.16, "middle"), (0.1, "low")]
)
def test_how_leak_prone_a_photo_is(own, word):
    assert risk(own, chance=0.05) == word


def test_text_is_escaped_and_numbers_do_not_break():
    assert text('<b> & "5 %" [−7, 0.5]') == "&lt;b&gt; &amp; &quot;5&nbsp;%&quot; [−7,&nbsp;0.5]"


def test_data_cannot_end_its_script():
    told = embedded({"</script><!--": ["&", " "]})
    assert "<" not in told
    assert json.loads(told) == {"</script><!--": ["&", " "]}


def test_arms_of_any_section_have_a_look():
    result = {"arms": {"base": {}}, "training": {"x": {}}, "rows": [{"arm": "y"}]}
    assert list(page.looks_of_report(result)) == ["base", "x", "y"]
