"""Evidence: trainings on two backgrounds are equal to the bit where they must be, apart where they may be."""

import dataclasses

import pytest
import torch
from tiny_albums import draw_album
from tiny_masks import elsewhere
from tiny_pipelines import RESOLUTION, tiny_models
from tiny_training import SETTINGS

from persam_dreambooth.diffusion.backgrounds import INVARIANT_MODES, Background
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.encode import Preparation, encode
from persam_dreambooth.diffusion.evidence import (
    COMPARED,
    Evidence,
    deterministic,
    differences,
    equal_parts,
    relative_distance,
    tensors_digest,
    train_and_record,
)
from persam_dreambooth.diffusion.geometry import Geometry
from persam_dreambooth.diffusion.latent_mask import LatentMask
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.training import build_accelerator, start
from persam_dreambooth.settings import resolve_train

PROMPT = "a photo of sks cat"
# The crop is drawn: from the photo's background it would be another one.
GEOMETRY = Geometry(resolution=RESOLUTION, random_flip=True, seed=4)


def trained(
    mode: str,
    *,
    moved: bool,
    settings=SETTINGS,
    objective=None,
    latent_mask=None,
    geometry=GEOMETRY,
    steps=2,
    kind="sd",
) -> Evidence:
    """Train on an album of discs, or on the same discs elsewhere."""
    models = tiny_models(kind)
    photos, masks = draw_album(3)
    preparation = Preparation(
        geometry=geometry, background=Background(mode=mode), latent_mask=latent_mask or LatentMask()
    )
    instance = encode(
        models,
        elsewhere(photos, masks) if moved else photos,
        masks,
        prompts=[PROMPT] * len(photos),
        preparation=preparation,
        class_photos=draw_album(5)[0][3:],
    )
    state = start(
        models,
        Examples(instance, None, 0),
        resolve_train(settings, models.family.name),
        objective or Objective(),
        accelerator=build_accelerator("no"),
        max_train_steps=steps,
    )
    with deterministic():
        return train_and_record(state)


@pytest.mark.parametrize("mode", INVARIANT_MODES)
def test_the_background_has_no_influence(mode):
    one, other = trained(mode, moved=False), trained(mode, moved=True)
    assert one.has_moved
    assert equal_parts(one, other) == dict.fromkeys(COMPARED, True)
    assert set(differences(one, other).values()) <= {0.0, None}


@pytest.mark.parametrize("mode", ["keep", "blur"])
def test_the_background_has_influence(mode):
    one, other = trained(mode, moved=False), trained(mode, moved=True)
    equal = equal_parts(one, other)
    # The crop follows from the whole photo here, so the loss masks differ as well.
    assert not any(equal.values())
    assert differences(one, other)["gradient"] > 0.01
    # The difference is the background's, not chance.
    assert all(equal_parts(one, trained(mode, moved=False)).values())


def test_no_influence_through_any_part_of_the_training():
    # LoRA, the base model outside the mask, soft weights outside, accumulated passes.
    adapters = {"use_lora": True, "train_batch_size": 1, "gradient_accumulation_steps": 2}
    options = {
        "settings": dataclasses.replace(SETTINGS, **adapters),
        "objective": Objective(outside_prior_weight=1.0),
        "latent_mask": LatentMask(dilate=1, outside_weight=0.1),
    }
    one, other = trained("random", moved=False, **options), trained("random", moved=True, **options)
    assert one.has_moved
    assert all(equal_parts(one, other).values())


def test_no_influence_on_text_encoders_nor_through_buckets():
    buckets = dataclasses.replace(GEOMETRY, buckets=((24, 40), (32, 32)))
    settings = dataclasses.replace(SETTINGS, use_lora=True, train_text_encoder=True)
    options = {"kind": "sdxl", "settings": settings, "geometry": buckets}
    one, other = trained("class", moved=False, **options), trained("class", moved=True, **options)
    assert one.has_moved
    assert all(equal_parts(one, other).values())


def test_evidence_is_of_every_step():
    one = trained("fill", moved=False, steps=3)
    assert len(one.latents) == len(one.losses) == len(one.gradients) == 3
    assert len(set(one.latents)) == len(set(one.gradients)) == 3
    assert [float.fromhex(loss) for loss in one.losses] == pytest.approx([1, 1, 1], abs=1)
    assert set(one.digests) == set(COMPARED)
    shorter = trained("fill", moved=False, steps=2)
    assert shorter.gradients == one.gradients[:2]
    assert shorter.weights != one.weights


def test_distances_by_hand():
    zero, one = torch.zeros(2), torch.ones(2)
    assert relative_distance([3 * one], [3 * one]) == 0
    three, four = torch.tensor([3.0]), torch.tensor([4.0])
    assert relative_distance([three, four], [zero[:1], four]) == 0.6
    assert relative_distance([zero], [zero]) == 0
    assert relative_distance([zero], [one]) == 1


def test_digests_see_every_bit_and_the_shape():
    values = torch.arange(6.0)
    digests = {
        tensors_digest([values]),
        tensors_digest([values.reshape(2, 3)]),
        tensors_digest([values[:3], values[3:]]),
        tensors_digest([torch.nextafter(values, torch.tensor(9.0))]),
        tensors_digest([-values]),
    }
    assert len(digests) == 5
    assert tensors_digest([values.bfloat16()]) == tensors_digest([values.clone()])


def test_deterministic_algorithms_only_inside():
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
