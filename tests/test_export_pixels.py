"""What a weight each trainer's rules make of a mask, worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth.masks.export import ai_toolkit, diffusion_pipe, kohya, onetrainer, simpletuner
from persam_dreambooth.masks.export.pixels import Rules, cells, look

GREY = 128 / 255


@pytest.fixture
def photo(tmp_path):
    """A photo of 8 x 16 pixels: one row of two latent cells."""
    Image.new("RGB", (16, 8)).save(tmp_path / "00.png")
    return tmp_path / "00.png"


def save_mask(photo, pixels, name="mask.png"):
    """Write a mask beside a photo."""
    path = photo.with_name(name)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return path


def test_how_a_mask_shrinks():
    # White in columns 4 to 7 of the first cell, and all of the second.
    values = np.zeros((8, 16), dtype=np.float32)
    values[:, 4:] = 1
    assert cells(values, "area").tolist() == [[0.5, 1]]
    # Nearest takes the cell's first pixel, nearest-exact the one right of its middle.
    assert cells(values, "nearest").tolist() == [[0, 1]]
    assert cells(values, "nearest-exact").tolist() == [[1, 1]]
    # A triangle around the cell's middle that reaches half a cell beyond, where there is a picture: columns 0
    # to 11 weigh 4.5 5.5 6.5 7.5 7.5 6.5 5.5 4.5 3.5 2.5 1.5 0.5, 56 in all, and 32 from column 4 on.
    assert cells(values, "bilinear").tolist() == [[pytest.approx(32 / 56), 1]]


@pytest.mark.parametrize(
    ("rules", "weight"),
    [
        (kohya.FILE_RULES, GREY),
        (diffusion_pipe.RULES, GREY),
        (simpletuner.rules_of("mask"), GREY),
        (simpletuner.rules_of("segmentation"), 1),
        (Rules("grey", "bilinear", True, True, onetrainer.at_least(0.1)), GREY),
        (Rules("grey", "nearest", True, True, ai_toolkit.weights_from(0.1, invert=False)), 0.1 + 0.9 * GREY),
        (Rules("grey", "nearest", True, True, ai_toolkit.weights_from(0.0, invert=True)), 1 - GREY),
    ],
)
def test_what_grey_becomes(photo, rules, weight):
    pixels = np.zeros((8, 16))
    pixels[:, 8:] = 128
    seen = look(photo, save_mask(photo, pixels), rules)
    assert seen.grey_fraction == 0.5
    assert seen.grey_weight == pytest.approx(weight, abs=1e-6)


def test_shares_without_a_floor(photo):
    pixels = np.zeros((8, 16))
    pixels[:4, :8] = 255
    seen = look(photo, save_mask(photo, pixels), kohya.FILE_RULES)
    # 32 of 128 pixels; half of one of two cells.
    assert (seen.pixel_weight, seen.cell_weight, seen.outside_share) == (0.25, 0.25, 0)
    assert seen.grey_fraction == 0
    assert seen.grey_weight == pytest.approx(GREY)


def test_shares_with_a_floor(photo):
    pixels = np.zeros((8, 16))
    pixels[:4, :8] = 255
    seen = look(
        photo, save_mask(photo, pixels), Rules("grey", "nearest", True, True, onetrainer.at_least(0.1))
    )
    # 32 pixels of weight 1 and 96 of weight 0.1: 41.6 of 128, of which 9.6 outside.
    assert seen.pixel_weight == pytest.approx(41.6 / 128)
    assert seen.outside_share == pytest.approx(9.6 / 41.6)
    # Nearest takes the upper left pixels, one white and one black.
    assert seen.cell_weight == pytest.approx((1 + 0.1) / 2)


def test_which_channel_counts(photo):
    red, blue = np.zeros((8, 16, 3)), np.zeros((8, 16, 3))
    red[:, :8, 0] = blue[:, :8, 2] = 255
    in_red = look(photo, save_mask(photo, red), kohya.FILE_RULES)
    assert (in_red.pixel_weight, in_red.is_black) == (0.5, False)
    # The dark red that PerSAM's program saves is blue where it is read as RGB: nothing is trained.
    in_blue = look(photo, save_mask(photo, blue), kohya.FILE_RULES)
    assert (in_blue.pixel_weight, in_blue.is_black) == (0, True)
    # Pillow's grey of pure blue is 29, and the mean of the channels 85.
    grey = look(photo, save_mask(photo, blue), Rules("grey", "nearest", True, True))
    assert grey.grey_weight == pytest.approx(29 / 255)
    assert look(photo, save_mask(photo, blue), simpletuner.rules_of("segmentation")).pixel_weight == 0.5


def test_a_black_of_1_trains_everything_in_simpletuners_segmentation(photo):
    almost_black = np.ones((8, 16))
    assert look(photo, save_mask(photo, almost_black), simpletuner.rules_of("segmentation")).cell_weight == 1
    mask = look(photo, save_mask(photo, almost_black), simpletuner.rules_of("mask"))
    assert mask.cell_weight == pytest.approx(1 / 255)


def test_pairs_that_do_not_fit(photo):
    wide, half, tall = (np.zeros((8, 32)), np.zeros((4, 8)), np.zeros((16, 8)))
    stretching = Rules("grey", "nearest", True, True)
    assert look(photo, save_mask(photo, half), stretching).problem is None
    for mask in (wide, tall):
        problem = look(photo, save_mask(photo, mask), stretching).problem
        assert "another shape, which is stretched without a message" in problem
    problem = look(photo, save_mask(photo, half), kohya.FILE_RULES).problem
    assert problem == "is 8 x 4 and its photo 16 x 8; the two must have one size, so save it at the photo's"
    assert "has no alpha channel" in look(photo, photo, kohya.ALPHA_RULES).problem
    deep = photo.with_name("deep.png")
    Image.fromarray(np.zeros((8, 16), dtype=np.uint16)).save(deep)
    assert "of the kind I;16, not of 8 bits" in look(photo, deep, kohya.FILE_RULES).problem


def test_an_orientation_that_only_some_trainers_apply(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = np.zeros((16, 8))
    mask[:8] = 255
    Image.new("RGB", (16, 8)).save(photo, exif=exif)
    path = save_mask(photo, mask)
    assert look(photo, path, simpletuner.rules_of("mask")).pixel_weight == 0.5
    problem = look(photo, path, kohya.FILE_RULES).problem
    assert (
        problem
        == "its photo carries an EXIF orientation, which the trainer ignores; save it upright without one"
    )


@pytest.mark.parametrize(
    ("settings", "is_white", "is_black", "text"),
    [
        ({"masked_prior_preservation_weight": 1.0}, True, False, "white all over, which makes the loss NaN"),
        ({"unmasked_weight": 0.0}, False, True, "black all over, which makes the loss NaN"),
        ({"unmasked_weight": 0.1}, False, True, None),
        ({"masked_prior_preservation_weight": 0.0}, True, False, None),
        ({"masked_prior_preservation_weight": 1.0, "unmasked_weight": 0.0}, False, False, None),
    ],
)
def test_when_onetrainers_loss_is_no_number(settings, is_white, is_black, text):
    config = {"normalize_masked_area_loss": True} | settings
    problem = onetrainer.nan_problem(config, is_white=is_white, is_black=is_black)
    assert (problem is None) if text is None else (text in problem)
    assert onetrainer.nan_problem(settings, is_white=is_white, is_black=is_black) is None
