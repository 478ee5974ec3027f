"""The photo's pixels and the model's cells: which cells are subject, similarity, points, guidance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from persam_formulas import restated_cells, restated_similarity
from PIL import Image, ImageDraw
from sam_models import random_segmenter, relative_difference, scene

from persam_dreambooth.masks.cells import guidance_map, pixel_of, similarity_map, subject_cells, unit

SHAPES = [(96, 128), (160, 112), (128, 128), (70, 121)]


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter()


def encoded(segmenter, height, width, seed=0):
    return segmenter.encode(scene(height, width, seed)[0])


def drawn(size, kind):
    """Return a mask [H W]: an ellipse, thin lines, or a block that touches the photo's corner."""
    picture = Image.new("1", size[::-1])
    draw, (height, width) = ImageDraw.Draw(picture), size
    if kind == "ellipse":
        draw.ellipse((width // 5, height // 6, width // 2, height - 9), fill=1)
    elif kind == "thin":
        thickness = max(size) // 8
        draw.line((3, 2, width - 9, height - 5), fill=1, width=thickness)
        draw.line((0, height // 2, width, height // 2), fill=1, width=thickness)
    else:
        draw.rectangle((width // 2, height // 3, width, height), fill=1)
    return np.array(picture)


def test_a_cell_is_subject_where_at_least_half_of_it_is(segmenter):
    embedding = encoded(segmenter, 128, 128)  # cells of 8 x 8 pixels
    mask = np.zeros((128, 128), bool)
    mask[0:4, 0:8] = True  # exactly half of cell (0, 0)
    mask[8:12, 0:8] = True
    mask[8, 0] = False  # one pixel less than half of cell (1, 0)
    mask[80:88, 40:48] = True
    mask[83:85, 43:45] = False  # all of cell (10, 5) but its middle
    mask[3:5, 27:29] = True  # the middle of cell (0, 3) alone
    assert subject_cells(segmenter, embedding, mask).nonzero().tolist() == [[0, 0], [10, 5]]


def test_of_a_cell_cut_by_the_edge_the_padding_is_no_subject(segmenter):
    # 60 x 128 fills seven and a half rows of cells, 58 x 128 seven and a quarter.
    for height, rows in ((60, 8), (58, 7)):
        embedding = encoded(segmenter, height, 128)
        cells = subject_cells(segmenter, embedding, np.ones((height, 128), bool))
        assert cells[:rows].all()
        assert not cells[rows:].any()


def test_compat_needs_all_four_pixels_in_the_middle_of_a_cell(segmenter):
    embedding = encoded(segmenter, 128, 128)
    mask = np.zeros((128, 128), bool)
    mask[3:5, 3:5] = True  # the four in the middle of cell (0, 0)
    mask[11:13, 19:21] = True
    mask[12, 20] = False  # three of four in cell (1, 2)
    mask[80:88, 40:48] = True
    mask[83, 43] = False  # all of cell (10, 5) but one of the four
    assert subject_cells(segmenter, embedding, mask, compat=True).nonzero().tolist() == [[0, 0]]


def test_compat_lets_the_padding_decide_nothing(segmenter):
    # The middle of the eighth row of cells is half photo, half padding.
    embedding = encoded(segmenter, 60, 128)
    cells = subject_cells(segmenter, embedding, np.ones((60, 128), bool), compat=True)
    assert cells[:8].all()
    assert not cells[8:].any()


@pytest.mark.parametrize("kind", ["ellipse", "thin", "corner"])
@pytest.mark.parametrize("size", [(128, 128), (135, 200), (301, 170)])
def test_compat_counts_cells_as_the_authors_do(segmenter, size, kind):
    embedding, mask = encoded(segmenter, *size), drawn(size, kind)
    ours = subject_cells(segmenter, embedding, mask, compat=True)
    assert ours.any()
    assert torch.equal(ours, restated_cells(embedding, mask, 128))


def test_compat_and_default_and_other_masks_count_different_cells(segmenter):
    embedding, mask = encoded(segmenter, 135, 200), drawn((135, 200), "ellipse")
    counts = [
        int(restated_cells(embedding, mask, 128, m).sum()) for m in ("", "mask 255", "mask padded only")
    ]
    assert counts == sorted(set(counts))  # the mask's value 128 asks for most, any value above zero for least
    assert int(subject_cells(segmenter, embedding, mask, compat=True).sum()) == counts[0]
    assert counts[0] < int(subject_cells(segmenter, embedding, mask).sum()) < counts[2]


@pytest.mark.parametrize("shape", SHAPES)
def test_similarity_is_the_cosine_brought_up_in_three_steps(segmenter, shape):
    embedding = encoded(segmenter, *shape, seed=1)
    vector = torch.randn(32)
    ours = similarity_map(segmenter, embedding, unit(vector))
    assert ours.shape == shape
    assert relative_difference(ours, restated_similarity(embedding, vector.double(), 128)[0]) < 1e-5


def test_similarity_knows_its_own_cells(segmenter):
    embedding = encoded(segmenter, 128, 128)
    ours = similarity_map(segmenter, embedding, unit(embedding.features[0, :, 9, 4]))
    x, y = pixel_of(ours.argmax(), ours).tolist()
    assert (y // 8, x // 8) == (9, 4)
    assert ours.max() <= 1 + 1e-6
    opposite = similarity_map(segmenter, embedding, -unit(embedding.features[0, :, 9, 4]))
    torch.testing.assert_close(opposite, -ours)


def test_pixels_are_numbered_row_by_row_and_ties_go_to_the_first():
    similarity = torch.zeros(3, 5)
    similarity[1, 2:4] = 1
    assert pixel_of(similarity.argmax(), similarity).tolist() == [2, 1]
    assert pixel_of(similarity.argmin(), similarity).tolist() == [0, 0]


def test_guidance_is_read_where_the_middle_of_a_cell_lies_in_the_photo(segmenter):
    # 40 x 80 becomes 64 x 128: eight rows of cells, and eight more of padding.
    embedding = encoded(segmenter, 40, 80)
    column = torch.arange(80).float().expand(40, 80)
    row = torch.arange(40).float()[:, None].expand(40, 80)
    for ramp, rate in ((column, torch.arange(16)), (row, torch.arange(16)[:, None])):
        guidance = guidance_map(segmenter, embedding, ramp)
        # A cell is 5 pixels of the photo; its middle is 2.5 pixels from its edge, and pixel 2 covers 2 to 3.
        expected = torch.sigmoid((5 * rate + 2 - ramp.mean()) / ramp.std()).expand(16, 16)
        torch.testing.assert_close(guidance[:8], expected[:8])
        least = torch.sigmoid((0 - ramp.mean()) / ramp.std())
        torch.testing.assert_close(guidance[8:], least.expand(8, 16))


def test_compat_squeezes_the_photo_onto_the_whole_grid(segmenter):
    embedding = encoded(segmenter, 40, 80)
    row = torch.arange(40).float()[:, None].expand(40, 80)
    guidance = guidance_map(segmenter, embedding, row, compat=True)
    # Sixteen rows of cells share forty rows of pixels.
    expected = torch.sigmoid((2.5 * torch.arange(16) + 0.75 - row.mean()) / row.std())
    torch.testing.assert_close(guidance, expected[:, None].expand(16, 16))


@pytest.mark.parametrize("side", [128, 77])
def test_for_square_photos_both_guidances_are_the_same(segmenter, side):
    embedding = encoded(segmenter, side, side)
    similarity = torch.randn(side, side)
    ours, theirs = (guidance_map(segmenter, embedding, similarity, compat=compat) for compat in (False, True))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert 0 < ours.min() < ours.max() < 1


def test_guidance_depends_neither_on_the_unit_nor_on_the_zero_of_similarity(segmenter):
    embedding = encoded(segmenter, 70, 121)
    similarity = torch.rand(70, 121)
    for compat in (False, True):
        first = guidance_map(segmenter, embedding, similarity, compat=compat)
        second = guidance_map(segmenter, embedding, 5 * similarity - 2, compat=compat)
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_grid_that_the_whole_photo_is_squeezed_onto_has_no_padding(segmenter):
    # As Sam2 sees photos: whatever their proportions, they take up the whole square.
    embedding = replace(encoded(segmenter, 40, 80), input_size=(128, 128))
    row = torch.arange(40).float()[:, None].expand(40, 80)
    torch.testing.assert_close(
        guidance_map(segmenter, embedding, row), guidance_map(segmenter, embedding, row, compat=True)
    )
    mask = np.zeros((40, 80), bool)
    mask[20:] = True
    assert subject_cells(segmenter, embedding, mask).all(dim=1).tolist() == [False] * 8 + [True] * 8
