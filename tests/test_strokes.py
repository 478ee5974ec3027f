"""Strokes read from every kind of picture that a person may draw on; what is no scribble is refused."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sam_models import scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.strokes import read_strokes, spread_pixels

SIZE = (96, 128)
LINE = (30, 40, 90, 60)
OTHER_LINE = (10, 80, 110, 85)
GREEN, RED, BLUE = (20, 230, 40), (230, 20, 30), (30, 40, 220)
FLAG = "--reference_scribble"


@pytest.fixture
def photo():
    return scene(*SIZE)[0]


def drawn(page, *strokes, width=6):
    """Return a picture with lines of the given colours."""
    picture = page.copy()
    for line, colour in strokes:
        ImageDraw.Draw(picture).line(line, fill=colour, width=width)
    return picture


def true_line(line=LINE, width=6):
    """Return where a line is, as a mask."""
    return np.asarray(drawn(Image.new("L", SIZE[::-1]), (line, 255), width=width)) > 0


def read(picture, photo, path, **options):
    """Return the strokes of a picture, by way of a file."""
    picture.save(path, **options)
    return read_strokes(path, photo, FLAG)


def overlap(strokes, line):
    """Return the share of the strokes that lies on a line, and of the line that they cover."""
    return (strokes & line).sum() / strokes.sum(), (strokes & line).sum() / line.sum()


PAGES = {
    "white on black": (Image.new("L", SIZE[::-1], 0), 255),
    "black on white": (Image.new("L", SIZE[::-1], 255), 0),
    "colour on white": (Image.new("RGB", SIZE[::-1], "white"), RED),
    "one bit": (Image.new("1", SIZE[::-1], 0), 1),
    "palette": (Image.new("P", SIZE[::-1], 0), 1),
    "transparent": (Image.new("RGBA", SIZE[::-1], (0, 0, 0, 0)), (*BLUE, 255)),
    "white on transparent": (Image.new("RGBA", SIZE[::-1], (0, 0, 0, 0)), (255, 255, 255, 255)),
}


@pytest.mark.parametrize("kind", PAGES)
def test_strokes_on_any_page_are_found(kind, photo, tmp_path):
    page, ink = PAGES[kind]
    if page.mode == "P":
        page.putpalette([0, 0, 0, 255, 255, 255])
    found = read(drawn(page, (LINE, ink)), photo, tmp_path / "s.png")
    on, covered = overlap(found.subject, true_line())
    assert on == 1
    assert covered > 0.4  # the strokes' edges are left out
    assert not found.background.any()


@pytest.mark.parametrize(("name", "options"), [("s.png", {}), ("s.jpg", {"quality": 80})])
@pytest.mark.parametrize("colour", [GREEN, BLUE])
def test_strokes_on_a_copy_of_the_photo_are_found(name, options, colour, photo, tmp_path):
    found = read(drawn(Image.fromarray(photo), (LINE, colour)), photo, tmp_path / name, **options)
    on, covered = overlap(found.subject, true_line())
    assert on > 0.95
    assert covered > 0.4


def test_a_page_and_a_copy_are_told_apart_where_the_photo_is_mostly_white(photo, tmp_path):
    """A thing on white paper: read as a page, the thing itself would be a stroke."""
    pixels = np.full((*SIZE, 3), 255, np.uint8)
    pixels[20:80, 30:90] = (120, 90, 60)
    line = (40, 50, 80, 50)
    on_copy = read(drawn(Image.fromarray(pixels), (line, GREEN)), pixels, tmp_path / "copy.png")
    on_page = read(drawn(Image.new("RGB", SIZE[::-1], "white"), (line, GREEN)), pixels, tmp_path / "page.png")
    assert overlap(on_copy.subject, true_line(line))[0] == 1
    assert np.array_equal(on_copy.subject, on_page.subject)


def test_red_is_background_only_beside_another_colour(photo, tmp_path):
    both = drawn(Image.fromarray(photo // 2), (LINE, GREEN), (OTHER_LINE, RED))
    found = read(both, photo // 2, tmp_path / "both.png")
    assert overlap(found.subject, true_line())[0] == 1
    assert overlap(found.background, true_line(OTHER_LINE))[0] == 1
    assert not (found.subject & found.background).any()
    alone = read(drawn(Image.fromarray(photo // 2), (LINE, RED)), photo // 2, tmp_path / "alone.png")
    assert overlap(alone.subject, true_line())[0] == 1
    assert not alone.background.any()
    two = drawn(Image.fromarray(photo // 2), (LINE, GREEN), (OTHER_LINE, BLUE))
    found = read(two, photo // 2, tmp_path / "two.png")
    assert overlap(found.subject, true_line() | true_line(OTHER_LINE))[1] > 0.4
    assert not found.background.any()


def test_hairlines_count(photo, tmp_path):
    found = read(drawn(Image.new("L", SIZE[::-1]), (LINE, 255), width=1), photo, tmp_path / "s.png")
    assert np.array_equal(found.subject, true_line(width=1))


def test_what_jpeg_leaves_is_no_stroke(tmp_path):
    photo = np.linspace(0, 255, SIZE[0] * SIZE[1] * 3).reshape(*SIZE, 3).astype(np.uint8)
    photo[scene(*SIZE)[1]] = (160, 120, 90)
    with pytest.raises(
        UserError, match=rf"^{FLAG} .*copy\.jpg: no strokes; some must mark the subject\. Draw on"
    ):
        read(Image.fromarray(photo), photo, tmp_path / "copy.jpg", quality=85)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.new("L", SIZE[::-1], 0), r"no strokes; some must mark the subject"),
        (Image.new("L", (64, 64), 0), r"64 x 64 pixels, and the photo 128 x 96; the two must have one size"),
        (Image.new("RGBA", (96, 128)), r"96 x 128 pixels, and the photo 128 x 96"),
    ],
)
def test_pictures_without_strokes_or_of_another_size_are_refused(picture, expected, photo, tmp_path):
    with pytest.raises(UserError, match=rf"^{FLAG} .*s\.png: {expected}"):
        read(picture, photo, tmp_path / "s.png")


def test_a_picture_of_something_else_is_refused(photo, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    expected = (
        r"s\.png: \d+% of the picture differ from any page and from the photo; strokes cover at most 50%"
    )
    with pytest.raises(UserError, match=expected):
        read(Image.fromarray(noise), photo, tmp_path / "s.png")
    full = Image.new("RGBA", SIZE[::-1], (255, 0, 0, 255))
    full.putpixel((0, 0), (0, 0, 0, 0))
    with pytest.raises(UserError, match=expected):
        read(full, photo, tmp_path / "s.png")


def test_a_missing_file_is_named_with_its_flag(photo, tmp_path):
    with pytest.raises(UserError, match=rf"^{FLAG} .*none\.png: no such file"):
        read_strokes(tmp_path / "none.png", photo, FLAG)


def test_spread_pixels_start_in_the_middle_and_go_to_the_ends():
    mask = np.zeros((5, 20), bool)
    mask[2, 3:16] = True
    assert spread_pixels(mask, 3).tolist() == [[9, 2], [3, 2], [15, 2]]
    assert spread_pixels(mask, 99).shape == (13, 2)
    single = np.zeros((4, 4), bool)
    single[1, 2] = True
    assert spread_pixels(single, 5).tolist() == [[2, 1]]
