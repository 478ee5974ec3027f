"""Checkpoints: stopping and going on changes nothing, to the bit; halves and strangers are refused."""

from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from tiny_albums import draw_album, encode_album, encode_photos, prepared
from tiny_pipelines import tiny_folder, tiny_models
from tiny_training import SETTINGS, begin, equal, weights

from persam_dreambooth.diffusion import checkpoint, checkpoint_files, training
from persam_dreambooth.diffusion.backgrounds import Background
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.errors import UserError
from persam_dreambooth.settings import resolve_train

# Everything at once that could have a state: warm-up and decay, class pictures, flips, backgrounds new in
# every step, the base model, accumulation, dropout, text encoders.
DECAYING = replace(
    SETTINGS, lr_scheduler="cosine", lr_warmup_steps=3, gradient_accumulation_steps=2, train_batch_size=1
)
WAYS = {
    "full": {},
    "full with text encoder": {"train_text_encoder": True},
    "lora": {"use_lora": True, "lora_dropout": 0.5},
    "lora with text encoder": {"use_lora": True, "lora_dropout": 0.5, "train_text_encoder": True},
    "dora": {"use_lora": True, "use_dora": True},
}


def record_of(progress):
    return [replace(one, seconds=0.0) for one in progress]


def trained(folder, steps=2, settings=SETTINGS, **options):
    state = begin(settings, steps=steps, **options)
    list(training.train(state))
    return state, checkpoint.save(state, folder)


def with_everything(settings, kind="sd"):
    """A training in which every draw there is takes part, before its first step."""
    models = tiny_models(kind)
    photos, masks = draw_album(3)
    preparation = prepared({"random_flip": True}, background=Background(mode="random"))
    examples = Examples(encode_photos(models, photos, masks, preparation), encode_album(models, 4), seed=0)
    return training.start(
        models,
        examples,
        resolve_train(settings, models.family.name),
        Objective(outside_prior_weight=0.5),
        accelerator=training.build_accelerator("no"),
        max_train_steps=6,
    )


def check_stopped_is_straight(anew, tmp_path):
    """Three steps, a checkpoint, a new process's start and three more are the six steps without a stop."""
    straight = anew()
    record = record_of(training.train(straight))
    stopped = anew()
    steps = training.train(stopped)
    first = record_of(next(steps) for _ in range(3))
    path = checkpoint.save(stopped, tmp_path)
    assert path == tmp_path / "checkpoint-3"
    torch.manual_seed(99)
    resumed = anew()
    assert not equal(weights(stopped), weights(resumed))
    checkpoint.resume(resumed, checkpoint_files.find(tmp_path, "latest"))
    assert resumed.step == 3
    assert first + record_of(training.train(resumed)) == record
    assert equal(weights(straight), weights(resumed))
    moments, straight_moments = (state.optimizer.state_dict()["state"] for state in (resumed, straight))
    assert all(equal(values, straight_moments[number]) for number, values in moments.items())


@pytest.mark.parametrize("way", WAYS)
def test_stopped_and_resumed_is_straight_to_the_bit(tmp_path, way):
    settings = replace(DECAYING, **WAYS[way])
    check_stopped_is_straight(lambda: with_everything(settings), tmp_path)


@pytest.mark.parametrize("kind", ["sdxl", "sdxl_edm"])
def test_the_other_family_stops_and_resumes_too(tmp_path, kind):
    settings = replace(DECAYING, use_lora=True, train_text_encoder=True)
    check_stopped_is_straight(lambda: with_everything(settings, kind), tmp_path)


def test_saving_does_not_disturb_the_run(tmp_path):
    plain, saved = begin(), begin()
    list(training.train(plain))
    for _ in training.train(saved):
        checkpoint.save(saved, tmp_path)
    assert equal(weights(plain), weights(saved))
    assert [path.name for path in checkpoint_files.list_checkpoints(tmp_path)] == [
        "checkpoint-1",
        "checkpoint-2",
        "checkpoint-3",
    ]


def test_the_weights_in_a_checkpoint_load_in_diffusers(tmp_path):
    state, path = trained(tmp_path / "full")
    unet = UNet2DConditionModel.from_pretrained(path, subfolder="unet")
    assert equal(dict(state.trained.unet.state_dict()), dict(unet.state_dict()))
    _, path = trained(tmp_path / "lora", settings=replace(SETTINGS, use_lora=True))
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder(), safety_checker=None)
    pipeline.load_lora_weights(path)
    assert pipeline.get_active_adapters()


@pytest.mark.parametrize(
    ("settings", "options", "text"),
    [
        (replace(SETTINGS, learning_rate=2e-3), {}, r"--learning_rate was 0.001 there and is 0.002 now"),
        (replace(SETTINGS, use_lora=True), {}, r"--use_lora was False there and is True now"),
        (replace(SETTINGS, adam_beta2=0.9), {}, r"--adam_beta2 was 0.999 there"),
        (
            replace(SETTINGS, train_batch_size=1),
            {},
            r"examples a step \(--train_batch_size .*was 2 there and is 1",
        ),
        (SETTINGS, {"seed": 1}, r"--seed was 0 there and is 1 now"),
        (SETTINGS, {"objective": Objective(outside_prior_weight=1.0)}, r"--outside_prior_weight was 0.0"),
        (SETTINGS, {"count": 2}, r"the photos, their masks, crops or captions, .* changed"),
        (SETTINGS, {"with_masks": False}, r"the photos, their masks, crops or captions, .* changed"),
        (SETTINGS, {"with_class": True}, r"the class pictures or --class_prompt changed since"),
    ],
)
def test_a_run_goes_on_only_with_what_it_began_with(tmp_path, settings, options, text):
    _, path = trained(tmp_path)
    with pytest.raises(UserError, match=rf"checkpoint-2: {text}.*Set it back, or start anew"):
        checkpoint.resume(begin(settings, **options), path)


def test_what_does_not_change_the_result_may_change(tmp_path):
    _, path = trained(tmp_path)
    other = replace(SETTINGS, train_batch_size=1, gradient_accumulation_steps=2, gradient_checkpointing=True)
    state = begin(other, steps=20)
    checkpoint.resume(state, path)
    assert state.step == 2


def test_a_falling_learning_rate_fixes_the_length_of_the_run(tmp_path):
    settings = replace(SETTINGS, lr_scheduler="linear")
    _, path = trained(tmp_path, settings=settings)
    with pytest.raises(UserError, match="--max_train_steps was 2 there and is 5 now"):
        checkpoint.resume(begin(settings, steps=5), path)
