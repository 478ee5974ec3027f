"""What was encoded is not encoded again, and nothing stale is ever read."""

import pytest
import torch
from tiny_albums import PROMPT, draw_album, encode_photos, photo_of, prepared
from tiny_pipelines import tiny_models

from persam_dreambooth.diffusion.backgrounds import Background


@pytest.fixture(scope="module")
def models():
    return tiny_models("sdxl")


@pytest.fixture
def album():
    return draw_album(2)


class Counter:
    """Counts calls of the VAE and the text encoders, which go through as always."""

    def __init__(self, models):
        self.vae = self.text = 0
        self.handles = [models.vae.encoder.register_forward_pre_hook(self.count_vae)]
        self.handles += [e.register_forward_pre_hook(self.count_text) for e in models.text_encoders]

    def count_vae(self, *_):
        self.vae += 1

    def count_text(self, *_):
        self.text += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def encoded_twice(models, first, second):
    """Two encodings with one cache, and what the second one computed."""
    one = encode_photos(models, **first)
    with Counter(models) as counter:
        other = encode_photos(models, **second)
    return one, other, counter


def test_a_second_start_encodes_nothing(models, album, tmp_path):
    photos, masks = album
    same = {
        "photos": photos,
        "masks": masks,
        "preparation": prepared({"random_flip": True}),
        "cache_dir": tmp_path,
    }
    one, other, counter = encoded_twice(models, same, same)
    assert (counter.vae, counter.text) == (0, 0)
    assert one.num_cached == 0
    assert other.num_cached == 4
    assert torch.equal(one.moments, other.moments)
    assert torch.equal(one.loss_mask, other.loss_mask)
    for name in ("prompt_embeds", "pooled_prompt_embeds", "time_ids"):
        assert torch.equal(getattr(one.conditions, name), getattr(other.conditions, name))
    assert one.digest == other.digest
    plain = encode_photos(models, photos, masks, prepared({"random_flip": True}))
    assert torch.equal(plain.moments, other.moments)


def changed(name, photos, masks, preparation):
    """What is encoded, with one thing changed about the second photo, or about all."""
    if name == "photo":
        pixels = photos[1].pixels.copy()
        pixels[0, 0] ^= 1
        photos = [photos[0], photo_of(pixels, photos[1].path.name)]
    elif name == "mask":
        masks = {**masks, "01": ~masks["01"]}
    elif name == "size":
        preparation = prepared({"resolution": 24})
    elif name == "filter":
        preparation = prepared({"interpolation": "box"})
    elif name == "background":
        preparation = prepared(background=Background(mode="fill"))
    return {"photos": photos, "masks": masks, "preparation": preparation}


@pytest.mark.parametrize(
    ("name", "calls"), [("photo", 1), ("mask", 1), ("size", 2), ("filter", 2), ("background", 2)]
)
def test_what_changed_is_encoded_anew(models, album, tmp_path, name, calls):
    photos, masks = album
    first = {"photos": photos, "masks": masks, "preparation": prepared()}
    second = changed(name, photos, masks, prepared())
    _, other, counter = encoded_twice(
        models, {**first, "cache_dir": tmp_path}, {**second, "cache_dir": tmp_path}
    )
    assert (counter.vae, counter.text) == (calls, 0)
    assert torch.equal(other.moments, encode_photos(models, **second).moments)


def test_another_prompt_is_encoded_anew(models, album, tmp_path):
    same = {"photos": album[0], "masks": album[1], "cache_dir": tmp_path}
    _, other, counter = encoded_twice(models, same, {**same, "prompts": ["a dog", PROMPT]})
    assert (counter.vae, counter.text) == (0, 2)
    plain = encode_photos(models, *album, prompts=["a dog", PROMPT])
    assert torch.equal(other.conditions.prompt_embeds, plain.conditions.prompt_embeds)


def test_other_weights_are_another_model(album, tmp_path):
    models = tiny_models()
    same = {"photos": album[0], "masks": album[1], "cache_dir": tmp_path}
    encode_photos(models, **same)
    with torch.no_grad():
        models.vae.encoder.conv_in.bias += 1
        models.text_encoders[0].final_layer_norm.bias += 1
    with Counter(models) as counter:
        encode_photos(models, **same)
    assert (counter.vae, counter.text) == (2, 2)


def test_a_damaged_entry_is_made_again(models, album, tmp_path):
    same = {"photos": album[0], "masks": album[1], "cache_dir": tmp_path}
    one = encode_photos(models, **same)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-8])
    other = encode_photos(models, **same)
    assert other.num_cached == 0
    assert torch.equal(one.moments, other.moments)
    assert encode_photos(models, **same).num_cached == 2


def test_without_a_folder_nothing_is_kept(models, album):
    assert encode_photos(models, *album).num_cached == 0
    assert encode_photos(models, *album).num_cached == 0


def test_backgrounds_that_change_every_step_are_not_kept(models, album, tmp_path):
    random = prepared(background=Background(mode="random"))
    same = {"photos": album[0], "masks": album[1], "preparation": random, "cache_dir": tmp_path}
    _, other, _ = encoded_twice(models, same, same)
    assert other.num_cached == 0
    # The prompt and the empty one.
    assert len(list(tmp_path.iterdir())) == 2
