"""Runs that are cut off, repeated, prolonged or given other settings; pictures between the steps."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_runs import arguments, build_models, contents, pictures, refusal, same_weights, steps_logged

from persam_dreambooth.dreambooth.validation import is_due
from persam_dreambooth.settings import ValidationConfig
from train_dreambooth import main


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return build_models(tmp_path_factory.mktemp("models"), "sd", masks=3)


def test_a_run_that_is_cut_off_goes_on_to_the_same_weights(models, tmp_path, capsys):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    main(arguments(models, straight, "--use_persam"))
    main(arguments(models, resumed, "--use_persam", "--max_train_steps=3", "--checkpointing_steps=2"))
    # Longer now: on from the last checkpoint, one step before the end.
    main(arguments(models, resumed, "--use_persam"))
    assert f"going on from {resumed / 'checkpoint-2'}" in capsys.readouterr().out
    assert steps_logged(resumed) == [1, 2, 3, 4]
    assert same_weights(straight, resumed)


def test_a_checkpoint_is_named_or_the_latest_is_taken(models, tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    main(arguments(models, out, "--checkpointing_steps=1", "--resume_from_checkpoint=latest"))
    assert f"--resume_from_checkpoint latest: none in {out} so far; from step 0" in capsys.readouterr().out
    for name, where in (("checkpoint-1", out), (str(out / "checkpoint-3"), other)):
        shutil.rmtree(where / "unet", ignore_errors=True)
        main(arguments(models, where, f"--resume_from_checkpoint={name}"))
        assert f"going on from {out / Path(name).name}" in capsys.readouterr().out
    assert same_weights(out, other)


def test_other_settings_start_anew_and_a_named_checkpoint_is_refused(models, tmp_path, capsys):
    out = tmp_path / "out"
    main(arguments(models, out, "--checkpointing_steps=2"))
    main(arguments(models, out, "--learning_rate=1e-4"))
    assert "going on" not in capsys.readouterr().out
    assert steps_logged(out) == [1, 2, 3, 4]
    latest = ("--learning_rate=2e-4", "--resume_from_checkpoint=latest")
    line = refusal(capsys, arguments(models, out, *latest))
    assert "checkpoint-4: --learning_rate was 0.001 there and is 0.0002 now" in line
    line = refusal(capsys, arguments(models, out, "--seed=3", "--resume_from_checkpoint=x"))
    assert (
        "--resume_from_checkpoint x: no such checkpoint; latest or one of checkpoint-2, checkpoint-4" in line
    )


def test_a_damaged_checkpoint_is_passed_over_with_a_word(models, tmp_path, capsys):
    straight, out = tmp_path / "straight", tmp_path / "out"
    main(arguments(models, straight))
    main(arguments(models, out, "--max_train_steps=3", "--checkpointing_steps=1"))
    (out / "checkpoint-3" / "optimizer.pt").write_bytes(b"cut off")
    main(arguments(models, out))
    said = capsys.readouterr().out
    assert "passed over: " in said
    assert "checkpoint-3/optimizer.pt: 7 of " in said
    assert f"going on from {out / 'checkpoint-2'}" in said
    assert same_weights(straight, out)


def test_pictures_between_the_steps_change_nothing(models, tmp_path):
    plain, drawn = tmp_path / "plain", tmp_path / "drawn"
    flags = (
        "--use_lora",
        "--lora_dropout=0.5",
        "--train_text_encoder",
        "--background=random",
        "--use_persam",
    )
    main(arguments(models, plain, *flags, "--skip_final_inference", *pictures("--validation_steps=0")))
    assert not (plain / "samples").exists()
    final = ("--final_validation_prompt=a photo of sks cat in snow", "--checkpointing_steps=2")
    main(arguments(models, drawn, *flags, *pictures("--validation_steps=1"), *final))
    assert same_weights(plain, drawn)
    folders = sorted((drawn / "validation").iterdir())
    assert [folder.name for folder in folders] == ["step-000001", "step-000002", "step-000003"]
    assert all((folder / "grid.png").is_file() for folder in folders)
    first, last = ((folder / "00_0.png").read_bytes() for folder in (folders[0], folders[-1]))
    assert first != last
    record = json.loads((drawn / "samples" / "prompts.json").read_text())
    assert [image["prompt"] for image in record["images"]] == ["a photo of sks cat in snow"] * 2
    # Gone on from step 2: the later pictures are drawn anew, and they are the same.
    before = contents(folders[1])
    shutil.rmtree(folders[0])
    (drawn / "pytorch_lora_weights.safetensors").unlink()
    main(
        arguments(
            models, drawn, *flags, *pictures("--validation_steps=1"), "--resume_from_checkpoint=checkpoint-2"
        )
    )
    assert (folders[-1] / "00_0.png").read_bytes() == last
    assert contents(folders[1]) == before
    assert not folders[0].exists()


def test_when_pictures_are_due():
    by_steps = ValidationConfig(validation_prompt="a", validation_steps=3)
    assert [step for step in range(1, 10) if is_due(step, by_steps, 5, 2)] == [3, 6, 9]
    # Two passes over 5 photos, 2 in a step: 5 steps.
    by_passes = ValidationConfig(validation_prompt="a", validation_epochs=2)
    assert [step for step in range(1, 12) if is_due(step, by_passes, 5, 2)] == [5, 10]
    both = ValidationConfig(validation_prompt="a", validation_steps=3, validation_epochs=2)
    assert [step for step in range(1, 10) if is_due(step, both, 5, 2)] == [3, 5, 6, 9]
    never = ValidationConfig(validation_prompt="a", validation_steps=0)
    assert not any(is_due(step, never, 5, 2) for step in range(1, 10))
    assert not is_due(3, ValidationConfig(validation_steps=3), 5, 2)


def test_a_reader_a_year_later_finds_what_it_was_made_with(models, tmp_path):
    out = tmp_path / "out"
    main(arguments(models, out, "--use_persam", "--max_train_steps=1"))
    record = json.loads((out / "environment.json").read_text())
    assert record["packages"]["torch"] == torch.__version__
    assert record["machine"]["device"] == "cpu"
    inputs = record["inputs"]
    assert set(inputs["model_weights"]) == {"unet", "vae", "text_encoder"}
    assert set(inputs["photos"]) == {"00.png", "01.png", "02.png"}
    assert set(inputs["masks"]) == {"00", "01", "02"}
    assert all(
        len(digest) == 64 for digest in (*inputs["model_weights"].values(), *inputs["photos"].values())
    )
    assert "learning_rate: 0.001" in (out / "config.yaml").read_text()
