"""The identifier's attention on the mask: by hand, as a formula, in the step, and which tokens it is."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_pipelines import build_tokenizer
from tiny_steps import SIDE, WORD, ddpm, random_batch, tiny_networks

from persam_dreambooth.diffusion.attention_capture import (
    CapturedAttention,
    captured_attention,
    token_attention,
)
from persam_dreambooth.diffusion.attention_loss import (
    attention_mse,
    check_identifier,
    identifier_ids,
    token_positions,
)
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.networks import predict
from persam_dreambooth.diffusion.step import diffusion_loss
from persam_dreambooth.errors import UserError

LOOK = Objective(attention_mask_weight=0.01, identifier_ids=((WORD,),))
FAMILIES = pytest.mark.parametrize("family", [SD, SDXL], ids=lambda family: family.name)


def test_worked_by_hand():
    # One head of one number. Two places ask 0 and ln 3 of keys 1 and 0: the first shares its attention
    # equally, the second pays 3/4 of it to the first token.
    captured = CapturedAttention(latent_size=(1, 2))
    query, key = torch.tensor([[[0.0], [math.log(3)]]]), torch.tensor([[[1.0], [0.0]]])
    captured.keep(1, query, key)
    first = torch.tensor([[True, False]])
    attention = token_attention(captured, first)
    torch.testing.assert_close(attention, torch.tensor([[[1 / 2, 3 / 4]]]))
    # A second layer that looks at both tokens alike pulls the mean to 1/2 and 5/8.
    captured.keep(1, 0 * query, key)
    attention = token_attention(captured, first)
    torch.testing.assert_close(attention, torch.tensor([[[1 / 2, 5 / 8]]]))
    # Beside its peak: 4/5 and 1. The mask wants 0 and 1.
    share = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    assert attention_mse(attention, share, first).item() == pytest.approx((0.8**2 + 0) / 2)
    # A word of two tokens gets the attention of both: all of it, everywhere.
    both = torch.tensor([[True, True]])
    torch.testing.assert_close(token_attention(captured, both), torch.ones(1, 1, 2))


def test_the_mask_is_averaged_over_each_place_of_attention():
    share = torch.zeros(1, 1, 4, 4)
    share[:, :, :, 2:] = 1
    share[:, :, 0, 0] = 1
    attention = torch.tensor([[[0.25, 1.0], [0.0, 1.0]]])
    assert attention_mse(attention, share, torch.tensor([[True]])).item() == 0


def test_the_gradient_is_the_formulas():
    torch.manual_seed(1)
    attention = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    share, positions = torch.rand(2, 1, 6, 8, dtype=torch.float64), torch.ones(2, 5, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda a: attention_mse(a, share, positions), attention)


def test_examples_that_do_not_say_where_to_look_add_nothing():
    attention, share = torch.rand(3, 4, 4).requires_grad_(), torch.rand(3, 1, 8, 8)
    positions = torch.tensor([[True], [False], [True]])
    share[2] = 1
    loss = attention_mse(attention, share, positions)
    loss.backward()
    torch.testing.assert_close(loss, attention_mse(attention[:1], share[:1], positions[:1]) / 3)
    assert (attention.grad[1:] == 0).all()
    assert (attention.grad[0] != 0).any()


def test_attention_that_rounds_to_nothing_is_no_trouble():
    captured = CapturedAttention(latent_size=(1, 2))
    query = torch.full((1, 2, 1), 1e3).requires_grad_()
    captured.keep(1, query, torch.tensor([[[-1.0], [1.0]]]))
    positions, share = torch.tensor([[True, False]]), torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    loss = attention_mse(token_attention(captured, positions), share, positions)
    loss.backward()
    assert loss.item() == 0.5
    assert torch.isfinite(query.grad).all()


@FAMILIES
def test_the_step_adds_it_by_its_weight(family):
    networks, batch = tiny_networks(family), random_batch(family, masked=True)
    losses = diffusion_loss(networks, ddpm(), batch, LOOK)
    positions = token_positions(batch.input_ids[0], LOOK.identifier_ids)
    with captured_attention(networks.unet, (SIDE, SIDE)) as captured:
        noisy = ddpm().add_noise(batch.latents, batch.noise, batch.timesteps)
        predict(networks, noisy, batch.timesteps, batch.conditions)
    expected = attention_mse(token_attention(captured, positions), batch.subject_share, positions)
    assert torch.equal(losses.attention, expected)
    torch.testing.assert_close(losses.total, losses.instance + 0.01 * losses.attention)
    plain = diffusion_loss(networks, ddpm(), batch, Objective())
    assert torch.equal(losses.instance, plain.instance)


def test_class_pictures_are_not_looked_at():
    networks, batch = tiny_networks(), random_batch(class_images=2, masked=True)
    prompt_embeds = batch.conditions.prompt_embeds.clone().requires_grad_()
    batch = replace(batch, conditions=replace(batch.conditions, prompt_embeds=prompt_embeds))
    losses = diffusion_loss(networks, ddpm(), batch, LOOK)
    (gradient,) = torch.autograd.grad(losses.attention, prompt_embeds)
    assert (gradient[2:] == 0).all()
    assert (gradient[:2] != 0).any()
    alone = diffusion_loss(networks, ddpm(), random_batch(class_images=2, masked=True), LOOK)
    assert torch.equal(losses.attention, alone.attention)


def test_training_on_it_draws_the_attention_onto_the_mask():
    networks, batch = tiny_networks(), random_batch(masked=True)
    optimizer = torch.optim.Adam(networks.unet.parameters(), lr=3e-3)
    values = []
    for _ in range(12):
        loss = diffusion_loss(networks, ddpm(), batch, LOOK).attention
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]


def test_identifiers_are_found_piece_by_piece():
    tokenizer = build_tokenizer()
    ids = identifier_ids(tokenizer, "sks xyz")
    assert [len(word) for word in ids] == [1, 3]
    prompts = ["a photo of sks cat", "a photo of xyz dog in xyz snow", "a dog", "xyz"]
    input_ids = tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
    found = token_positions(input_ids, ids)
    assert found.nonzero().tolist() == [
        [0, 4],
        *([1, place] for place in (4, 5, 6, 9, 10, 11)),
        *([3, place] for place in (1, 2, 3)),
    ]


def test_an_identifier_that_no_prompt_holds_is_an_error():
    tokenizer = build_tokenizer()
    ids = identifier_ids(tokenizer, "sks cat")
    prompts = ["a photo of sks cat", "a photo of sks dog"] * 2
    input_ids = tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
    with pytest.raises(UserError) as caught:
        check_identifier(input_ids, ids, "sks cat", ("00.png", "01.png"))
    assert str(caught.value) == (
        "--identifier cat: not in the prompt of 01.png; --attention_mask_weight needs it in every photo's. "
        "Put it into --instance_prompt or the captions, or name another."
    )
    check_identifier(input_ids, ids[:1], "sks", ("00.png", "01.png"))


def test_an_identifier_without_a_word_is_an_error():
    with pytest.raises(UserError) as caught:
        identifier_ids(build_tokenizer(), "  ")
    assert str(caught.value) == (
        "--identifier '  ': no word; --attention_mask_weight needs the one of --instance_prompt that names "
        "the subject. Give it, for example sks."
    )
