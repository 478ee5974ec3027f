"""Encoding: one transform for photo and mask, latents as the VAE gives them, and a line for bad input."""

import numpy as np
import pytest
import torch
from tiny_pipelines import RESOLUTION, draw_album, draw_photo, encode_album, tiny_models

from persam_dreambooth.diffusion.encode import Geometry, check_resolution, encode, latent_mask, square
from persam_dreambooth.errors import UserError

PROMPT = "a photo of sks cat"


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.mark.parametrize("center_crop", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (40, 48), (100, 33), (31, 70), (20, 24)])
def test_masks_go_where_photos_go(size, center_crop):
    # A photo that is white exactly on the subject stays so only if both are transformed alike.
    photo, mask = draw_photo(1, size)
    painted = np.where(mask[..., None], 255, 0).astype(np.uint8).repeat(3, axis=-1)
    geometry = Geometry(resolution=32, center_crop=center_crop, seed=3)
    as_photo = square(painted, geometry, photo.digest)
    as_mask = square(mask.astype(np.uint8) * 255, geometry, photo.digest)
    assert as_photo.shape == (32, 32, 3)
    assert (as_photo == as_mask[..., None]).all()


def test_masking_and_cropping_commute():
    photo, mask = draw_photo(2, (32, 48))
    geometry = Geometry(resolution=32, seed=5)
    before = square(np.where(mask[..., None], photo.pixels, 0), geometry, photo.digest)
    cropped, kept = (square(a, geometry, photo.digest) for a in (photo.pixels, mask.astype(np.uint8)))
    assert (before == np.where(kept[..., None], cropped, 0)).all()


def test_where_the_square_is():
    pixels = np.arange(64, dtype=np.uint8).repeat(32).reshape(64, 32).repeat(1, axis=0)
    middle = square(pixels, Geometry(resolution=32, center_crop=True), "a")
    assert middle[0, 0] == 16
    tops = {int(square(pixels, Geometry(resolution=32, seed=seed), "a")[0, 0]) for seed in range(40)}
    assert min(tops) < 5
    assert max(tops) > 27
    one = square(pixels, Geometry(resolution=32, seed=1), "a")
    assert (one == square(pixels, Geometry(resolution=32, seed=1), "a")).all()
    places = {int(square(pixels, Geometry(resolution=32, seed=1), key)[0, 0]) for key in "abcdefgh"}
    assert len(places) > 3


def test_latent_mask_by_area_and_strict():
    mask = torch.zeros(1, 16, 16)
    mask[:, :8, :8] = 1
    mask[:, 8:, :4] = 1
    assert latent_mask(mask, 8).tolist() == [[[1.0, 0.0], [0.5, 0.0]]]
    assert latent_mask(mask, 8, "strict").tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
    mask[0, 0, 0] = 0.9
    assert latent_mask(mask, 8, "strict").sum() == 0


def test_encoded_is_what_the_vae_and_the_text_encoder_say(models):
    photos, masks = draw_album(2)
    geometry = Geometry(resolution=RESOLUTION, center_crop=True)
    encoded = encode(models, photos, masks, prompt=PROMPT, geometry=geometry)
    pixels = torch.from_numpy(square(photos[1].pixels, geometry, photos[1].digest).copy())
    pixel_values = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        posterior = models.vae.encode(pixel_values).latent_dist
        ids = models.tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids
        prompt_embeds = models.text_encoder(ids).last_hidden_state
    expected = torch.cat([posterior.mean, posterior.std], 1)[0] * models.vae.config.scaling_factor
    torch.testing.assert_close(encoded.moments[1], expected)
    torch.testing.assert_close(encoded.prompt_embeds, prompt_embeds.expand(2, -1, -1))
    assert encoded.names == ("00.png", "01.png")
    assert encoded.loss_mask.shape == (2, 1, 4, 4)
    # A photo's latents do not depend on its neighbours.
    alone = encode(models, photos[1:], masks, prompt=PROMPT, geometry=geometry)
    assert torch.equal(alone.moments[0], encoded.moments[1])


