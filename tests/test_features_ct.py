"""Colour and gradients, and the grid that all features share."""

import subprocess
import sys

import numpy as np
import pytest
from leakage_cases import SIDE, disc, place
from PIL import Image, ImageFilter

from persam_dreambooth.leakage.features import background_cells, ct_features, grid_of, widened_by
from persam_dreambooth.leakage.features.cells import CELL, MARGIN, SHORT_SIDE, widened
from persam_dreambooth.leakage.features.colour import cell_features

# Of place(3): lightness and colour of the first cell, and the sum over all background cells.
RECORDED = (35.29434846140967, 35.00184251611558, -43.10772323477322, 11213.356294395173)


def test_a_flat_picture_has_its_colour_and_nothing_else():
    cells = cell_features(np.full((64, 64, 3), 119, np.uint8))
    assert cells.shape == (SHORT_SIDE // CELL, SHORT_SIDE // CELL, 22)
    # sRGB 119 is the grey whose lightness is 50.
    assert cells[..., 0] == pytest.approx(50.0, abs=0.1)
    assert np.abs(cells[..., 1:]).max() < 0.05


def test_colour_means_are_cielab():
    red = cell_features(np.full((32, 32, 3), (255, 0, 0), np.uint8))[0, 0, :3]
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


def test_stripes_have_energy_in_their_own_direction():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, (np.arange(256) // 4) % 2 == 0] = 200
    upright = cell_features(stripes)[8, 8, 6:].reshape(2, 8)
    lying = cell_features(np.ascontiguousarray(stripes.transpose(1, 0, 2)))[8, 8, 6:].reshape(2, 8)
    assert upright.argmax(axis=1).tolist() == [0, 0]
    assert lying.argmax(axis=1).tolist() == [4, 4]


def test_the_numbers_are_those_of_earlier_versions():
    """Recorded before the features were a package: reports of one version can be compared."""
    cells = ct_features().cells(place(3), disc())
    assert cells.is_background.sum() == 196
    assert cells.vectors[0, 0, :3] == pytest.approx(RECORDED[:3], abs=1e-12)
    assert cells.vectors.sum() == pytest.approx(RECORDED[3], abs=1e-8)


@pytest.mark.parametrize(
    ("size", "grid"), [((64, 64), (16, 16)), ((60, 90), (16, 24)), ((1000, 700), (23, 16))]
)
def test_photos_of_any_shape_have_sixteen_cells_along_the_shorter_side(size, grid):
    assert grid_of(size) == grid
    assert background_cells(np.zeros(size, bool), size).shape == grid
    assert cell_features(np.zeros((*size, 3), np.uint8)).shape == (*grid, 22)


@pytest.mark.parametrize("reach", [1, 3, 60])
def test_masks_are_widened_and_narrowed_as_by_pillows_filters(reach):
    """Theirs take the square of the reach: 3 seconds for one mask of 1024 px."""
    mask = np.random.default_rng(0).random((40, 70)) > 0.97
    grey = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    kinds = (ImageFilter.MaxFilter, ImageFilter.MinFilter)
    wider, other = (grey.filter(kind(2 * reach + 1)) for kind in kinds)
    assert np.array_equal(widened_by(mask, reach), np.asarray(wider) > 0)
    assert np.array_equal(~widened_by(~mask, reach), np.asarray(other) > 0)


def test_the_subject_and_its_rim_are_no_background():
    cells = background_cells(disc(), (SIDE, SIDE))
    subject = disc().reshape(16, 8, 16, 8).any(axis=(1, 3))
    assert not (cells & subject).any()
    # Half a cell of margin: the cells right beside the disc are left out as well.
    assert subject.sum() < (~cells).sum() < 2.2 * subject.sum()
    assert background_cells(None, (SIDE, SIDE)).all()


def test_a_mask_is_widened_to_a_square_around_every_pixel():
    mask = np.zeros((SHORT_SIDE, SHORT_SIDE), bool)
    mask[100, 60] = mask[0, 255] = True
    expected = np.zeros_like(mask)
    expected[100 - MARGIN : 101 + MARGIN, 60 - MARGIN : 61 + MARGIN] = True
    expected[: MARGIN + 1, 255 - MARGIN :] = True
    assert np.array_equal(widened(mask), expected)


def test_a_speck_that_vanishes_in_the_scaling_stays_subject():
    mask = np.zeros((2048, 2048), bool)
    mask[1000, 1000] = True
    assert background_cells(mask, mask.shape).all()
    assert widened(mask)[1000, 1000]


def test_ct_needs_no_torch():
    code = (
        "import sys; from persam_dreambooth.leakage.features import load_features; load_features('ct'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
