"""Examples are a pure function of seed, step and number; random numbers of their key."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from tiny_albums import draw_photo, encode_album, encode_photos, prepared
from tiny_pipelines import tiny_models

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.backgrounds import Background
from persam_dreambooth.diffusion.dataset import Examples, batch_at, photo_of
from persam_dreambooth.diffusion.encode import class_preparation

TENSORS = ("latents", "loss_mask", "subject_share", "noise", "timesteps")
BUCKETS = ((32, 32), (32, 48), (48, 32))


@pytest.fixture(scope="module")
def models():
    return tiny_models("sdxl")


@pytest.fixture(scope="module")
def examples(models):
    return Examples(
        encode_album(models, 3, random_flip=True), encode_album(models, 5, with_masks=False), seed=7
    )


@pytest.fixture(scope="module")
def bucketed(models):
    """Five photos of three shapes, and class pictures in every size."""
    shapes = [(40, 40), (40, 60), (60, 40), (40, 62), (40, 44)]
    drawn = [draw_photo(number, shape) for number, shape in enumerate(shapes)]
    photos, masks = [photo for photo, _ in drawn], {photo.stem: mask for photo, mask in drawn}
    preparation = prepared({"buckets": BUCKETS, "random_flip": True})
    of_class = [draw_photo(number + 10, (32, 32))[0] for number in range(2)]
    return Examples(
        encode_photos(models, photos, masks, preparation),
        encode_photos(models, of_class, None, class_preparation(preparation)),
        seed=3,
    )


def batch(examples, step=0, first=0, count=4, per_step=4, **options):
    return batch_at(
        examples,
        step,
        range(first, first + count),
        examples_per_step=per_step,
        num_train_timesteps=1000,
        **options,
    )


def tensors(batch, rows=slice(None)):
    told = batch.conditions
    values = [getattr(batch, name) for name in TENSORS] + [*batch.input_ids]
    values += [told.prompt_embeds, told.pooled_prompt_embeds, told.time_ids]
    return [value[rows] for value in values]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_depends_on_nothing_but_its_key(examples):
    first = batch(examples, 3)
    batch(examples, 4)
    torch.randn(5)
    assert same(tensors(first), tensors(batch(examples, 3)))
    assert not torch.equal(first.noise, batch(examples, 4).noise)
    other = Examples(examples.instance, examples.class_images, seed=8)
    assert not torch.equal(first.noise, batch(other, 3).noise)


def test_who_computes_an_example_changes_nothing(examples):
    whole = batch(examples, 2)
    for index in range(4):
        part = batch(examples, 2, index, 1)
        assert same(tensors(part), tensors(whole, [index, 4 + index]))
        assert part.names == (whole.names[index], whole.names[4 + index])


def test_class_pictures_do_not_change_the_subjects_examples(examples):
    alone = batch(Examples(examples.instance, None, seed=7))
    both = batch(examples)
    assert alone.num_instance == both.num_instance == 4
    assert len(alone.latents) == len(alone.conditions) == 4
    assert len(both.latents) == len(both.conditions) == 8
    assert same(tensors(alone), tensors(both, slice(4)))
    assert (both.loss_mask[4:] == 1).all()
    assert (both.subject_share[4:] == 1).all()


def test_no_two_draws_are_one(examples):
    noise = torch.cat([batch(examples, step).noise for step in range(3)])
    assert len({tuple(row.flatten().tolist()) for row in noise}) == len(noise)
    assert len(set(batch(examples, 0, count=100, per_step=100).timesteps.tolist())) > 60


def test_every_photo_once_a_pass_each_pass_in_its_own_order():
    passes = [tuple(photo_of(5, 5 * number + place, 0) for place in range(5)) for number in range(20)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in passes)
    assert len(set(passes)) > 10


def test_latents_are_drawn_anew_from_the_photos_mean_and_deviation(examples):
    photo = Examples(examples.instance, None, seed=0)
    rows = [batch(photo, step, 0, 1, 1) for step in range(300)]
    plain = [
        row.latents[0]
        for row in rows
        if row.names[0] == "00.png" and torch.equal(row.loss_mask[0], examples.instance.loss_mask[0])
    ]
    drawn = torch.stack(plain)
    mean, std = examples.instance.moments[0].chunk(2)
    assert 30 < len(drawn) < 70
    torch.testing.assert_close(drawn.mean(0), mean, atol=5 * std.max().item() / len(drawn) ** 0.5, rtol=0)
    torch.testing.assert_close(drawn.std(0).mean(), std.mean(), atol=0, rtol=0.1)


def test_flips_take_mask_latents_and_sizes_together(examples):
    mean = examples.instance.moments[:, :4]
    exact = replace(examples.instance, moments=torch.cat([mean, torch.zeros_like(mean)], dim=1))
    rows = []
    for step in range(12):
        example = batch(Examples(exact, None, seed=7), step, 0, 1, 1)
        rows.append(next(row for row in range(6) if torch.equal(mean[row], example.latents[0])))
        assert torch.equal(exact.loss_mask[rows[-1]], example.loss_mask[0])
        assert torch.equal(exact.conditions.time_ids[rows[-1]], example.conditions.time_ids[0])
        assert exact.names[rows[-1] % 3] == example.names[0]
    assert min(rows) < 3 <= max(rows)


def test_offset_noise_shifts_whole_channels(examples):
    plain, shifted = batch(examples), batch(examples, noise_offset=0.1)
    shift = shifted.noise - plain.noise
    torch.testing.assert_close(shift, shift[..., :1, :1].expand_as(shift), atol=1e-6, rtol=0)
    many = torch.cat([batch(examples, step, noise_offset=0.1).noise for step in range(30)])
    bare = torch.cat([batch(examples, step).noise for step in range(30)])
    assert 0.09 < (many - bare)[..., 0, 0].std() < 0.11
    assert same(tensors(plain)[:1], tensors(shifted)[:1])


def test_prompts_are_dropped_as_often_as_asked(examples):
    whole = batch(examples, caption_dropout=1.0)
    nothing = examples.instance.no_prompt
    assert torch.equal(whole.conditions.prompt_embeds[:4], nothing.conditions.prompt_embeds.expand(4, -1, -1))
    assert torch.equal(whole.input_ids[1][:4], nothing.input_ids[1].expand(4, -1))
    # Class pictures keep theirs, and a photo without its prompt keeps its sizes.
    plain = batch(examples)
    assert same(tensors(whole, slice(4, 8)), tensors(plain, slice(4, 8)))
    assert torch.equal(whole.conditions.time_ids, plain.conditions.time_ids)
    some = batch(examples, caption_dropout=0.3, count=200, per_step=200)
    dropped = [torch.equal(ids, nothing.input_ids[0][0]) for ids in some.input_ids[0][:200]]
    assert 40 < sum(dropped) < 80
    assert torch.equal(some.noise, batch(examples, count=200, per_step=200).noise)


def test_backgrounds_that_are_new_each_step(models):
    photo, mask = draw_photo(0)
    each = encode_photos(models, [photo], {"00": mask}, prepared(background=Background(mode="random")))
    one, again, other = (batch(Examples(each, None, 0), step, 0, 1, 1).latents for step in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_batch_has_one_size(bucketed):
    sizes = [tuple(batch(bucketed, step, 0, 2, 2).latents.shape[2:]) for step in range(40)]
    assert set(sizes) == {(4, 4), (4, 6), (6, 4)}
    for step in range(4):
        example = batch(bucketed, step, 0, 2, 2)
        assert example.loss_mask.shape == (4, 1, *example.latents.shape[2:])
        pixels = torch.tensor(example.latents.shape[2:]) * 8.0
        assert torch.equal(example.conditions.time_ids[:, 4:], pixels.expand(4, 2))
        assert (example.loss_mask[2:] == 1).all()
        assert same(tensors(example), tensors(batch(bucketed, step, 0, 2, 2)))


def test_every_photo_of_every_size_comes_in_a_pass(bucketed):
    # Batches of two: the squares 0 and 4, the wide 1 and 3, the tall 2 twice.
    for passes in range(5):
        names = Counter()
        for step in range(3 * passes, 3 * passes + 3):
            names.update(batch(bucketed, step, 0, 2, 2).names[:2])
        assert names == {"00.png": 1, "04.png": 1, "01.png": 1, "03.png": 1, "02.png": 2}


def test_stable_numbers_do_not_change_between_machines_and_versions():
    assert randomness.stable_number(0, "instance", 3, 1, "noise") == 8529097859099743207
    assert randomness.stable_number(1, 23) != randomness.stable_number(12, 3)
    assert randomness.stable_number("1") != randomness.stable_number(1)
    assert all(0 <= randomness.stable_number(number) < 2**63 for number in range(100))


def test_the_same_key_gives_the_same_stream():
    one, other = (torch.randn(4, generator=randomness.generator(5, "noise")) for _ in range(2))
    assert torch.equal(one, other)


def test_seeded_blocks_leave_the_global_stream_alone():
    torch.manual_seed(0)
    with randomness.seeded(1, "lora"):
        inside = torch.randn(3)
    after = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.randn(3))
    with randomness.seeded(1, "lora"):
        assert torch.equal(inside, torch.randn(3))
