"""A step: which branch learns from which loss, what stays frozen, and that learning works at all."""

from contextlib import nullcontext

import pytest
import torch
from sam_families import RANDOM_MODELS
from sam_models import relative_difference
from wesam_cases import a_view, branches_of, gradients, stirred

from persam_dreambooth.sam.adaptation.branches import Branches, Terms, look, step_on
from persam_dreambooth.sam.adaptation.lora import lora_mode, start_teacher, trained_parameters
from persam_dreambooth.sam.adaptation.losses import (
    LossWeights,
    contrast_loss,
    dice_loss,
    focal_loss,
    grid_masks,
    mask_features,
    self_training_loss,
)
from persam_dreambooth.sam.adaptation.training import checkpoint_blocks
from persam_dreambooth.sam.families import family_of
from persam_dreambooth.sam.loading import load_model
from persam_dreambooth.settings.adaptation import AdaptConfig, plan_of, rate_factor

ONLY_ANCHOR = LossWeights(focal=0, dice=0, iou=0, anchor=1, contrast=0)


def at_once(branches, view, terms):
    """The losses of a step as one sum with one backward pass: the formula as it is written."""
    with lora_mode(branches.adapters, "off"), torch.no_grad():
        anchor = look(branches.model, view.weak, view.prompts)
    teacher = look(branches.model, view.weak, view.prompts)
    student = look(branches.model, view.strong, view.prompts)
    target, held = (teacher.mask_logits > 0).float().detach(), (anchor.mask_logits > 0).float()
    rows = [
        mask_features(one.features, grid_masks(one.low_res_logits, (16, 16), background=terms.background))
        for one in (teacher, anchor)
    ]
    anchored = 0.5 * dice_loss(student.mask_logits, held, 1) + 0.5 * dice_loss(teacher.mask_logits, held, 1)
    learned = self_training_loss(student.mask_logits, student.iou_predictions, target, terms.weights)
    total = learned + terms.weights.anchor * anchored + terms.weights.contrast * contrast_loss(*rows)
    total.backward()
    return float(total.detach())


@pytest.mark.parametrize("background", [False, True])
def test_one_half_after_the_other_has_the_gradients_of_the_whole(background):
    terms = Terms(LossWeights(anchor=3, contrast=2), background=background)
    first, second = stirred(branches_of(), 0.1), stirred(branches_of(), 0.1)
    view = a_view(first.model, num_things=3)
    total = at_once(first, view, terms)
    told = step_on(second, view, terms)
    assert told["self"] + 3 * told["anchor"] + 2 * told["contrast"] == pytest.approx(total, rel=1e-5)
    difference = (gradients(first) - gradients(second)).abs().max()
    assert difference <= 1e-6 * max(1.0, float(gradients(first).abs().max()))


def test_untrained_branches_see_the_same():
    branches = branches_of()
    view = a_view(branches.model, strong_is_weak=True)
    with torch.no_grad():
        looked = []
        for mode in ("off", "teacher", "student"):
            with lora_mode(branches.adapters, mode):
                looked.append(branches.look(view.strong, view.prompts).mask_logits)
    assert torch.equal(looked[0], looked[1])
    assert torch.equal(looked[0], looked[2])
    target = (looked[0] > 0).float()
    # Soft against hard costs something; saturated, nothing.
    assert float(focal_loss(looked[0], target)) > 0
    assert float(focal_loss(looked[0].sign() * 20, target)) < 1e-6
    assert float(dice_loss(looked[0].sign() * 20, target, 1)) < 1e-6


def test_the_teacher_gets_nothing_from_self_training():
    branches = stirred(branches_of(), 0.1)
    view = a_view(branches.model)
    step_on(branches, view, Terms(LossWeights(anchor=0, contrast=0)))
    of_step = gradients(branches)
    for value in trained_parameters(branches.adapters):
        value.grad = None
    with torch.no_grad():
        target = (branches.look(view.weak, view.prompts).mask_logits > 0).float()
    student = branches.look(view.strong, view.prompts)
    self_training_loss(student.mask_logits, student.iou_predictions, target, LossWeights()).backward()
    assert torch.equal(of_step, gradients(branches))


