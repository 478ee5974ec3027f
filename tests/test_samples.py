"""The sample photos in instance_images/ are what the toy world draws, and their first mask is the truth."""

from collections import Counter

import numpy as np
import pytest

from persam_dreambooth.photos import mask_beside, read_mask, read_photos, sample_images
from persam_dreambooth.toyworld.samples import PHOTO_SIZE, SAMPLES, photos_of
from persam_dreambooth.toyworld.training.data import HELD_OUT_IDENTITIES

EVERY_SAMPLE = pytest.mark.parametrize("name", SAMPLES)


@EVERY_SAMPLE
def test_the_files_are_fresh_renderings(name):
    scenes, photos = photos_of(SAMPLES[name]), read_photos(sample_images(name))
    assert [photo.path.name for photo in photos] == [f"{number:02d}.png" for number in range(5)]
    for scene, photo in zip(scenes, photos, strict=True):
        assert photo.size == (PHOTO_SIZE, PHOTO_SIZE)
        # Two levels: libraries may round differently on another machine.
        assert np.abs(photo.pixels.astype(int) - scene.image).max() <= 2
    given = [photo for photo in photos if mask_beside(photo.path).exists()]
    assert given == photos[:1]
    np.testing.assert_array_equal(read_mask(mask_beside(photos[0].path), photos[0].size), scenes[0].mask)


@EVERY_SAMPLE
def test_most_photos_show_one_place(name):
    sample = SAMPLES[name]
    (first, count), *_ = Counter(place for place, _ in sample.photos).most_common()
    assert (count, len(sample.photos)) == (4, 5)
    assert sample.backgrounds[0] == first
    assert set(sample.backgrounds) == {place for place, _ in sample.photos}
    assert len({seed for _, seed in sample.photos}) == 5


def test_no_model_was_trained_on_the_samples():
    assert all(sample.identity >= HELD_OUT_IDENTITIES for sample in SAMPLES.values())
    assert all(name == sample.subject for name, sample in SAMPLES.items())
