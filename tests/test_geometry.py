"""One transform for photo and mask: masking and transforming commute, sizes are the reference's."""

import numpy as np
import pytest
from diffusers.training_utils import find_nearest_bucket
from PIL import Image

from persam_dreambooth.diffusion.backgrounds import cut_out
from persam_dreambooth.diffusion.geometry import (
    Geometry,
    check_sizes,
    covering,
    nearest_bucket,
    place,
    square,
    take,
)
from persam_dreambooth.errors import UserError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
BUCKETS = ((64, 64), (48, 96), (96, 48))
WHITE = 255


def random_case(number):
    """A photo, a mask with holes and a geometry: every size, place, filter and mirroring comes up."""
    rng = np.random.default_rng(number)
    size = tuple(int(side) for side in rng.integers(9, 150, 2))
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    coarse = rng.random((3, 4)) < 0.5
    mask = np.array(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.NEAREST))
    geometry = Geometry(
        resolution=int(rng.integers(1, 9)) * 8,
        center_crop=bool(rng.integers(2)),
        seed=int(rng.integers(100)),
        interpolation=INTERPOLATIONS[number % len(INTERPOLATIONS)],
        buckets=BUCKETS if rng.integers(2) else (),
    )
    return pixels, mask, geometry, bool(rng.integers(2))


@pytest.mark.parametrize("number", range(60))
def test_masking_and_transforming_commute(number):
    pixels, mask, geometry, mirrored = random_case(number)
    step = -1 if mirrored else 1

    def transformed(array):
        return square(array, geometry, "a photo")[:, ::step]

    grey = mask.astype(np.uint8) * WHITE
    # A photo that is white exactly on the subject becomes, pixel by pixel, what its mask becomes.
    painted = grey[..., None].repeat(3, axis=-1)
    share = transformed(grey)
    assert (transformed(painted) == share[..., None]).all()
    # Masked first or transformed first: the same, and not one pixel of the background has a say.
    rgba = transformed(cut_out(pixels, mask))
    other = transformed(cut_out(np.where(mask[..., None], pixels, ~pixels), mask))
    assert (rgba == other).all()
    assert (rgba[..., 3] == share).all()
    if geometry.interpolation not in {"bicubic", "lanczos"}:  # these overshoot, and are cut off at 0 and 255
        black = transformed(np.where(mask[..., None], pixels, 0)).astype(float)
        assert abs(rgba[..., :3] * (share[..., None] / WHITE) - black).max() <= 1
    # Without blending, masking is choosing: exactly the same pixels.
    sharp = Geometry(**{**vars(geometry), "interpolation": "nearest"})
    chosen = square(pixels, sharp, "a photo")
    kept = square(grey, sharp, "a photo")
    masked = square(np.where(mask[..., None], pixels, 0), sharp, "a photo")
    assert (masked == np.where(kept[..., None] > 0, chosen, 0)).all()


@pytest.mark.parametrize("number", range(0, 60, 7))
def test_a_mirrored_rectangle_is_the_rectangle_of_the_mirrored_photo(number):
    pixels, _, geometry, _ = random_case(number)
    placement = place(pixels.shape[:2], geometry, "a photo")
    resized = Image.fromarray(pixels).resize(
        placement.resized[::-1], Image.Resampling[geometry.interpolation.upper()]
    )
    there = placement.mirrored()
    mirrored = np.asarray(resized)[:, ::-1][there.top :, there.left :][: there.target[0], : there.target[1]]
    assert (mirrored == take(pixels, placement, geometry)[:, ::-1]).all()


def test_photos_are_resized_to_cover_the_rectangle():
    # torchvision's Resize(512): the shorter side, and int(512 * longer / shorter).
    assert covering((1000, 1500), (512, 512)) == (512, 768)
    assert covering((333, 1000), (512, 512)) == (512, 1537)
    assert covering((1000, 333), (512, 512)) == (1537, 512)
    # In floating point 32 * (100 / 25) would do, but 100 * 1.28 is 127.999...
    assert covering((25, 100), (32, 32)) == (32, 128)
    assert covering((100, 100), (48, 96)) == (96, 96)
    for height in range(9, 60, 7):
        for width in range(9, 60, 5):
            resized = covering((height, width), (48, 96))
            assert resized[0] == 48 or resized[1] == 96
            assert resized[0] >= 48
            assert resized[1] >= 96


def test_the_bucket_is_the_nearest_in_shape():
    sizes = ((512, 512), (512, 768), (768, 512))
    assert nearest_bucket((100, 100), sizes) == (512, 512)
    assert nearest_bucket((300, 460), sizes) == (512, 768)
    assert nearest_bucket((4000, 3000), sizes) == (768, 512)
    sizes = (*sizes, (640, 640))
    for height in range(100, 900, 37):
        for width in range(100, 900, 41):
            theirs = sizes[find_nearest_bucket(height, width, sizes)]
            assert nearest_bucket((height, width), sizes) == theirs


def test_places_by_hand():
    wide = Geometry(resolution=32, center_crop=True)
    placement = place((64, 101), wide, "a photo")
    assert placement.resized == (32, 50)
    assert (placement.top, placement.left) == (0, 9)
    assert placement.mirrored().left == 9
    drawn = [place((64, 256), Geometry(resolution=32, seed=seed), "a").left for seed in range(40)]
    assert min(drawn) < 10
    assert max(drawn) > 86
    assert max(drawn) <= 128 - 32
    places = {place((64, 256), Geometry(resolution=32), key).left for key in "abcdefgh"}
    assert len(places) > 3


@pytest.mark.parametrize(
    ("resolution", "advice"), [(30, "Use 24 or 32"), (4, "Use 8"), (0, "Use 8"), (509, "Use 504 or 512")]
)
def test_sizes_that_the_vae_cannot_take(resolution, advice):
    with pytest.raises(UserError, match=rf"--resolution {resolution}: not a multiple of 8.*{advice}\."):
        check_sizes(Geometry(resolution=resolution), 8)
    check_sizes(Geometry(resolution=64), 8)
    with pytest.raises(UserError, match=r"--aspect_ratio_buckets 100: not a multiple of 8.*Use 96 or 104\."):
        check_sizes(Geometry(resolution=64, buckets=((64, 64), (64, 100))), 8)
