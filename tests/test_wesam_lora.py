"""Adapters on queries and values: what they change, what they leave, and how they end up in the weights."""

import pytest
import torch
from sam_families import RANDOM_MODELS
from sam_models import random_sam
from torch import nn
from transformers import SamConfig, SamModel
from wesam_cases import a_view, branches_of, stirred

from persam_dreambooth.errors import UserError
from persam_dreambooth.sam.adaptation.lora import (
    LoraLinear,
    add_lora,
    fold,
    follow,
    lora_mode,
    lora_targets,
    lora_weights,
    remove_lora,
    set_lora_weights,
    start_teacher,
    trained_parameters,
)

ADAPTABLE = ("sam", "sam_hq", "sam2", "sam3_tracker")


@pytest.mark.parametrize("name", ADAPTABLE)
def test_new_adapters_change_nothing(name):
    model = RANDOM_MODELS[name]()
    values = torch.randn(1, 3, *[model.config.prompt_encoder_config.image_size] * 2)
    with torch.no_grad():
        before = model.get_image_embeddings(values)
        adapters = add_lora(model, 4)
        after = model.get_image_embeddings(values)
    before, after = ([*one] if isinstance(one, tuple | list) else [one] for one in (before, after))
    assert torch.equal(
        torch.cat([part.flatten() for part in _flat(before)]),
        torch.cat([part.flatten() for part in _flat(after)]),
    )
    assert adapters


def _flat(parts):
    return [leaf for part in parts for leaf in (_flat(part) if isinstance(part, tuple | list) else [part])]


def test_queries_and_values_change_by_b_a_x_and_keys_do_not():
    layer = LoraLinear(nn.Linear(4, 9), {"q": slice(0, 3), "v": slice(6, 9)}, rank=2)
    for value in (layer.q_b, layer.v_b):
        value.data.normal_()
    x = torch.randn(5, 4)
    change = layer(x) - layer.base(x)
    torch.testing.assert_close(change[:, :3], x @ layer.q_a.T @ layer.q_b.T)
    torch.testing.assert_close(change[:, 6:], x @ layer.v_a.T @ layer.v_b.T)
    assert not change[:, 3:6].any()


@pytest.mark.parametrize("name", ADAPTABLE)
def test_folded_weights_compute_what_the_adapters_do(name):
    branches = stirred(branches_of(RANDOM_MODELS[name]()), 0.1)
    side = branches.model.config.prompt_encoder_config.image_size
    values = torch.randn(1, 3, side, side)
    with torch.no_grad():
        adapted = _flat([branches.model.get_image_embeddings(values)])[-1]
        with lora_mode(branches.adapters, "off"):
            source = _flat([branches.model.get_image_embeddings(values)])[-1]
        remove_lora(branches.model, branches.adapters)
        fold(branches.model, lora_weights(branches.adapters))
        folded = _flat([branches.model.get_image_embeddings(values)])[-1]
    assert (adapted - source).abs().max() > 1e-2
    assert (adapted - folded).abs().max() <= 1e-5 * max(1.0, float(adapted.abs().max()))


def test_a_kept_copy_brings_the_source_back_to_the_bit():
    model = random_sam()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    branches = stirred(branches_of(model))
    remove_lora(model, branches.adapters)
    fold(model, lora_weights(branches.adapters))
    assert not torch.equal(
        model.state_dict()["vision_encoder.layers.0.attn.qkv.weight"],
        kept["vision_encoder.layers.0.attn.qkv.weight"],
    )
    model.load_state_dict(kept)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_vit_b_trains_147456_numbers():
    with torch.device("meta"):
        model = SamModel(SamConfig())
    widths = [layer.in_features for layer, _ in lora_targets(model).values()]
    assert sum(4 * 4 * width for width in widths) == 147_456
    added = add_lora(random_sam(), 4)
    assert sum(value.numel() for value in trained_parameters(added)) == 2 * 4 * 4 * 32


def test_only_adapters_can_be_trained():
    model = random_sam()
    trained = {id(value) for value in trained_parameters(add_lora(model, 4))}
    assert {id(value) for value in model.parameters() if value.requires_grad} == trained


def test_the_first_gradient_reaches_b_alone():
    branches = branches_of()
    view = a_view(branches.model)
    branches.look(view.weak, view.prompts).mask_logits.square().mean().backward()
    for adapter in branches.adapters.values():
        assert not adapter.q_a.grad.any()
        assert not adapter.v_a.grad.any()
        assert adapter.q_b.grad.any()
        assert adapter.v_b.grad.any()


def test_the_seed_decides_the_start_and_nobody_elses_numbers_change():
    models = [random_sam() for _ in range(3)]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (
        lora_weights(add_lora(model, 4, seed)) for model, seed in zip(models, (0, 0, 1), strict=True)
    )
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(("momentum", "expected"), [(1.0, 2.0), (0.0, 4.0), (0.99, 2.02)])
def test_the_teacher_follows_by_the_formula(momentum, expected):
    branches = branches_of()
    frozen = branches.model.vision_encoder.layers[0].attn.qkv.base.weight.clone()
    for value in trained_parameters(branches.adapters):
        value.data.fill_(2.0)
    start_teacher(branches.adapters)
    for value in trained_parameters(branches.adapters):
        value.data.fill_(4.0)
    follow(branches.adapters, momentum)
    for value in lora_weights(branches.adapters, teacher=True).values():
        torch.testing.assert_close(value, torch.full_like(value, expected))
    assert all((value == 4.0).all() for value in lora_weights(branches.adapters).values())
    assert torch.equal(branches.model.vision_encoder.layers[0].attn.qkv.base.weight, frozen)


def test_a_shared_teacher_is_the_student():
    (adapter, *_) = branches_of().adapters.values()
    with lora_mode({"": adapter}, "teacher"):
        assert adapter.pair("q")[0] is adapter.q_a
    start_teacher({"": adapter})
    with lora_mode({"": adapter}, "teacher"):
        assert adapter.pair("q")[0] is adapter.q_a_mean


def test_weights_go_out_and_in_unchanged():
    first, second = stirred(branches_of()), branches_of()
    set_lora_weights(second.adapters, lora_weights(first.adapters))
    view = a_view(first.model)
    with torch.no_grad():
        looked = [one.look(view.weak, view.prompts).mask_logits for one in (first, second)]
    assert torch.equal(*looked)


def test_an_encoder_without_attention_is_refused():
    with pytest.raises(
        UserError, match=r"^--sam: the image encoder of EdgeTamModel has no attention .* Use Sam,"
    ):
        add_lora(RANDOM_MODELS["edgetam"](), 4)