def test_contrast_teaches_the_teacher_alone_and_the_anchor_both():
    branches = stirred(branches_of(), 0.1)
    start_teacher(branches.adapters)
    for adapter in branches.adapters.values():
        for name in list(adapter._buffers):
            # The teacher's own adapters as parameters, to see who gets gradients.
            adapter._buffers[name].requires_grad_(True)
    view = a_view(branches.model)
    means = [
        value for adapter in branches.adapters.values() for value in adapter.buffers() if value.requires_grad
    ]
    step_on(branches, view, Terms(LossWeights(0, 0, 0, 0, 1)))
    assert all(value.grad is None or not value.grad.any() for value in trained_parameters(branches.adapters))
    assert any(value.grad.any() for value in means)
    step_on(branches, view, Terms(ONLY_ANCHOR))
    assert any(value.grad.any() for value in trained_parameters(branches.adapters))


def test_without_teacher_gradients_anchor_and_contrast_hold_the_student():
    terms = Terms(LossWeights(0, 0, 0, 0, 1), teacher_learns=False)
    branches = stirred(branches_of(), 0.1)
    told = step_on(branches, a_view(branches.model), terms)
    assert told["contrast"] > 0
    assert gradients(branches).any()


@pytest.mark.parametrize("name", ["sam", "sam_hq", "sam2", "sam3_tracker"])
def test_steps_change_adapters_and_nothing_else(name):
    branches = branches_of(RANDOM_MODELS[name]())
    side = branches.model.config.prompt_encoder_config.image_size
    view = a_view(branches.model)
    view = type(view)(view.weak[..., :side, :side], view.strong[..., :side, :side], view.prompts)
    trained = {id(value) for value in trained_parameters(branches.adapters)}
    frozen = {
        key: value.clone()
        for key, value in [*branches.model.named_parameters(), *branches.model.named_buffers()]
        if id(value) not in trained
    }
    optimizer = torch.optim.Adam(trained_parameters(branches.adapters), lr=1e-3)
    for _ in range(3):
        step_on(branches, view, Terms())
        optimizer.step()
        optimizer.zero_grad()
    now = dict([*branches.model.named_parameters(), *branches.model.named_buffers()])
    assert all(torch.equal(now[key], value) for key, value in frozen.items())
    assert all(now[key].grad is None for key in frozen)
    assert all(adapter.q_b.any() for adapter in branches.adapters.values() if "q" in adapter.parts)


@pytest.mark.parametrize("name", ["sam", "sam_hq", "sam2", "sam3_tracker"])
@pytest.mark.parametrize("teacher_learns", [True, False])
def test_computing_blocks_twice_gives_the_same_gradients(name, teacher_learns):
    seen = []
    found = []
    for checkpoints in (False, True):
        branches = stirred(branches_of(RANDOM_MODELS[name]()), 0.1)
        if checkpoints:
            checkpoint_blocks(branches.model)
        side = branches.model.config.prompt_encoder_config.image_size
        view = a_view(branches.model)
        view = type(view)(view.weak[..., :side, :side], view.strong[..., :side, :side], view.prompts)
        counted = []
        (first, *_) = branches.adapters.values()
        first.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        step_on(branches, view, Terms(teacher_learns=teacher_learns))
        seen.append(len(counted))
        found.append(gradients(branches))
    assert torch.equal(*found)
    # Source, teacher, student; and again those that learn.
    assert seen == [3, 5 if teacher_learns else 4]


def test_checkpoints_leave_dropout_off():
    branches = branches_of()
    checkpoint_blocks(branches.model)
    assert not any(module.training for module in branches.model.vision_encoder.layers[0].attn.modules())