def test_flipped_copies(models):
    encoded = encode_album(models, 2, random_flip=True)
    assert encoded.num_photos == 2
    assert encoded.with_flips
    assert torch.equal(encoded.loss_mask[2:], encoded.loss_mask[:2].flip(-1))
    assert encoded.moments.shape == (4, 8, 4, 4)
    assert not torch.equal(encoded.moments[2:], encoded.moments[:2])
    assert not encode_album(models, 2).with_flips


def test_no_masks_is_plain_dreambooth(models):
    assert (encode_album(models, with_masks=False).loss_mask == 1).all()


def test_the_digest_follows_every_input(models):
    photos, masks = draw_album(2)
    geometry = Geometry(resolution=RESOLUTION)

    def digest(photos=photos, masks=masks, prompt=PROMPT, geometry=geometry, mask_mode="area"):
        return encode(models, photos, masks, prompt=prompt, geometry=geometry, mask_mode=mask_mode).digest

    other_masks = {**masks, "01": ~masks["01"]}
    whole = {stem: np.ones_like(mask) for stem, mask in masks.items()}
    digests = [
        digest(),
        digest(photos=photos[:1]),
        digest(masks=None),
        digest(masks=other_masks),
        digest(prompt="a photo of sks dog"),
        digest(geometry=Geometry(resolution=RESOLUTION, seed=1)),
        digest(masks=whole),
        digest(masks=whole, mask_mode="strict"),
    ]
    assert len(set(digests)) == len(digests)
    assert digest() == digests[0]


@pytest.mark.parametrize(
    ("resolution", "advice"), [(30, "Use 24 or 32"), (4, "Use 8"), (0, "Use 8"), (509, "Use 504 or 512")]
)
def test_a_resolution_that_the_vae_cannot_take(models, resolution, advice):
    with pytest.raises(UserError, match=rf"--resolution {resolution}: not a multiple of 8.*{advice}\."):
        check_resolution(models, resolution)


def test_any_multiple_of_the_vae_factor_suits_the_unet(models):
    for cells in (1, 3, 5, 7):
        check_resolution(models, 8 * cells)
        latents = torch.zeros(1, 4, cells, cells)
        with torch.no_grad():
            assert models.unet(latents, 1, torch.zeros(1, 16, 16)).sample.shape == latents.shape


def test_bad_input_has_its_line(models):
    photos, masks = draw_album(2)
    geometry = Geometry(resolution=RESOLUTION)

    def encode_with(masks, prompt=PROMPT, **options):
        return encode(models, photos, masks, **{"prompt": prompt, "geometry": geometry, **options})

    with pytest.raises(
        UserError, match=r"--class_prompt 'a .*: 22 tokens with start and end; at most 16 fit"
    ):
        encode_with(masks, prompt="a " * 20, prompt_flag="--class_prompt")
    with pytest.raises(UserError, match=r"01\.png: has no mask"):
        encode_with({"00": masks["00"]})
    with pytest.raises(UserError, match=r"01\.png: its mask is 5 x 4 pixels and the photo 48 x 40"):
        encode_with({**masks, "01": np.ones((4, 5), dtype=bool)})
    speck = np.zeros_like(masks["01"])
    with pytest.raises(UserError, match=r"01\.png: nothing of the subject is left .*0 pixels in the mask"):
        encode_with({**masks, "01": speck})
    speck[20, 24] = True
    with pytest.raises(UserError, match=r"01\.png: nothing .*no latent cell by --mask_mode strict"):
        encode_with({"00": np.ones_like(speck), "01": speck}, mask_mode="strict")
    assert encode_with({**masks, "01": speck}).loss_mask[1].sum() > 0


def test_a_crop_that_misses_the_subject_is_an_error(models):
    photo, mask = draw_photo(0, (32, 320))
    mask[:] = False
    mask[:, :3] = True
    with pytest.raises(UserError, match=r"0 in the 32 px square.*--center_crop"):
        encode(
            models,
            [photo],
            {"00": mask},
            prompt=PROMPT,
            geometry=Geometry(resolution=32, center_crop=True),
        )
