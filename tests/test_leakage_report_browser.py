"""The page in a real browser: a click on a leaked patch shows the patch of the photo that it came from."""

import json

import pytest
from browser import browser, open_tab
from leakage_cases import PROMPTS
from report_cases import HITS, cell_colour, full_result, write

pytestmark = pytest.mark.skipif(browser() is None, reason="no Chromium on this machine")

FRAME = "document.querySelector('a.frame')"
DIALOG = "document.getElementById('match')"
# Three colours of the enlarged photo's patch: in the middle of its marked square.
ZOOMED = """(async () => {
  const picture = document.querySelectorAll('#match .pair img')[1];
  await picture.decode();
  const canvas = document.querySelectorAll('#match canvas')[1];
  const pixel = () => canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
  // Painted once the picture is there: until then the canvas is transparent.
  while (!pixel()[3]) await new Promise((next) => setTimeout(next, 10));
  return [...pixel()].slice(0, 3);
})()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a page with leaked patches lies."""
    return write(full_result(), tmp_path_factory.mktemp("page")).as_uri()


@pytest.fixture(scope="module")
def tab():
    """A tab of a browser that all tests here share."""
    with open_tab() as tab:
        yield tab


def click_cell(tab, row, column):
    """Click in the middle of a cell of the picture with leaked patches, which is one of seed 1."""
    tab.run("document.getElementById('seed-1').click()")
    box = tab.run(
        f"(() => {{ {FRAME}.scrollIntoView({{block: 'center'}}); const box = {FRAME}.getBoundingClientRect();"
        " return [box.x, box.y, box.width, box.height]; })()"
    )
    tab.click(box[0] + (column + 0.5) / 16 * box[2], box[1] + (row + 0.5) / 16 * box[3])


def shown(tab):
    """Return what the dialog says that it shows."""
    assert tab.run(f"{DIALOG}.open")
    return json.loads(tab.run(f"JSON.stringify({DIALOG}.dataset)"))


@pytest.mark.parametrize("hit", HITS[:2], ids=["plain", "mirrored"])
def test_a_click_on_a_leaked_patch_shows_the_patch_it_came_from(tab, address, hit):
    tab.open(address)
    row, column, photo, photo_row, photo_column, cosine, decoy, mirrored = hit
    click_cell(tab, row, column)
    told = shown(tab)
    assert (told["row"], told["column"]) == (str(row), str(column))
    assert (told["photo"], told["photoRow"], told["photoColumn"]) == (
        f"0{photo}.png",
        str(photo_row),
        str(photo_column),
    )
    words = tab.run(f"{DIALOG}.innerText")
    assert f"training photo 0{photo}.png: row {photo_row + 1}, column {photo_column + 1}" in words
    assert f"Cosine {cosine:.3f}: the nearest of 20 banks (the photos and 19 of decoys)" in words
    assert f"the nearest decoy reaches {decoy:.3f}" in words
    assert ("mirrored" in words) == bool(mirrored)
    # Not only said, but drawn: the cell's own colour, which no other cell has, give or take what WebP takes.
    assert tab.run(ZOOMED) == pytest.approx(cell_colour(photo, photo_row, photo_column), abs=7)
    square = tab.run("document.querySelectorAll('#match .pair .chosen')[1].getAttribute('d')")
    assert square == f"M{photo_column} {photo_row}h1v1h-1z"


def test_a_click_beside_leaked_patches_shows_the_nearest(tab, address):
    tab.open(address)
    click_cell(tab, 9, 11)
    assert shown(tab)["row"] == "10"


def test_an_address_opens_its_patch_and_follows_it(tab, address):
    tab.open(f"{address}#hit=plain/1/1/10/12")
    assert (shown(tab)["photoRow"], shown(tab)["photoColumn"]) == ("4", "9")
    # The most telling patch is the first of three, this one the second.
    assert "Patch 2 of 3" in tab.run(f"{DIALOG}.innerText")
    tab.press("ArrowLeft", 37)
    assert shown(tab)["row"] == "2"
    assert tab.run("location.hash") == "#hit=plain/1/1/2/3"
    tab.press("Escape", 27)
    tab.wait(f"!{DIALOG}.open && location.hash === ''")


@pytest.mark.parametrize("fragment", ["#hit=plain/9/9/1/1", "#hit=x", "#hit=plain/1/1/a/b", "#evidence"])
def test_an_address_of_nothing_opens_nothing(tab, address, fragment):
    tab.open(address + fragment)
    assert not tab.run(f"{DIALOG}.open")


def test_the_keyboard_opens_the_most_telling_patch(tab, address):
    tab.open(address)
    tab.run(f"document.getElementById('seed-1').click(); {FRAME}.focus()")
    tab.press("Enter", 13)
    assert (shown(tab)["row"], shown(tab)["column"]) == ("2", "3")


def test_the_seed_switch_shows_one_seed_and_outlines_can_be_hidden(tab, address):
    tab.open(address)
    visible = "[...document.querySelectorAll('.shot')].filter((one) => one.checkVisibility()).length"
    first = tab.run(f"{FRAME}.checkVisibility()")
    assert (tab.run(visible), first) == (3 * len(PROMPTS), False)
    tab.run("document.getElementById('seed-1').click()")
    assert (tab.run(visible), tab.run(f"{FRAME}.checkVisibility()")) == (3 * len(PROMPTS), True)
    lines = f"[...{FRAME}.querySelectorAll('.hits, .left-out')].map((path) => getComputedStyle(path).display)"
    assert tab.run(lines) == ["none", "inline"]
    tab.run("document.getElementById('show-hits').click(); document.getElementById('show-subject').click()")
    assert tab.run(lines) == ["inline", "none"]


def test_rows_can_be_sorted(tab, address):
    tab.open(address)

    def rows(order=None):
        if order:
            tab.run(
                f"(() => {{ const box = document.getElementById('order'); box.value = '{order}';"
                " box.dispatchEvent(new Event('change')); })()"
            )
        return tab.run("[...document.querySelectorAll('.row')].map((row) => Number(row.dataset.order))")

    # The fourth prompt leaks in the masked arm, the first two leak most in the plain one, the second arm.
    assert rows() == [3, 0, 1, 2]
    assert rows("1")[:2] == [0, 1]
    assert rows("2")[0] == 3
    assert rows("asked") == [0, 1, 2, 3]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_runs_out_of_the_window(tab, address, width):
    tab.open(address, width=width, height=900)
    assert tab.run("document.documentElement.scrollWidth") == width
    tab.open(f"{address}#hit=plain/1/1/2/3", width=width, height=900)
    box = tab.run(
        f"(() => {{ const box = {DIALOG}.getBoundingClientRect(); return [box.left, box.right]; }})()"
    )
    assert 0 <= box[0] < box[1] <= width


def test_dark_and_light_differ_in_paper_and_ink(tab, address):
    colours = (
        "(() => { const own = getComputedStyle(document.body); return [own.backgroundColor, own.color]; })()"
    )
    tab.open(address)
    light = tab.run(colours)
    tab.open(address, dark=True)
    dark = tab.run(colours)
    assert light == ["rgb(250, 248, 244)", "rgb(30, 28, 25)"]
    assert dark == ["rgb(21, 20, 18)", "rgb(239, 236, 229)"]


def test_without_a_script_the_pictures_are_there(tab, address):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(address)
        assert not tab.run("document.documentElement.classList.contains('script')")
        assert tab.run("[...document.querySelectorAll('.shot')].some((one) => one.checkVisibility())")
        assert not tab.run(
            "[...document.querySelectorAll('.with-script')].some((one) => one.checkVisibility())"
        )
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
