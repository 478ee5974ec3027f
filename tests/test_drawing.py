"""Pictures of a comparison: one noise for all, drawn once, and only what follows from the same counts."""

import json
import re

import numpy as np
import pytest
import torch
from comparison_cases import moved, write_album, write_places
from tiny_pipelines import tiny_models

from persam_dreambooth.diffusion.generate import initial_noise
from persam_dreambooth.diffusion.models import build_pipeline
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.album import read_album
from persam_dreambooth.leakage.decoys import (
    photos_through_vae,
    place_decoys,
    read_decoys,
    resized_mask,
    round_trip,
    through_vae,
    toy_decoys,
)
from persam_dreambooth.leakage.drawing import (
    Sampler,
    as_pictures,
    draw_missing,
    noise_of,
    read_key,
    requests_of,
    write_noise,
)
from persam_dreambooth.leakage.prompts import build_prompts
from persam_dreambooth.leakage.scenes import Scene
from persam_dreambooth.photos import array_digest

SCENES = [Scene("on the beach", "the beach"), Scene("in snow", "snow")]
PROMPTS = build_prompts(SCENES, token="sks", class_noun="cat")
FAST = Sampler(num_inference_steps=2, guidance_scale=1.0)


def never():
    raise AssertionError("loaded a model for pictures that are there")


