"""Backgrounds: nothing of the true one gets through, not even as NaN, and each new one is what it says."""

import numpy as np
import pytest
import torch
from tiny_albums import draw_album, draw_photo
from tiny_masks import elsewhere
from tiny_pipelines import tiny_models

from persam_dreambooth.diffusion.backgrounds import (
    INVARIANT_MODES,
    Background,
    blurred_background,
    check_has_masks,
    cut_out,
    kept_digest,
    make_backdrop,
    random_fields,
    replace,
)
from persam_dreambooth.diffusion.geometry import Geometry, square
from persam_dreambooth.diffusion.randomness import generator
from persam_dreambooth.errors import UserError

SIDE = 32
KEY = (0, "a photo")
CLASS_PIXELS = torch.randint(0, 256, (5, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator(1))


def values(pixels: np.ndarray) -> torch.Tensor:
    """0 to 255, channels last, as -1 to 1, channels first."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255 * 2 - 1


def squares_of(
    pixels: np.ndarray, mask: np.ndarray, interpolation: str = "bilinear"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Subject, its share and the whole photo, through the one transform."""
    geometry = Geometry(resolution=SIDE, seed=3, interpolation=interpolation)
    key = kept_digest(pixels, mask)
    rgba = square(cut_out(pixels, mask), geometry, key)
    return values(rgba[..., :3]), values(rgba[..., 3:]) / 2 + 0.5, values(square(pixels, geometry, key))


def shown(pixels: np.ndarray, mask: np.ndarray, mode: str, key=KEY) -> torch.Tensor:
    """What the VAE is given."""
    subject, share, photo = squares_of(pixels, mask)
    return replace(subject, share, Background(mode=mode), key, class_pixels=CLASS_PIXELS, photo=photo)


@pytest.mark.parametrize("size", [(32, 32), (40, 48), (100, 33), (31, 70), (20, 24), (257, 300)])
def test_the_cut_out_goes_where_photo_and_mask_go(size):
    photo, mask = draw_photo(1, size)
    geometry = Geometry(resolution=SIDE, seed=3)
    rgba = square(cut_out(photo.pixels, mask), geometry, "key")
    assert (rgba[..., 3] == square(mask.astype(np.uint8) * 255, geometry, "key")).all()
    # Where every pixel that is mixed into one is subject, it is the photo's to the bit.
    whole = np.ones_like(mask)
    rgba = square(cut_out(photo.pixels, whole), geometry, "key")
    assert (rgba[..., :3] == square(photo.pixels, geometry, "key")).all()


@pytest.mark.parametrize("size", [(32, 32), (32, 75), (60, 32)])
def test_masking_and_cropping_commute(size):
    # Nothing is resized here, so that both orders give whole pixels.
    photo, mask = draw_photo(2, size)
    geometry = Geometry(resolution=SIDE, seed=5)
    pixels, kept = (square(a, geometry, "key") for a in (photo.pixels, mask.astype(np.uint8)))
    assert (square(cut_out(photo.pixels, mask), geometry, "key") == cut_out(pixels, kept > 0)).all()


def test_edge_pixels_hold_the_colour_of_the_subject_alone():
    # A subject of one colour on any background, shrunk to a tenth: any pixel of it has that colour.
    rng = np.random.default_rng(0)
    pixels, mask = rng.integers(0, 256, (320, 320, 3), dtype=np.uint8), np.zeros((320, 320), bool)
    mask[83:211, 97:240] = True
    pixels[mask] = (200, 100, 50)
    rgba = square(cut_out(pixels, mask), Geometry(resolution=SIDE), "key")
    soft = (rgba[..., 3] > 0) & (rgba[..., 3] < 255)
    assert soft.any()
    inside = rgba[rgba[..., 3] > 40].astype(int)
    assert abs(inside[:, :3] - (200, 100, 50)).max() <= 3
    # The plain way mixes the background in.
    plain = square(pixels, Geometry(resolution=SIDE), "key").astype(int)
    assert abs(plain[soft] - (200, 100, 50)).max() > 20


@pytest.mark.parametrize("mode", INVARIANT_MODES)
@pytest.mark.parametrize("size", [(32, 32), (40, 48), (100, 73)])
def test_another_background_changes_not_a_bit(mode, size):
    photo, mask = draw_photo(1, size)
    first = shown(photo.pixels, mask, mode)
    for seed in range(3):
        (moved,) = elsewhere([photo], {photo.stem: mask}, seed=seed)
        assert moved.digest != photo.digest
        assert kept_digest(moved.pixels, mask) == kept_digest(photo.pixels, mask)
        assert torch.equal(shown(moved.pixels, mask, mode), first)


@pytest.mark.parametrize("interpolation", ["nearest", "bicubic", "box", "hamming", "lanczos"])
def test_no_interpolation_lets_the_background_in(interpolation):
    photo, mask = draw_photo(1, (100, 73))
    (moved,) = elsewhere([photo], {photo.stem: mask})
    for before, after in zip(
        squares_of(photo.pixels, mask, interpolation)[:2],
        squares_of(moved.pixels, mask, interpolation)[:2],
        strict=True,
    ):
        assert torch.equal(before, after)


def test_blur_lets_colours_through():
    photos, masks = draw_album(1)
    (moved,) = elsewhere(photos, masks)
    mask = masks[photos[0].stem]
    assert not torch.equal(shown(photos[0].pixels, mask, "blur"), shown(moved.pixels, mask, "blur"))


@pytest.mark.parametrize("mode", INVARIANT_MODES)
@pytest.mark.parametrize("canary", [float("nan"), float("inf"), -1e30])
def test_nan_canary(mode, canary):
    # 0 x NaN is NaN: any path from the background would show.
    photo, mask = draw_photo(2, (SIDE, SIDE))
    subject, share, _ = squares_of(photo.pixels, mask)
    poisoned = torch.where(share > 0, subject, canary)
    clean, dirty = (
        replace(picture, share, Background(mode=mode), KEY, class_pixels=CLASS_PIXELS)
        for picture in (subject, poisoned)
    )
    assert clean.isfinite().all()
    assert torch.equal(clean, dirty)


def test_canary_through_the_vae():
    vae = tiny_models().vae
    photo, mask = draw_photo(2, (SIDE, SIDE))
    subject, share, _ = squares_of(photo.pixels, mask)
    poisoned = subject.clone()
    assert share[0, 0, 0] == 0
    poisoned[:, 0, 0] = float("nan")
    with torch.no_grad():
        kept = vae.encode(poisoned[None]).latent_dist.mean
        filled = vae.encode(replace(poisoned, share, Background(mode="fill"), KEY)[None]).latent_dist.mean
    # In the photo as it is, one pixel of background reaches every cell.
    assert kept.isnan().all()
    assert filled.isfinite().all()


@pytest.mark.parametrize("mode", INVARIANT_MODES)
def test_no_gradient_flows_to_the_background(mode):
    photo, mask = draw_photo(2, (SIDE, SIDE))
    subject, share, _ = squares_of(photo.pixels, mask)
    subject.requires_grad_(True)
    replace(subject, share, Background(mode=mode), KEY, class_pixels=CLASS_PIXELS).square().sum().backward()
    outside = (share == 0).expand_as(subject)
    assert (subject.grad[outside] == 0).all()
    assert subject.grad[~outside].abs().sum() > 0


@pytest.mark.parametrize("mode", ["fill", "noise", "blur", "random", "class"])
def test_the_subject_is_kept_to_the_bit(mode):
    photo, mask = draw_photo(3, (SIDE, SIDE))
    picture = shown(photo.pixels, mask, mode)
    inside = torch.from_numpy(mask)
    assert torch.equal(picture[:, inside], values(photo.pixels)[:, inside])
    assert not torch.equal(picture[:, ~inside], values(photo.pixels)[:, ~inside])
    assert picture.shape == (3, SIDE, SIDE)
    assert picture.abs().max() <= 1


def test_soft_edges_are_mixed_with_the_new_background():
    share = torch.tensor([[[0.0, 0.25, 1.0]]])
    subject = torch.tensor([-1.0, 0.5, 0.0])[:, None, None].expand(3, 1, 3)
    picture = replace(subject, share, Background(mode="fill", fill=(255, 0, 255)), KEY)
    # A quarter of the subject and three of the fill, which is 1, -1, 1.
    torch.testing.assert_close(picture[:, 0, 1], torch.tensor([0.5, -0.625, 0.75]))
    assert picture[:, 0, 0].tolist() == [1, -1, 1]
    assert picture[:, 0, 2].tolist() == [-1, 0.5, 0]


def test_fill_is_mid_grey_unless_told():
    share = torch.zeros(1, 4, 6)
    assert Background(mode="fill").fill == (128, 128, 128)
    assert make_backdrop(Background(mode="fill"), share, KEY).abs().max() < 0.005
    assert make_backdrop(Background(mode="fill"), share, KEY).shape == (3, 4, 6)
    black = make_backdrop(Background(mode="fill", fill=(0, 0, 0)), share, KEY)
    assert (black == -1).all()


@pytest.mark.parametrize("mode", ["noise", "random", "class"])
def test_draws_follow_from_the_key_alone(mode):
    share = torch.zeros(1, SIDE, SIDE)
    one, again, other = (
        make_backdrop(Background(mode=mode), share, key, class_pixels=CLASS_PIXELS)
        for key in ((0, "instance", 5, 1), (0, "instance", 5, 1), (0, "instance", 6, 1))
    )
    torch.rand(3)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_noise_fills_its_range():
    noise = make_backdrop(Background(mode="noise"), torch.zeros(1, 64, 64), KEY)
    assert noise.min() < -0.99
    assert noise.max() > 0.99
    assert abs(noise.mean()) < 0.03


def test_random_fields_vary_in_every_way():
    pictures = torch.stack([random_fields((SIDE, 48), generator(number)) for number in range(60)])
    assert pictures.shape == (60, 3, SIDE, 48)
    assert pictures.isfinite().all()
    assert pictures.abs().max() <= 1
    brightness = pictures.mean(dim=(1, 2, 3))
    assert brightness.min() < -0.3
    assert brightness.max() > 0.3
    # Neighbours are alike: fields, not noise. How rough they are differs from picture to picture.
    steps = (pictures[..., 1:] - pictures[..., :-1]).abs().mean(dim=(1, 2, 3))
    assert (steps < pictures.std(dim=(1, 2, 3))).float().mean() > 0.8
    assert steps.max() > 4 * steps.min()


def test_class_backgrounds_are_class_pictures_and_all_of_them():
    share, background = torch.zeros(1, SIDE, SIDE), Background(mode="class")
    drawn = {
        int((make_backdrop(background, share, (0, n), class_pixels=CLASS_PIXELS)[0, 0, 0] + 1) * 127.5 + 0.5)
        for n in range(60)
    }
    assert drawn == {int(picture[0, 0, 0]) for picture in CLASS_PIXELS}


def test_blur_takes_nothing_of_the_subject():
    # One colour around another: a plain blur would mix them, a mean over the background alone cannot.
    photo = torch.full((3, 40, 64), -0.5)
    share = torch.zeros(1, 40, 64)
    photo[:, 10:30, 20:50] = 1.0
    share[:, 10:30, 20:50] = 1.0
    torch.testing.assert_close(blurred_background(photo, share), torch.full((3, 40, 64), -0.5))
    assert (blurred_background(photo, torch.ones(1, 40, 64)) == 0).all()


def test_blur_leaves_no_shapes():
    stripes = torch.ones(3, 64, 64)
    stripes[:, :, ::16] = -1
    stripes[:, :, 1::16] = -1
    blurred = blurred_background(stripes, torch.zeros(1, 64, 64))
    assert blurred[..., 16:48].std() < 0.02
    assert stripes.std() > 0.5


def test_what_a_mode_needs():
    share = torch.zeros(1, 8, 8)
    for mode, missing in (("class", "class_pixels"), ("blur", "photo"), ("keep", "nothing is replaced")):
        with pytest.raises(ValueError, match=missing):
            make_backdrop(Background(mode=mode), share, KEY)
    for mode in ("keep", "fill", "noise", "blur", "random", "class"):
        background = Background(mode=mode)
        assert background.replaces == (mode != "keep")
        assert background.is_invariant == (mode not in ("keep", "blur"))
        assert background.is_new_each_step == (mode in ("random", "class"))


def test_backgrounds_need_masks():
    check_has_masks(Background(), has_masks=False)
    check_has_masks(Background(mode="fill"), has_masks=True)
    with pytest.raises(UserError, match=r"^--background noise: there are no masks; .* Add --use_persam, or"):
        check_has_masks(Background(mode="noise"), has_masks=False)
