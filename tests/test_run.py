"""The run folder: whole files or none, stamps that follow their inputs, and a log that survives a resume."""

import json
import os
from pathlib import Path

import pytest

from persam_dreambooth.diffusion.folders import atomic_folder
from persam_dreambooth.errors import UserError
from persam_dreambooth.files import atomic_path, write_text
from persam_dreambooth.run import RunFolder, check_writable, digest_of


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_written_file_has_ordinary_permissions(tmp_path):
    write_text(tmp_path / "ours", "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_folder_appears_with_its_first_file(tmp_path):
    run = RunFolder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    run.write_text("config.yaml", "seed: 1\n")
    assert (tmp_path / "a" / "b" / "config.yaml").read_text() == "seed: 1\n"


def test_json_in_and_out(tmp_path):
    run = RunFolder(tmp_path)
    assert run.read_json("masks.json") is None
    run.write_json("masks.json", {"path": Path("a"), "area": 0.5})
    assert run.read_json("masks.json") == {"path": "a", "area": 0.5}
    run.write_text("masks.json", "{")
    with pytest.raises(UserError, match=r"masks\.json: no valid JSON"):
        run.read_json("masks.json")


def test_a_stamp_holds_while_inputs_and_outputs_are_the_same(tmp_path):
    run = RunFolder(tmp_path)
    digest = digest_of("photos", [1, 2], {"seed": 0})
    assert not run.is_done("train", digest)
    run.mark_done("train", digest)
    run.mark_done("masks", "other")
    assert run.is_done("train", digest)
    assert not run.is_done("train", digest_of("photos", [1, 2], {"seed": 1}))
    assert not run.is_done("train", digest, outputs=["model_index.json"])
    run.write_json("model_index.json", {})
    assert run.is_done("train", digest, outputs=["model_index.json"])
    run.forget("train")
    assert not run.is_done("train", digest)
    assert run.is_done("masks", "other")


def test_a_resumed_run_drops_the_log_after_its_checkpoint(tmp_path):
    run = RunFolder(tmp_path / "new")
    run.forget_log_after(2)
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 1 / step})
    run.forget_log_after(2)
    run.log({"step": 3, "loss": 0.0})
    lines = [json.loads(line) for line in (tmp_path / "new" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["loss"] == 0.0


def test_halves_of_a_killed_process_go_and_nothing_else_does(tmp_path):
    ours, strangers = [".log.ab_12xyz.jsonl", ".pytorch_lora_weights.abcd1234.safetensors"], [".gitignore"]
    strangers += [".git", ".pipeline", ".log.jsonl", "pipeline", ".config.toml", ".DS_Store"]
    (tmp_path / ".pipeline.abcd1234" / "new").mkdir(parents=True)
    for name in (*ours, *strangers):
        (tmp_path / name).touch()
    # What the writers themselves leave when they are killed.
    names = set()
    for name in ("stages.json", "README.md", "pytorch_lora_weights_kohya.safetensors"):
        with atomic_path(tmp_path / name) as temporary:
            names.add(temporary.name)
    with atomic_folder(tmp_path / "pipeline_too") as temporary:
        names.add(temporary.parent.name.replace("pipeline_too", "pipeline"))
    for name in names:
        (tmp_path / name).touch()
    RunFolder(tmp_path).remove_halves()
    left = {path.name for path in tmp_path.iterdir()}
    assert left.isdisjoint({*ours, *names, ".pipeline.abcd1234"})
    assert set(strangers) <= left


def test_half_a_line_of_a_log_is_left_out(tmp_path):
    run = RunFolder(tmp_path)
    run.log({"step": 1})
    # As after a power cut, or on a disk that is full.
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert run.read_log() == [{"step": 1}]
    run.forget_log_after(5)
    run.log({"step": 2})
    assert run.read_log() == [{"step": 1}, {"step": 2}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_says_so(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        RunFolder(tmp_path).log({"step": 1})


def test_folders_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--output_dir .*below: .*/file is a file; a folder is needed"):
        check_writable(tmp_path / "file" / "below")
    check_writable(tmp_path / "new" / "deep")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match=r"not writable \(Permission denied\); .* change its permissions"):
        RunFolder(tmp_path / "new")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that no one can write to")
def test_a_folder_nobody_can_write_to():
    with pytest.raises(
        UserError, match=r"--out /proc/self/new: not writable \(.*\); a folder for the results"
    ):
        check_writable(Path("/proc/self/new"), flag="--out")
