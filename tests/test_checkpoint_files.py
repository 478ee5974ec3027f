"""Checkpoints as files: whole or not there, found by name, pruned, damaged, on a disk that is full."""

import json
import os
import shutil

import pytest
import torch
from tiny_training import SETTINGS, begin

from persam_dreambooth.diffusion import checkpoint, checkpoint_files, training
from persam_dreambooth.errors import UserError


def trained(folder, steps=2, settings=SETTINGS, **options):
    state = begin(settings, steps=steps, **options)
    list(training.train(state))
    return state, checkpoint.save(state, folder)


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_limit_keeps_the_newest_and_never_removes_the_one_just_written(tmp_path):
    state = begin(steps=4)
    for _ in training.train(state):
        checkpoint.save(state, tmp_path, total_limit=2)
    assert [path.name for path in checkpoint_files.list_checkpoints(tmp_path)] == [
        "checkpoint-3",
        "checkpoint-4",
    ]
    fresh, path = trained(tmp_path, steps=1)
    checkpoint.save(fresh, tmp_path, total_limit=1)
    assert checkpoint_files.list_checkpoints(tmp_path) == [path]


def test_ten_comes_after_nine_and_strangers_are_left_alone(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-best", "samples", ".checkpoint-11.abc"):
        (tmp_path / name).mkdir()
    assert checkpoint_files.latest(tmp_path).name == "checkpoint-10"
    assert [path.name for path in checkpoint_files.prune(tmp_path, 1)] == ["checkpoint-9"]
    assert (tmp_path / "checkpoint-best").is_dir()
    assert checkpoint_files.latest(tmp_path / "none") is None


def test_a_killed_save_leaves_nothing_that_counts(tmp_path):
    state, path = trained(tmp_path)
    (tmp_path / ".checkpoint-9.xyz" / "new").mkdir(parents=True)
    (tmp_path / ".checkpoint-1.removed").mkdir()
    assert checkpoint_files.find(tmp_path, "latest") == path
    checkpoint.save(state, tmp_path)
    assert names_in(tmp_path) == ["checkpoint-2"]


def test_a_save_killed_between_its_two_renames_is_put_in_place(tmp_path):
    state, path = trained(tmp_path)
    half = tmp_path / ".checkpoint-2.xyz"
    half.mkdir()
    shutil.copytree(path, half / "old")
    os.replace(path, half / "new")
    assert checkpoint.newest(state, tmp_path) == (path, [])
    assert names_in(tmp_path) == ["checkpoint-2"]
    checkpoint_files.read_record(path)


def test_a_disk_that_is_full_leaves_the_older_one(tmp_path, monkeypatch):
    state, path = trained(tmp_path)
    before = (path / checkpoint_files.STATE_FILE).read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    text = r"no room to write checkpoint-2 \(.* MiB\); .* are free\. checkpoint-2 is whole\. Make room, or"
    with pytest.raises(UserError, match=text):
        checkpoint.save(state, tmp_path)
    assert (path / checkpoint_files.STATE_FILE).read_text() == before
    assert names_in(tmp_path) == ["checkpoint-2"]
    with pytest.raises(UserError, match=r"There is no checkpoint so far\. Make room"):
        checkpoint.save(state, tmp_path / "new")


def test_weights_that_are_no_numbers_do_not_replace_good_ones(tmp_path):
    state, path = trained(tmp_path)
    next(iter(state.trained.unet.parameters())).data.view(-1)[0] = float("nan")
    state.step = 3
    with pytest.raises(
        UserError,
        match=r"step 3: the weights in \S+ are no numbers any more; .*checkpoint-2 is whole\. Try a lower",
    ):
        checkpoint.save(state, tmp_path, total_limit=1)
    assert checkpoint_files.list_checkpoints(tmp_path) == [path]


def test_finding_by_name_path_and_latest(tmp_path):
    assert checkpoint_files.find(tmp_path, "latest") is None
    _, path = trained(tmp_path)
    assert checkpoint_files.find(tmp_path, "checkpoint-2") == path
    assert checkpoint_files.find(tmp_path / "elsewhere", str(path)) == path
    # diffusers looks at the name alone: a path from another machine finds the folder here.
    assert checkpoint_files.find(tmp_path, "/elsewhere/out/checkpoint-2") == path
    with pytest.raises(UserError, match=r"--resume_from_checkpoint checkpoint-3: .*mean checkpoint-2\?"):
        checkpoint_files.find(tmp_path, "checkpoint-3")
    with pytest.raises(UserError, match=r"no such checkpoint; latest or one of none so far"):
        checkpoint_files.find(tmp_path / "elsewhere", "checkpoint-3")


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
    assert "not of this version's format 2" in broken(lambda: (newer / "state.json").write_text("{}"))
    for name in ("optimizer.pt", "unet/diffusion_pytorch_model.safetensors"):
        assert "incomplete or damaged" in broken((newer / name).unlink)
        assert other in broken(lambda name=name: (newer / name).write_bytes(b"\0" * 50))
        half = (older / name).read_bytes()
        assert "damaged" in broken(lambda name=name, half=half: (newer / name).write_bytes(half[:1000]))
    newer.mkdir()
    with pytest.raises(UserError, match=r"checkpoint-3: no state\.json"):
        checkpoint.resume(begin(), checkpoint_files.latest(tmp_path))


def test_the_record_is_plain_json(tmp_path):
    _, path = trained(tmp_path)
    record = json.loads((path / "state.json").read_text())
    assert record["step"] == 2
    assert record["trained_with"]["learning_rate"] == 1e-3


def test_going_on_passes_over_what_is_damaged_and_what_is_another_runs(tmp_path):
    state, whole = trained(tmp_path)
    for name in ("checkpoint-3", "checkpoint-4"):
        shutil.copytree(whole, tmp_path / name)
    (tmp_path / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    record = json.loads((tmp_path / "checkpoint-3" / "state.json").read_text())
    record["trained_with"]["seed"] = 7
    (tmp_path / "checkpoint-3" / "state.json").write_text(json.dumps(record))
    path, damaged = checkpoint.newest(state, tmp_path)
    assert path == whole
    assert len(damaged) == 1
    assert "checkpoint-4/optimizer.pt: 0 of " in damaged[0]
    assert "Remove it, or resume from checkpoint-3." in damaged[0]
    assert checkpoint.newest(state, tmp_path / "none") == (None, [])


def test_a_checkpoint_beyond_the_end_is_refused(tmp_path):
    _, path = trained(tmp_path)
    shorter = begin(steps=1)
    assert checkpoint.newest(shorter, tmp_path) == (None, [])
    with pytest.raises(UserError, match=r"checkpoint-2: has 2 steps; --max_train_steps 1 is less"):
        checkpoint.resume(shorter, path)


def test_its_size_is_known_before_it_is_written(tmp_path):
    state, path = trained(tmp_path)
    written = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    # The tiny model has 90 tensors of a few numbers: names and headers weigh as much as they do.
    assert 0.8 * written < checkpoint.num_bytes(state) < written
