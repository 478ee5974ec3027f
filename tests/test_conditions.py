"""What a UNet is told is, to the bit, what diffusers' pipelines tell it; text encoders in training too."""

import pytest
import torch
from tiny_albums import PROMPT, draw_photo, encode_album, encode_photos, prepared
from tiny_pipelines import RESOLUTION, tiny_models

from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.dataset import Examples, batch_at
from persam_dreambooth.diffusion.families import SD, SDXL, encode_text, time_ids
from persam_dreambooth.diffusion.models import build_pipeline, prompt_ids
from persam_dreambooth.diffusion.networks import Networks, current_conditions, predict


@pytest.mark.parametrize("kind", ["sd", "sd_v"])
def test_stable_diffusion_is_told_what_its_pipeline_tells_it(kind):
    models = tiny_models(kind)
    with torch.no_grad():
        told, nothing = build_pipeline(models).encode_prompt(PROMPT, "cpu", 1, True)
    encoded = encode_album(models, 1)
    assert torch.equal(encoded.conditions.prompt_embeds, told)
    assert torch.equal(encoded.no_prompt.conditions.prompt_embeds, nothing)
    assert encoded.conditions.pooled_prompt_embeds is None
    assert encoded.conditions.time_ids is None


@pytest.mark.parametrize("kind", ["sdxl", "sdxl_edm"])
def test_stable_diffusion_xl_is_told_what_its_pipeline_tells_it(kind):
    models = tiny_models(kind)
    pipeline = build_pipeline(models)
    photo, mask = draw_photo(1, (40, 72))
    encoded = encode_photos(models, [photo], {"01": mask}, prepared({"random_flip": True, "seed": 4}))
    with torch.no_grad():
        told, nothing, pooled, pooled_nothing = pipeline.encode_prompt(PROMPT, device="cpu")
    ours, empty = encoded.conditions, encoded.no_prompt.conditions
    assert torch.equal(ours.prompt_embeds, told.expand(2, -1, -1))
    assert torch.equal(ours.pooled_prompt_embeds, pooled.expand(2, -1))
    assert torch.equal(empty.prompt_embeds, nothing)
    assert torch.equal(empty.pooled_prompt_embeds, pooled_nothing)
    assert told.shape == (1, 16, 32)
    # Photo 40 x 72, resized to 32 x 57: 25 columns are cut off, some on the left, the rest on the right.
    left = int(ours.time_ids[0, 3])
    assert 0 < left < 25
    size = (RESOLUTION, RESOLUTION)
    for row, column in ((0, left), (1, 25 - left)):
        expected = pipeline._get_add_time_ids((40, 72), (0, column), size, torch.float32, 8)
        assert torch.equal(ours.time_ids[row : row + 1], expected)


def test_class_pictures_are_told_their_own_sizes():
    models = tiny_models("sdxl")
    photo, mask = draw_photo(1, (40, 48))
    of_class, _ = draw_photo(2, (32, 32))
    examples = Examples(
        encode_photos(models, [photo], {"01": mask}),
        encode_photos(models, [of_class], None, prompts=["a cat"]),
        0,
    )
    batch = batch_at(examples, 0, range(1), examples_per_step=1, num_train_timesteps=1000)
    assert batch.conditions.time_ids[0, :2].tolist() == [40, 48]
    assert batch.conditions.time_ids[1].tolist() == [32, 32, 0, 0, 32, 32]
    assert not torch.equal(batch.conditions.pooled_prompt_embeds[0], batch.conditions.pooled_prompt_embeds[1])


def test_the_prediction_is_the_unets():
    models = tiny_models("sdxl")
    encoded = encode_album(models, 2)
    latents, timesteps = torch.randn(2, 4, 4, 4), torch.tensor([3, 700])
    with torch.no_grad():
        ours = predict(Networks(models.unet, (), SDXL), latents, timesteps, encoded.conditions)
        added = {
            "text_embeds": encoded.conditions.pooled_prompt_embeds,
            "time_ids": encoded.conditions.time_ids,
        }
        plain = models.unet(
            latents, timesteps, encoded.conditions.prompt_embeds, added_cond_kwargs=added
        ).sample
    assert torch.equal(ours, plain)


