"""Encoding: latents as the VAE gives them, masks beside them, several sizes, and a line for bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_albums import PROMPT, draw_album, draw_photo, encode_album, encode_photos, photo_of, prepared
from tiny_pipelines import PLAYGROUND_LATENTS, tiny_models

from persam_dreambooth.diffusion.backgrounds import INVARIANT_MODES, Background
from persam_dreambooth.diffusion.encode import class_preparation
from persam_dreambooth.diffusion.geometry import Geometry, square
from persam_dreambooth.diffusion.latent_mask import LatentMask
from persam_dreambooth.diffusion.latents import moments
from persam_dreambooth.errors import UserError

BUCKETS = ((32, 32), (32, 48))


@pytest.fixture(scope="module")
def models():
    return tiny_models()


def plain_moments(models, photo, geometry):
    """Mean and deviation of a photo's latents, in the VAE's own units."""
    pixels = torch.from_numpy(square(photo.pixels, geometry, photo.digest).copy())
    with torch.no_grad():
        posterior = models.vae.encode(pixels.permute(2, 0, 1)[None].float() / 127.5 - 1).latent_dist
    return posterior.mean[0], posterior.std[0]


def test_encoded_is_what_the_vae_says(models):
    photos, masks = draw_album(2)
    preparation = prepared({"center_crop": True})
    encoded = encode_photos(models, photos, masks, preparation)
    expected = (
        torch.cat(plain_moments(models, photos[1], preparation.geometry)) * models.vae.config.scaling_factor
    )
    torch.testing.assert_close(encoded.moments[1], expected)
    assert encoded.names == ("00.png", "01.png")
    assert encoded.loss_mask.shape == (2, 1, 4, 4)
    assert encoded.input_ids[0].shape == (2, 16)
    assert not encoded.moments.requires_grad
    # A photo's latents do not depend on its neighbours.
    alone = encode_photos(models, photos[1:], masks, preparation)
    assert torch.equal(alone.moments[0], encoded.moments[1])


def test_a_vae_that_knows_its_latents_mean_and_deviation():
    models = tiny_models("sdxl_edm")
    photos, masks = draw_album(1)
    encoded = encode_photos(models, photos, masks)
    mean, std = plain_moments(models, photos[0], Geometry(resolution=32))
    shift, spread = (
        torch.tensor(PLAYGROUND_LATENTS[name]).view(4, 1, 1) for name in ("latents_mean", "latents_std")
    )
    torch.testing.assert_close(encoded.moments[0, :4], (mean - shift) * 0.5 / spread)
    torch.testing.assert_close(encoded.moments[0, 4:], std * 0.5 / spread)
    # The reference scales a sample; a sample of what is kept is the same.
    eps = torch.randn(4, 4, 4)
    sample = encoded.moments[0, :4] + encoded.moments[0, 4:] * eps
    torch.testing.assert_close(sample, (mean + std * eps - shift) * 0.5 / spread)


def test_the_vae_works_in_float32_under_autocast(models):
    pixel_values = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = moments(models.vae, pixel_values)
    assert torch.equal(inside, moments(models.vae, pixel_values))


def test_each_photo_has_its_own_prompt(models):
    photos, masks = draw_album(3)
    encoded = encode_photos(models, photos, masks, prompts=[PROMPT, "a dog", PROMPT])
    one, two, three = encoded.conditions.prompt_embeds
    assert torch.equal(one, three)
    assert not torch.equal(one, two)
    assert encoded.input_ids[0][1, 2] == models.tokenizers[0]("a dog").input_ids[2]
    other = encode_photos(models, photos[1:2], masks, prompts=["a dog"]).conditions.prompt_embeds[0]
    torch.testing.assert_close(two, other)


def test_flipped_copies(models):
    encoded = encode_album(models, 2, random_flip=True)
    assert encoded.num_photos == 2
    assert encoded.with_flips
    assert torch.equal(encoded.loss_mask[2:], encoded.loss_mask[:2].flip(-1))
    assert torch.equal(encoded.subject_share[2:], encoded.subject_share[:2].flip(-1))
    assert encoded.moments.shape == (4, 8, 4, 4)
    assert not torch.equal(encoded.moments[2:], encoded.moments[:2])
    assert not encode_album(models, 2).with_flips
    # A mirrored photo's latents are those of the mirrored photo.
    photos, masks = draw_album(1)
    mirrored = [photo_of(np.ascontiguousarray(photos[0].pixels[:, ::-1]), "00.png")]
    masks = {"00": masks["00"][:, ::-1]}
    there = encode_photos(models, mirrored, masks, prepared({"center_crop": True}))
    here = encode_album(models, 1, random_flip=True, center_crop=True)
    assert torch.equal(there.moments[0], here.moments[1])
    torch.testing.assert_close(there.loss_mask[0], here.loss_mask[1])


def test_no_masks_is_plain_dreambooth(models):
    encoded = encode_album(models, with_masks=False)
    assert (encoded.loss_mask == 1).all()
    assert (encoded.subject_share == 1).all()


def test_the_share_of_the_subject_does_not_depend_on_how_it_is_weighed(models):
    photos, masks = draw_album(2)
    settings = prepared(latent_mask=LatentMask(mode="any", outside_weight=0.25))
    plain, weighed = encode_photos(models, photos, masks), encode_photos(models, photos, masks, settings)
    assert torch.equal(plain.subject_share, plain.loss_mask)
    assert torch.equal(weighed.subject_share, plain.subject_share)
    assert set(weighed.loss_mask.unique().tolist()) == {0.25, 1.0}


@pytest.mark.parametrize("mode", INVARIANT_MODES)
def test_replaced_backgrounds_have_no_influence(models, mode):
    photos, masks = draw_album(2)
    rng = np.random.default_rng(5)
    scrambled = [
        photo_of(
            np.where(
                masks[p.stem][..., None], p.pixels, rng.integers(0, 256, p.pixels.shape, dtype=np.uint8)
            ),
            p.path.name,
        )
        for p in photos
    ]
    preparation = prepared({"random_flip": True}, background=Background(mode=mode))
    class_photos = [draw_photo(9)[0]]
    one, other = (
        encode_photos(models, album, masks, preparation, class_photos=class_photos)
        for album in (photos, scrambled)
    )
    assert one.digest == other.digest
    for row in range(4):
        assert torch.equal(one.moments_of(row, (0, "k")), other.moments_of(row, (0, "k")))
    assert torch.equal(one.loss_mask, other.loss_mask)
    plain, changed = (encode_photos(models, album, masks) for album in (photos, scrambled))
    assert not torch.equal(plain.moments, changed.moments)
    assert plain.digest != changed.digest


def test_a_background_that_is_new_each_step_follows_from_the_key(models):
    photos, masks = draw_album(2)
    each = encode_photos(models, photos, masks, prepared(background=Background(mode="random")))
    assert torch.equal(each.moments_of(0, (0, 1)), each.moments_of(0, (0, 1)))
    assert not torch.equal(each.moments_of(0, (0, 1)), each.moments_of(0, (0, 2)))
    once = encode_photos(models, photos, masks, prepared(background=Background(mode="noise")))
    assert torch.equal(once.moments_of(0, (0, 1)), once.moments_of(0, (0, 2)))
    assert torch.equal(once.moments_of(1, ()), once.moments[1])


def test_latents_may_be_encoded_in_every_step(models):
    photos, masks = draw_album(2)
    preparation = prepared({"random_flip": True})
    kept = encode_photos(models, photos, masks, preparation)
    each = encode_photos(models, photos, masks, replace(preparation, cache_latents=False))
    assert kept.source is None
    for row in range(4):
        assert torch.equal(each.moments_of(row, (1,)), kept.moments_of(row, (2,)))


def test_pictures_of_several_sizes(models):
    wide, wide_mask = draw_photo(0, (40, 64))
    tall, tall_mask = draw_photo(1, (50, 40))
    preparation = prepared({"buckets": BUCKETS})
    encoded = encode_photos(models, [wide, tall], {"00": wide_mask, "01": tall_mask}, preparation)
    assert encoded.latent_sizes == ((4, 6), (4, 4))
    assert encoded.moments.shape == (2, 8, 4, 6)
    assert encoded.moments_of(1, ()).shape == (8, 4, 4)
    alone = encode_photos(models, [tall], {"01": tall_mask}, prepared())
    assert torch.equal(encoded.moments_of(1, ()), alone.moments[0])
    assert torch.equal(encoded.loss_mask[1, :, :4, :4], alone.loss_mask[0])
    assert (encoded.loss_mask[1, :, :, 4:] == 0).all()
    of_class = encode_photos(models, [tall], None, class_preparation(preparation))
    assert of_class.latent_sizes == ((4, 4), (4, 6))
    assert of_class.names == ("01.png", "01.png")


def test_the_digest_follows_every_input(models):
    photos, masks = draw_album(2)

    def digest(photos=photos, masks=masks, prompt=PROMPT, **options):
        prompts = [prompt] * len(photos)
        return encode_photos(models, photos, masks, prepared(**options), prompts=prompts).digest

    other_masks = {**masks, "01": ~masks["01"]}
    whole = {stem: np.ones_like(mask) for stem, mask in masks.items()}
    digests = [
        digest(),
        digest(photos=photos[:1]),
        digest(masks=None),
        digest(masks=other_masks),
        digest(prompt="a photo of sks dog"),
        digest(geometry={"seed": 1}),
        digest(geometry={"interpolation": "lanczos"}),
        digest(masks=whole),
        digest(masks=whole, latent_mask=LatentMask(mode="strict")),
        digest(background=Background(mode="fill")),
        digest(background=Background(mode="fill", fill=(1, 2, 3))),
    ]
    assert len(set(digests)) == len(digests)
    assert digest() == digests[0]


def test_bad_input_has_its_line(models):
    photos, masks = draw_album(2)
    with pytest.raises(UserError, match=r"00\.png 'a .*: 22 tokens with start and end; at most 16 fit"):
        encode_photos(models, photos, masks, prompts=["a " * 20, PROMPT])
    with pytest.raises(UserError, match=r"01\.png: has no mask"):
        encode_photos(models, photos, {"00": masks["00"]})
    with pytest.raises(UserError, match=r"01\.png: its mask is 5 x 4 pixels and the photo 48 x 40"):
        encode_photos(models, photos, {**masks, "01": np.ones((4, 5), dtype=bool)})
    with pytest.raises(UserError, match=r"--resolution 30: not a multiple of 8"):
        encode_photos(models, photos, masks, prepared({"resolution": 30}))
    with pytest.raises(UserError, match=r"--background fill: there are no masks"):
        encode_photos(models, photos, None, prepared(background=Background(mode="fill")))
    speck = np.zeros_like(masks["01"])
    speck[20, 24] = True
    strict = prepared(latent_mask=LatentMask(mode="strict"))
    with pytest.raises(UserError, match=r"01\.png: nothing .*no latent cell by --mask_mode strict"):
        encode_photos(models, photos, {"00": np.ones_like(speck), "01": speck}, strict)
    assert encode_photos(models, photos, {**masks, "01": speck}).loss_mask[1].sum() > 0


def test_a_crop_that_misses_the_subject_is_an_error(models):
    photo, mask = draw_photo(0, (32, 320))
    mask[:] = False
    mask[:, :3] = True
    with pytest.raises(UserError, match=r"0 in the 32 px square.*--center_crop"):
        encode_photos(models, [photo], {"00": mask}, prepared({"center_crop": True}))


def test_any_multiple_of_the_vae_factor_suits_the_unet(models):
    for cells in (1, 3, 5, 7):
        latents = torch.zeros(1, 4, cells, cells)
        with torch.no_grad():
            assert models.unet(latents, 1, torch.zeros(1, 16, 16)).sample.shape == latents.shape