def draw(folder, requests, digest="weights", load=tiny_models, sampler=FAST):
    return draw_missing(
        requests, folder, digest=digest, load=load, sampler=sampler, device="cpu", name="test"
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    requests = requests_of(PROMPTS, (0, 1), (0,), is_base=False)
    return folder, requests, draw(folder, requests)


def test_an_arm_has_every_prompt_with_its_seeds(drawn):
    folder, requests, paths = drawn
    assert [(one.prompt.id, one.seed) for one in requests[:4]] == [
        ("r00", 0),
        ("r00", 1),
        ("r01", 0),
        ("r01", 1),
    ]
    assert len(requests) == 2 * 2 + 3 * 2
    assert len(set(paths)) == len(requests) == len(list(folder.iterdir()))
    assert re.fullmatch(r"r00_0-[0-9a-f]{8}\.png", paths[0].name)


def test_pictures_that_are_there_are_not_drawn_again(drawn):
    folder, requests, paths = drawn
    times = [path.stat().st_mtime_ns for path in paths]
    assert draw(folder, requests, load=never) == paths
    assert draw(folder, requests[:3], load=never) == paths[:3]
    # How many are drawn at a time does not decide what is drawn.
    assert draw(folder, requests, load=never, sampler=Sampler(2, 1.0, batch_size=1)) == paths
    assert [path.stat().st_mtime_ns for path in paths] == times


def test_pictures_that_follow_from_something_else_do_not_count(drawn):
    folder, requests, paths = drawn
    for change in ({"digest": "retrained"}, {"sampler": Sampler(3, 1.0)}, {"sampler": Sampler(2, 2.0)}):
        with pytest.raises(AssertionError, match="loaded a model"):
            draw(folder, requests, load=never, **change)
    assert all(path.is_file() for path in paths)


def test_only_what_is_missing_or_damaged_is_drawn(drawn, tmp_path):
    _, requests, _ = drawn
    paths = draw(tmp_path, requests[:3])
    pixels = [one.pixels for one in as_pictures(requests[:3], paths)]
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[: len(whole) // 2])
    paths[1].unlink()
    untouched = paths[2].stat().st_mtime_ns
    assert draw(tmp_path, requests[:3]) == paths
    again = [one.pixels for one in as_pictures(requests[:3], paths)]
    for before, after in zip(pixels, again, strict=True):
        assert np.abs(before.astype(int) - after.astype(int)).max() <= 1
    assert paths[2].stat().st_mtime_ns == untouched
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_equal_words_are_drawn_once(tmp_path):
    requests = requests_of(PROMPTS[2:], (0,), (0,), is_base=True)
    texts = [request.asked for request in requests]
    assert len(set(texts)) < len(texts)
    paths = draw(tmp_path, requests)
    assert len(set(paths)) == len(set(texts))
    assert paths[texts.index(texts[2])] == paths[2]


def test_all_models_start_from_the_same_noise(tmp_path):
    pipeline = build_pipeline(tiny_models())
    for seed in (0, 7):
        theirs = initial_noise(pipeline, [torch.Generator().manual_seed(seed)])
        assert torch.equal(noise_of((4, 4, 4), seed), theirs)
    digests = write_noise((4, 4, 4), (0, 7), tmp_path / "noise.npz")
    with np.load(tmp_path / "noise.npz") as stored:
        assert {seed: array_digest(stored[seed]) for seed in stored.files} == digests
        assert not np.array_equal(stored["0"], stored["7"])


def test_a_tuned_model_draws_something_similar_from_the_same_noise(drawn, tmp_path):
    _, requests, paths = drawn
    changed = tiny_models()
    moved(changed.unet, 0.02)
    near = as_pictures(requests[:2], draw(tmp_path, requests[:2], digest="tuned", load=lambda: changed))
    first, second = as_pictures(requests[:2], paths[:2])

    def distance(one, other):
        return np.abs(one.pixels.astype(float) - other.pixels).mean()

    assert 0 < distance(near[0], first) < 0.5 * distance(first, second)


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_drawn(tmp_path):
    prompts = build_prompts([Scene("on " + "the beach " * 20, "")], token="sks", class_noun="cat")
    with pytest.raises(UserError, match=r"^prompt 'a photo of sks cat on .*tokens with start and end"):
        draw(tmp_path / "out", requests_of(prompts, (0,), (0,), is_base=False))
    assert not (tmp_path / "out").exists()


def test_pictures_know_what_was_asked(drawn):
    _, requests, paths = drawn
    pictures = as_pictures(requests, paths, step=5)
    assert {one.family for one in pictures} == {"recontext", "bare", "class", "none"}
    assert {one.step for one in pictures} == {5}
    assert [one.path for one in pictures] == paths
    assert pictures[0].key == ("a photo of sks cat on the beach", 0)
    assert read_key(paths[0].with_name("nothing.png")) is None


def test_decoys_of_one_kind_of_place_stand_together():
    requests = place_decoys()
    assert len({request.asked for request in requests}) == 57
    banks = np.array_split(np.arange(57), 19)
    assert all(len(bank) == 3 for bank in banks)
    assert len(place_decoys(is_quick=True)) == 19
    toy = toy_decoys()
    assert len(toy) == 48
    assert [request.asked for request in toy[:4]] == ["a photo of a beach"] * 4


def test_too_few_decoys(tmp_path):
    folder = write_places(tmp_path / "decoys", count=3)
    assert [photo.path.name for photo in read_decoys(folder, 3)] == ["00.png", "01.png", "02.png"]
    with pytest.raises(UserError, match=rf"^--decoys {folder}: 3 pictures; 19 banks need at least one each"):
        read_decoys(folder, 19)


def test_photos_take_the_way_through_the_vae_once(tmp_path):
    write_album(tmp_path)
    album = read_album(tmp_path / "photos", tmp_path / "masks")

    def through(load):
        return through_vae(
            album.photos,
            album.masks,
            tmp_path / "kept",
            digest="x",
            side=32,
            load=load,
            device="cpu",
        )

    first, again = through(tiny_models), through(never)
    for (pixels, mask), (same, _), photo in zip(first, again, album.photos, strict=True):
        assert pixels.shape == (32, 40, 3)
        assert mask.shape == (32, 40)
        assert np.array_equal(pixels, same)
        assert np.array_equal(pixels, round_trip(tiny_models(), photo.pixels, 32))
        assert mask.mean() == pytest.approx(album.masks[photo.stem].mask.mean(), abs=0.02)


def test_decoys_of_a_folder_take_it_too(tmp_path):
    found = read_decoys(write_places(tmp_path / "decoys", count=3), 3)
    seen = photos_through_vae(found, tmp_path / "kept", digest="x", side=32, load=tiny_models, device="cpu")
    for before, after in zip(found, seen, strict=True):
        assert np.array_equal(after.pixels, round_trip(tiny_models(), before.pixels, 32))
        assert not np.array_equal(after.pixels, before.pixels)


def test_a_mask_at_half_the_size_is_subject_where_half_of_it_is():
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = mask[2, 2] = mask[0, 2] = mask[0, 3] = True
    assert resized_mask(mask, (2, 2)).tolist() == [[True, True], [False, False]]
    assert resized_mask(mask, (4, 4)) is mask


def test_a_subject_thinner_than_a_drawn_pixel_does_not_vanish():
    """An empty mask could not be cut out: the comparison would stop after hours of drawing."""
    mask = np.zeros((64, 64), bool)
    mask[10:12, 33] = True
    small = resized_mask(mask, (8, 8))
    assert small.sum() == 1
    assert small[1, 4]


def test_records_of_pictures_are_plain(drawn):
    assert json.loads(json.dumps(FAST.record())) == {"num_inference_steps": 2, "guidance_scale": 1.0}