def test_a_learnt_variance_is_cut_off():
    models = tiny_models("sd_learned")
    conditions, latents = encode_album(models, 1).conditions, torch.randn(1, 4, 4, 4)
    with torch.no_grad():
        ours = predict(Networks(models.unet, (), SD), latents, torch.tensor([3]), conditions)
        whole = models.unet(latents, 3, conditions.prompt_embeds).sample
    assert whole.shape == (1, 8, 4, 4)
    assert torch.equal(ours, whole.chunk(2, dim=1)[0])


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_text_encoders_in_training_read_the_prompts_anew(kind):
    models = tiny_models(kind)
    encoded = encode_album(models, 2)
    networks = Networks(models.unet, models.text_encoders, models.family)
    assert len(networks.modules) == 1 + len(models.text_encoders)
    for encoder in models.text_encoders:
        encoder.requires_grad_(True)
    untrained = current_conditions(networks, encoded.conditions, encoded.input_ids)
    torch.testing.assert_close(untrained.prompt_embeds, encoded.conditions.prompt_embeds)
    assert untrained.time_ids is encoded.conditions.time_ids
    predict(networks, torch.randn(2, 4, 4, 4), torch.tensor([3, 4]), untrained).square().mean().backward()
    for encoder in models.text_encoders:
        assert encoder.get_input_embeddings().weight.grad.abs().sum() > 0
        with torch.no_grad():
            encoder.get_input_embeddings().weight += 1
    trained = current_conditions(networks, encoded.conditions, encoded.input_ids)
    assert not torch.allclose(trained.prompt_embeds, encoded.conditions.prompt_embeds)
    bare = Networks(models.unet, (), models.family)
    assert current_conditions(bare, encoded.conditions, encoded.input_ids) is encoded.conditions


def test_prompts_of_a_batch_are_read_as_each_alone():
    models = tiny_models("sdxl")
    ids = [prompt_ids(models.tokenizers, prompt) for prompt in (PROMPT, "a dog in snow")]
    both = tuple(torch.cat(column) for column in zip(*ids, strict=True))
    with torch.no_grad():
        together = encode_text(SDXL, models.text_encoders, both)
        for row, one in enumerate(ids):
            for value, alone in zip(together, encode_text(SDXL, models.text_encoders, one), strict=True):
                torch.testing.assert_close(value[row], alone[0])


def test_rows_of_conditions():
    conditions = Conditions(torch.arange(12.0).view(3, 2, 2), time_ids=torch.arange(18.0).view(3, 6))
    assert len(conditions) == 3
    assert torch.equal(conditions.rows(1).prompt_embeds, conditions.prompt_embeds[1:2])
    assert torch.equal(conditions.rows(slice(2)).time_ids, conditions.time_ids[:2])
    assert torch.equal(conditions.rows([2, 0]).time_ids[:, 0], torch.tensor([12.0, 0.0]))
    again = Conditions.cat([conditions.rows(0), conditions.rows(slice(1, 3))])
    assert torch.equal(again.prompt_embeds, conditions.prompt_embeds)
    assert again.pooled_prompt_embeds is None
    wide = conditions.rows(0).expand(5)
    assert len(wide) == 5
    with pytest.raises(TypeError):
        Conditions.cat([conditions, Conditions(conditions.prompt_embeds)])


def test_only_stable_diffusion_xl_is_told_sizes():
    assert time_ids(SD, (40, 48), (0, 3), (32, 32)) is None
    assert time_ids(SDXL, (40, 48), (0, 3), (32, 32)).tolist() == [[40, 48, 0, 3, 32, 32]]
