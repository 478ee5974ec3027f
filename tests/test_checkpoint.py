"""Checkpoints: stopping and going on changes nothing, to the bit; halves and strangers are refused."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from tiny_pipelines import tiny_folder
from tiny_training import SETTINGS, begin, equal, weights

from persam_dreambooth.diffusion import checkpoint, training
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.errors import UserError

# Everything at once that has a state: warm-up and decay, class pictures, base model, accumulation.
DECAYING = replace(
    SETTINGS, lr_scheduler="cosine", lr_warmup_steps=3, gradient_accumulation_steps=2, train_batch_size=1
)
OBJECTIVE = Objective(outside_prior_weight=0.5)


def record_of(progress):
    return [replace(one, seconds=0.0) for one in progress]


def trained(folder, steps=2, settings=SETTINGS, **options):
    state = begin(settings, steps=steps, **options)
    list(training.train(state))
    return state, checkpoint.save(state, folder)


@pytest.mark.parametrize("use_lora", [False, True])
def test_stopped_and_resumed_is_straight_to_the_bit(tmp_path, use_lora):
    settings = replace(DECAYING, use_lora=use_lora)

    def anew():
        return begin(settings, OBJECTIVE, steps=6, with_class=True)

    straight = anew()
    record = record_of(training.train(straight))
    stopped = anew()
    steps = training.train(stopped)
    first = record_of(next(steps) for _ in range(3))
    path = checkpoint.save(stopped, tmp_path)
    assert path == tmp_path / "checkpoint-3"
    torch.manual_seed(99)
    resumed = anew()
    checkpoint.resume(resumed, checkpoint.find(tmp_path, "latest"))
    assert resumed.step == 3
    assert first + record_of(training.train(resumed)) == record
    assert equal(weights(straight), weights(resumed))
    moments, straight_moments = (state.optimizer.state_dict()["state"] for state in (resumed, straight))
    assert all(equal(values, straight_moments[number]) for number, values in moments.items())


def test_saving_does_not_disturb_the_run(tmp_path):
    plain, saved = begin(), begin()
    list(training.train(plain))
    for _ in training.train(saved):
        checkpoint.save(saved, tmp_path)
    assert equal(weights(plain), weights(saved))
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == [
        "checkpoint-1",
        "checkpoint-2",
        "checkpoint-3",
    ]


def test_the_weights_in_a_checkpoint_load_in_diffusers(tmp_path):
    state, path = trained(tmp_path / "full")
    unet = UNet2DConditionModel.from_pretrained(path, subfolder="unet")
    assert equal(weights(state), dict(unet.state_dict()))
    _, path = trained(tmp_path / "lora", settings=replace(SETTINGS, use_lora=True))
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder(), safety_checker=None)
    pipeline.load_lora_weights(path)
    assert pipeline.get_active_adapters()


def test_limit_keeps_the_newest_and_never_removes_the_one_just_written(tmp_path):
    state = begin(steps=4)
    for _ in training.train(state):
        checkpoint.save(state, tmp_path, total_limit=2)
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-4"]
    fresh, path = trained(tmp_path, steps=1)
    checkpoint.save(fresh, tmp_path, total_limit=1)
    assert checkpoint.list_checkpoints(tmp_path) == [path]


def test_ten_comes_after_nine_and_strangers_are_left_alone(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-best", "samples", ".checkpoint-11.abc"):
        (tmp_path / name).mkdir()
    assert checkpoint.latest(tmp_path).name == "checkpoint-10"
    assert [path.name for path in checkpoint.prune(tmp_path, 1)] == ["checkpoint-9"]
    assert (tmp_path / "checkpoint-best").is_dir()
    assert checkpoint.latest(tmp_path / "none") is None


def test_a_killed_save_leaves_nothing_that_counts(tmp_path):
    state, path = trained(tmp_path)
    (tmp_path / ".checkpoint-9.xyz" / "new").mkdir(parents=True)
    assert checkpoint.find(tmp_path, "latest") == path
    checkpoint.save(state, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-2"]


def test_a_save_that_fails_leaves_the_older_one(tmp_path, monkeypatch):
    state, path = trained(tmp_path)
    before = (path / checkpoint.STATE_FILE).read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(state, tmp_path)
    assert (path / checkpoint.STATE_FILE).read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-2"]


def test_finding_by_name_path_and_latest(tmp_path):
    assert checkpoint.find(tmp_path, "latest") is None
    _, path = trained(tmp_path)
    assert checkpoint.find(tmp_path, "checkpoint-2") == path
    assert checkpoint.find(tmp_path / "elsewhere", str(path)) == path
    with pytest.raises(UserError, match=r"--resume_from_checkpoint checkpoint-3: .*mean checkpoint-2\?"):
        checkpoint.find(tmp_path, "checkpoint-3")
    with pytest.raises(UserError, match=r"no such checkpoint; latest or one of none so far"):
        checkpoint.find(tmp_path / "elsewhere", "checkpoint-3")


def test_incomplete_damaged_and_foreign_checkpoints(tmp_path):
    _, older = trained(tmp_path)
    newer = tmp_path / "checkpoint-3"

    def broken(change):
        shutil.copytree(older, newer, dirs_exist_ok=True)
        change()
        with pytest.raises(UserError) as caught:
            checkpoint.resume(begin(), newer)
        shutil.rmtree(newer)
        return str(caught.value)

    other = r"Remove it, or resume from checkpoint-2."
    text = broken((newer / "state.json").unlink)
    assert "checkpoint-3: no state.json; incomplete, or another program's" in text
    assert text.endswith(other)
    assert "state.json: damaged" in broken(lambda: (newer / "state.json").write_text("{"))
    assert "not of this version's format 1" in broken(lambda: (newer / "state.json").write_text("{}"))
    for name in ("optimizer.pt", "unet/diffusion_pytorch_model.safetensors"):
        assert "incomplete or damaged" in broken((newer / name).unlink)
        assert other in broken(lambda name=name: (newer / name).write_bytes(b"\0" * 50))
        half = (older / name).read_bytes()
        assert "damaged" in broken(lambda name=name, half=half: (newer / name).write_bytes(half[:1000]))
    newer.mkdir()
    with pytest.raises(UserError, match=r"checkpoint-3: no state\.json"):
        checkpoint.resume(begin(), checkpoint.latest(tmp_path))


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
        (SETTINGS, {"count": 2}, r"the photos, their masks or crops, .* changed since"),
        (SETTINGS, {"with_masks": False}, r"the photos, their masks or crops, .* changed since"),
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


def test_the_record_is_plain_json(tmp_path):
    _, path = trained(tmp_path)
    record = json.loads((path / "state.json").read_text())
    assert record["step"] == 2
    assert record["trained_with"]["learning_rate"] == 1e-3
