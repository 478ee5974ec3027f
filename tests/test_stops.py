"""A run that is stopped, by a signal, a full disk or numbers that are none: one line, and nothing is lost."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from run_server import run_server
from tiny_runs import arguments, build_models, leftovers, refusal, same_weights, steps_logged

from persam_dreambooth.diffusion.checkpoint_files import latest, list_checkpoints, read_record
from train_dreambooth import main


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return build_models(tmp_path_factory.mktemp("models"), "sd", masks=3)


@pytest.fixture(scope="module")
def straight(models, tmp_path_factory):
    """Runs without a stop, by their flags, each made once."""
    made = {}

    def run(*flags: str) -> Path:
        if flags not in made:
            made[flags] = tmp_path_factory.mktemp("straight")
            main(arguments(models, made[flags], *flags))
        return made[flags]

    return run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_so(models, straight, tmp_path, number, code):
    stopped, said = tmp_path / "stopped", tmp_path / "said.txt"
    flags = ("--max_train_steps=12", "--use_lora", "--train_text_encoder")
    run = run_server().start(arguments(models, stopped, *flags), said)
    while not run.is_over(0.002) and not (stopped / "log.jsonl").exists():
        pass
    os.kill(run.pid, number)
    assert run.wait() == code, said.read_text()
    (checkpoint,) = list_checkpoints(stopped)
    assert checkpoint.name == f"checkpoint-{steps_logged(stopped)[-1]}"
    text = said.read_text()
    assert f"{number.name}: saving after this step; once more stops at once" in text
    assert f"stopped by {number.name}: {checkpoint} is saved. Run the same command again" in text
    assert "Traceback" not in text
    main(arguments(models, stopped, *flags))
    assert same_weights(straight(*flags), stopped)
    assert steps_logged(stopped) == list(range(1, 13))


def test_a_full_disk_is_told_in_one_line_and_the_last_checkpoint_is_whole(models, straight, tmp_path):
    full, said = tmp_path / "full", tmp_path / "said.txt"
    main(arguments(models, full, "--max_train_steps=2", "--checkpointing_steps=2"))
    whole = latest(full)
    size = (whole / "optimizer.pt").stat().st_size
    argv = arguments(models, full, "--checkpointing_steps=2")
    assert run_server().run(argv, said, file_bytes=size - 1000) == 2, said.read_text()
    (line,) = [line for line in said.read_text().splitlines() if line.startswith("error: ")]
    assert f"{full}: no room to write checkpoint-4 (" in line
    assert line.endswith(
        "checkpoint-2 is whole. Make room, or set --checkpoints_total_limit, and run the same command again."
    )
    assert "Traceback" not in said.read_text()
    assert list_checkpoints(full) == [whole]
    assert read_record(whole)["step"] == 2
    assert leftovers(full) == []
    main(arguments(models, full))
    assert same_weights(straight(), full)


def test_a_disk_that_cannot_hold_the_result_keeps_the_checkpoint(models, straight, tmp_path):
    full, said = tmp_path / "full", tmp_path / "said.txt"
    size = (straight("--use_lora") / "pytorch_lora_weights.safetensors").stat().st_size
    flags = ("--use_lora", "--checkpointing_steps=2")
    # The adapters' optimizer state and the log are smaller than the file with its metadata.
    code = run_server().run(arguments(models, full, *flags), said, file_bytes=size - 100)
    assert code == 2, said.read_text()
    assert "error: " in said.read_text()
    assert "Traceback" not in said.read_text()
    main(arguments(models, full, *flags))
    assert same_weights(straight("--use_lora"), full)


def test_the_room_for_checkpoints_is_looked_at_before_the_first_step(models, tmp_path, capsys, monkeypatch):
    out, argv = tmp_path / "out", arguments(models, tmp_path / "out", "--checkpointing_steps=1")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    text = r"--output_dir .*out: 1\.0 MiB are free there; a checkpoint takes 2\.3 MiB\. Make room, or name"
    assert re.search(text, refusal(capsys, argv))
    assert not (out / "log.jsonl").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5 * 2**20))
    main(argv)
    said = capsys.readouterr().out
    assert "note: --output_dir " in said
    assert "all of 4 checkpoints takes 9.2 MiB. " in said
    assert "--checkpoints_total_limit keeps fewer." in said


def test_a_full_disk_before_the_training_is_told_too(models, tmp_path):
    out, said = tmp_path / "out", tmp_path / "said.txt"
    assert run_server().run(arguments(models, out), said, file_bytes=1000) == 2, said.read_text()
    (line,) = [line for line in said.read_text().splitlines() if line.startswith("error: ")]
    assert f"{out}: no room to write results; " in line
    assert line.endswith("What is finished is kept. Make room.")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs to know its own memory")
def test_out_of_memory_is_told_with_what_would_help(models, tmp_path):
    out, said = tmp_path / "out", tmp_path / "said.txt"
    flags = ("--resolution=256", "--train_batch_size=128")
    code = run_server().run(arguments(models, out, *flags), said, more_bytes=600 * 2**20)
    assert code == 2, said.read_text()
    (line,) = [line for line in said.read_text().splitlines() if line.startswith("error: ")]
    assert "step 1: out of memory (" in line
    assert "--gradient_checkpointing (" in line
    assert "Traceback" not in said.read_text()


def test_numbers_that_are_none_stop_the_run_and_the_steps_before_are_saved(models, tmp_path, capsys):
    for name, flags in (("each", ["--checkpointing_steps=1"]), ("none", [])):
        out = tmp_path / name
        line = refusal(capsys, arguments(models, out, "--learning_rate=1e30", *flags))
        assert "step 2: the loss is " in line
        assert "(photos 0" in line
        assert "The last checkpoint is kept; try a lower --learning_rate than 1e+30" in line
        assert ("What was trained before that is saved in checkpoint-1." in line) == (not flags)
        assert steps_logged(out) == [1]
        (path,) = list_checkpoints(out)
        assert read_record(path)["step"] == 1
        assert not (out / "model_index.json").exists()


def test_weights_that_cannot_be_saved_do_not_hide_why_the_run_stopped(models, tmp_path, capsys):
    # After one step with this rate the weights are no numbers: they are not saved.
    line = refusal(capsys, arguments(models, tmp_path / "out", "--learning_rate=1e39"))
    assert "step 2: the loss is nan" in line
    assert "saved in" not in line
    assert list_checkpoints(tmp_path / "out") == []
