"""Examples are a pure function of seed, step and number; random numbers of their key."""

from dataclasses import replace

import pytest
import torch
from tiny_pipelines import encode_album, tiny_models

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.dataset import Examples, batch_at, photo_of

TENSORS = ("latents", "loss_mask", "prompt_embeds", "noise", "timesteps")


@pytest.fixture(scope="module")
def examples():
    models = tiny_models()
    return Examples(
        encode_album(models, 3, random_flip=True), encode_album(models, 5, with_masks=False), seed=7
    )


def batch(examples, step=0, first=0, count=4, per_step=4):
    return batch_at(
        examples, step, range(first, first + count), examples_per_step=per_step, num_train_timesteps=1000
    )


def same(one, other):
    return [torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS]


def test_a_batch_depends_on_nothing_but_its_key(examples):
    first = batch(examples, 3)
    batch(examples, 4)
    torch.randn(5)
    assert all(same(first, batch(examples, 3)))
    assert not torch.equal(first.noise, batch(examples, 4).noise)
    other = Examples(examples.instance, examples.class_images, seed=8)
    assert not torch.equal(first.noise, batch(other, 3).noise)


def test_who_computes_an_example_changes_nothing(examples):
    whole = batch(examples, 2)
    for index in range(4):
        part = batch(examples, 2, index, 1)
        assert torch.equal(part.latents[0], whole.latents[index])
        assert torch.equal(part.noise[1], whole.noise[4 + index])
        assert part.timesteps[0] == whole.timesteps[index]
        assert part.names == (whole.names[index], whole.names[4 + index])


def test_class_pictures_do_not_change_the_subjects_examples(examples):
    alone = batch(Examples(examples.instance, None, seed=7))
    both = batch(examples)
    assert alone.num_instance == both.num_instance == 4
    assert len(alone.latents) == 4
    assert len(both.latents) == 8
    for name in TENSORS:
        assert torch.equal(getattr(alone, name), getattr(both, name)[:4])
    assert (both.loss_mask[4:] == 1).all()


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


def test_flips_take_mask_and_latents_together(examples):
    mean = examples.instance.moments[:, :4]
    exact = replace(examples.instance, moments=torch.cat([mean, torch.zeros_like(mean)], dim=1))
    rows = []
    for step in range(12):
        example = batch(Examples(exact, None, seed=7), step, 0, 1, 1)
        rows.append(next(row for row in range(6) if torch.equal(mean[row], example.latents[0])))
        assert torch.equal(exact.loss_mask[rows[-1]], example.loss_mask[0])
        assert exact.names[rows[-1] % 3] == example.names[0]
    assert min(rows) < 3 <= max(rows)


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