def test_in_bf16_the_encoder_alone_is_rounded():
    plain = stirred(branches_of(), 0.1)
    rounded = Branches(plain.model, plain.adapters, precision=lambda: torch.autocast("cpu", torch.bfloat16))
    view = a_view(plain.model)
    with torch.no_grad():
        exact, coarse = (branches.look(view.weak, view.prompts) for branches in (plain, rounded))
        # The decoder's part by itself: float32, whatever the encoder's precision.
        family = family_of(plain.model)
        prompts = {**view.prompts[0], "multimask_output": False}
        alone = plain.model(**family.decoder_inputs(coarse.features[None], ()), **prompts)
    assert not torch.equal(exact.features, coarse.features)
    assert relative_difference(coarse.features, exact.features) < 0.05
    assert coarse.features.dtype == coarse.mask_logits.dtype == torch.float32
    assert torch.equal(coarse.low_res_logits, alone.pred_masks[0, :, 0])


@pytest.mark.parametrize("checkpoints", [False, True])
def test_gradients_in_bf16_are_float32_and_nearly_the_same(checkpoints):
    found = []
    for precision in (nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)):
        # A trained model: what a random one makes of rounding errors is chaos.
        branches = branches_of(load_model("toy"))
        branches = Branches(branches.model, branches.adapters, precision=precision)
        if checkpoints:
            checkpoint_blocks(branches.model)
        step_on(branches, a_view(branches.model), Terms())
        found.append(gradients(branches))
    exact, coarse = found
    assert coarse.dtype == torch.float32
    assert float(torch.cosine_similarity(exact, coarse, dim=0)) > 0.95


def test_learning_reaches_given_masks():
    # A mask that is nobody's stands in for the teacher's: the whole way backwards works.
    branches = branches_of(load_model("toy"))
    view = a_view(branches.model)
    target = torch.zeros(1, 128, 128)
    target[:, 30:80, 40:100] = 1
    optimizer = torch.optim.Adam(trained_parameters(branches.adapters), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = dice_loss(branches.look(view.strong, view.prompts).mask_logits, target, 1)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.7 * losses[0]


def agreement_with_anchor(weight):
    """Train towards the opposite of the source's mask, held by the anchor; how much still agrees with it."""
    branches = branches_of(load_model("toy"))
    view = a_view(branches.model)
    with lora_mode(branches.adapters, "off"), torch.no_grad():
        held = (branches.look(view.weak, view.prompts).mask_logits > 0).float()
    optimizer = torch.optim.Adam(trained_parameters(branches.adapters), lr=1e-2)
    for _ in range(18):
        logits = branches.look(view.weak, view.prompts).mask_logits
        pulled = 20 * focal_loss(logits, 1 - held) + dice_loss(logits, 1 - held, 1)
        (pulled + weight * dice_loss(logits, held, 1)).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        now = (branches.look(view.weak, view.prompts).mask_logits > 0).float()
    return float((now == held).float().mean())


def test_a_strong_anchor_holds_against_wrong_labels():
    # At its published weight of 1 the self-training wins: the anchor regularises, it has no veto.
    assert agreement_with_anchor(1000) - agreement_with_anchor(0) > 0.3


def test_the_published_schedule_starts_at_0_and_falls_twice():
    plan = plan_of(AdaptConfig(preset="paper"), 100)
    steps = [0, 125, 250, 59_999, 60_000, 86_665, 86_666]
    assert [rate_factor(plan, step) for step in steps] == [0, 0.5, 1, 1, 0.1, 0.1, 0.01]


def test_our_schedule_learns_from_the_first_step():
    plan = plan_of(AdaptConfig(), 3)
    assert (plan.iterations, plan.warmup, plan.learning_rate) == (200, 20, 3e-4)
    assert [rate_factor(plan, step) for step in (0, 9, 19, 150)] == [0.05, 0.5, 1, 1]
