"""EfficientNet, SAM and the UNet as features: known numbers, and no way from subject to background."""

import numpy as np
import pytest
import torch
from leakage_cases import disc, place, with_subject
from sam_families import RANDOM_MODELS
from tiny_pipelines import tiny_models

from persam_dreambooth.leakage.features import background_cells, load_features
from persam_dreambooth.leakage.features.cells import CELL
from persam_dreambooth.leakage.features.efficientnet_lite0 import build, run
from persam_dreambooth.leakage.features.pixel_values import pixel_values
from persam_dreambooth.leakage.features.weights_package import is_installed, weights_file
from persam_dreambooth.sam.segmenter import Segmenter

PIXELS, MASK = with_subject(place(1)), disc()
needs_weights = pytest.mark.skipif(not is_installed(), reason="the extra [leakage] is not installed")

# Recorded from the package efficientnet-lite-pytorch 0.1.0 on place(3, side=256), after blocks 7 and 10: the
# first four channels at row 5, column 9, then mean and standard deviation of all.
RECORDED = {
    8: ([6.38234, -7.99132, -1.85795, -3.7605], 0.239127, 6.633654),
    11: ([4.60228, 1.5606, 11.50785, -0.41649], 0.217419, 4.235715),
}


def sam_features(family: str):
    return load_features("sam", segmenter=Segmenter(RANDOM_MODELS[family]()))


def dift_features(kind: str):
    return load_features("dift", models=tiny_models(kind))


CASES = {
    "efficientnet": pytest.param(lambda: load_features("efficientnet"), marks=needs_weights),
    "sam": lambda: sam_features("sam"),
    "sam2": lambda: sam_features("sam2"),
    "sd": lambda: dift_features("sd"),
    "sdxl": lambda: dift_features("sdxl"),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def features(request):
    return request.param()


def with_other_subject() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, PIXELS.shape, dtype=np.uint8)
    return np.where(MASK[..., None], noise, PIXELS)


def test_no_pixel_of_the_subject_changes_the_background(features):
    first, second = features.cells(PIXELS, MASK), features.cells(with_other_subject(), MASK)
    assert first.vectors.shape == (16, 16, features.num_features)
    assert first.vectors.dtype == np.float64
    assert np.isfinite(first.vectors).all()
    assert np.array_equal(first.vectors, second.vectors)
    assert not first.vectors[~first.is_background].any()
    assert first.vectors[first.is_background].std(axis=0).min() > 0


def test_the_rim_of_the_subject_is_removed_too(features):
    """A halo one pixel wide around the mask is the subject's as well."""
    halo = np.zeros_like(MASK)
    halo[1:-1, 1:-1] = MASK[2:, 1:-1] | MASK[:-2, 1:-1] | MASK[1:-1, 2:] | MASK[1:-1, :-2]
    haloed = np.where((halo & ~MASK)[..., None], np.array([210, 30, 40], np.uint8), PIXELS)
    assert not np.array_equal(haloed, PIXELS)
    assert np.array_equal(features.cells(haloed, MASK).vectors, features.cells(PIXELS, MASK).vectors)


def test_no_pixel_of_the_background_changes_the_subject(features):
    vectors = features.subject(PIXELS, MASK)
    assert vectors.shape[1] == features.num_features
    assert np.array_equal(vectors, features.subject(np.where(MASK[..., None], PIXELS, place(9)), MASK))


def test_equal_pictures_have_equal_vectors_and_others_have_not(features):
    first, second = features.cells(PIXELS, None), features.cells(PIXELS, None)
    assert np.array_equal(first.vectors, second.vectors)
    assert first.is_background.all()
    assert not np.array_equal(first.vectors, features.cells(place(2), None).vectors)


def test_places_are_where_they_are_in_the_picture(features):
    """What changes in the lower right corner changes the vectors there most."""
    pixels = np.ascontiguousarray(place(1, side=192)[:128])
    changed = pixels.copy()
    changed[96:, 144:] = place(7, side=192)[96:128, 144:]
    difference = features.cells(pixels, None).vectors - features.cells(changed, None).vectors
    size = np.linalg.norm(difference, axis=-1)
    assert size.shape == (16, 24)
    assert size[13:, 19:].mean() > 2 * size[:8, :12].mean()


@needs_weights
def test_efficientnet_says_what_its_authors_port_says():
    network = build(torch.load(weights_file(), weights_only=True))
    values = pixel_values(place(3, side=256), (16, 16), CELL, (127.0,) * 3, (128.0,) * 3)
    with torch.no_grad():
        outputs = run(network, values)
    for number, (channels, mean, spread) in RECORDED.items():
        assert outputs[number][0, :4, 5, 9].numpy() == pytest.approx(channels, abs=2e-4)
        assert float(outputs[number].mean()) == pytest.approx(mean, abs=2e-5)
        assert float(outputs[number].std()) == pytest.approx(spread, abs=2e-4)


@needs_weights
def test_efficientnet_leaves_out_the_cells_beside_the_subject():
    one_more = ~load_features("efficientnet").cells(PIXELS, MASK).is_background
    subject = ~background_cells(MASK, MASK.shape)
    rows, columns = np.nonzero(subject)
    expected = np.zeros_like(subject)
    for row, column in zip(rows, columns, strict=True):
        expected[row - 1 : row + 2, column - 1 : column + 2] = True
    assert np.array_equal(one_more, expected)


@needs_weights
def test_where_that_would_leave_nothing_they_stay():
    mask = np.ones((128, 128), bool)
    mask[:, :16] = False
    cells = load_features("efficientnet").cells(PIXELS, mask)
    assert np.array_equal(cells.is_background, background_cells(mask, mask.shape))
    assert cells.is_background.any()


def test_sam_reads_a_wide_photo_only_where_it_lies_in_the_square():
    """Below a wide photo its square is padding: what stands there is the same for every photo."""
    features = sam_features("sam")
    upper, lower = np.full((64, 128, 3), 40, np.uint8), np.full((64, 128, 3), 200, np.uint8)
    halves = np.concatenate([upper[:32], lower[32:]])
    vectors = features.cells(halves, None).vectors
    top, bottom = (features.cells(flat, None).vectors for flat in (upper, lower))
    assert vectors.shape[:2] == (16, 32)
    assert np.abs(vectors[0] - top[0]).mean() < np.abs(vectors[0] - bottom[0]).mean()
    assert np.abs(vectors[-1] - bottom[-1]).mean() < np.abs(vectors[-1] - top[-1]).mean()


def test_every_kind_of_model_and_sam_has_a_digest_of_its_own():
    kinds = ("sd", "sd_v", "sdxl", "sdxl_edm")
    every = [dift_features(kind) for kind in kinds] + [sam_features(family) for family in ("sam", "sam_hq")]
    assert len({one.digest for one in every}) == len(every)
    assert dift_features("sd").digest == every[0].digest
