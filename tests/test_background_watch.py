"""The background measured beside a training: what is logged and said, and that the training is the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from background_cases import places
from PIL import Image
from tiny_runs import arguments, build_models, refusal, same_weights, steps_logged

from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.background_advantage import Advantage
from persam_dreambooth.diffusion.background_influence import Influence
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.dreambooth import decoys
from persam_dreambooth.dreambooth.background_watch import (
    BackgroundWatch,
    advantage_text,
    influence_text,
    logged,
)
from persam_dreambooth.run import RunFolder
from train_dreambooth import main

KEYS = set(logged(Advantage(0, 0, 0, 1, 3, 0, 0)))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = build_models(tmp_path_factory.mktemp("models"), "sd", masks=3)
    (folder / "places").mkdir()
    for number, pixels in enumerate(places(3)):
        Image.fromarray(pixels).save(folder / "places" / f"{number}.png")
    (folder / "masks").mkdir()
    for path in (folder / "album").glob("*.mask.png"):
        shutil.copy(path, folder / "masks" / path.name.replace(".mask", ""))
    return folder


def flags(models: Path, *more: str, every: int = 2) -> list[str]:
    folder = str(models / "places")
    return ["--background_advantage_steps", str(every), "--background_decoys", folder, *more]


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_training_is_the_same_with_it_and_without_and_after_a_stop(models, tmp_path, capsys):
    plain, measured, resumed = (tmp_path / name for name in ("plain", "measured", "resumed"))
    ways = ("--use_persam", "--use_lora", "--lora_dropout=0.5", "--train_text_encoder", "--background=random")
    main(arguments(models, plain, *ways))
    capsys.readouterr()
    main(arguments(models, measured, *ways, *flags(models)))
    said = capsys.readouterr().out
    assert same_weights(plain, measured)
    assert "Background influence on the update: 0, to the bit. Every 2 steps the background learning" in said
    assert "advantage of 3 photos over 3 other places goes into the log." in said
    assert "background learning advantage " in said.split("goes into the log")[1]
    record = json.loads((measured / "background.json").read_text())
    assert record["background_influence"] == 0
    assert (len(record["photos"]), len(record["decoys"]), record["masks"]) == (3, 3, "of the training")
    assert steps_logged(measured) == [1, 2, 3, 4]
    lines = log(measured)
    assert [set(line) >= KEYS for line in lines] == [False, True, False, True]
    assert all(1 <= line["background_advantage_rank"] <= 4 for line in lines[1::2])
    assert lines[1]["background_gain"] != lines[3]["background_gain"] != 0

    # Cut off after step 3, with other measures: gone on from step 2, held against the untrained model.
    short = ("--max_train_steps=3", "--checkpointing_steps=2")
    main(arguments(models, resumed, *ways, *flags(models, *short, every=1)))
    main(arguments(models, resumed, *ways, *flags(models)))
    assert f"going on from {resumed / 'checkpoint-2'}" in capsys.readouterr().out
    assert same_weights(plain, resumed)
    assert {key: log(resumed)[3][key] for key in KEYS} == {key: lines[3][key] for key in KEYS}


def test_a_run_without_masks_is_measured_by_masks_given_for_it(models, tmp_path, capsys):
    plain, measured = tmp_path / "plain", tmp_path / "measured"
    main(arguments(models, plain))
    folder = tmp_path / "masks"
    shutil.copytree(models / "masks", folder)
    (folder / "02.png").unlink()
    main(arguments(models, measured, *flags(models, "--measure_masks", str(folder), every=3)))
    said = capsys.readouterr().out
    assert "Masked loss: off." in said
    assert "with other backgrounds the gradient changes by " in said
    assert same_weights(plain, measured)
    assert [set(line) >= KEYS for line in log(measured)] == [False, False, True, True]
    record = json.loads((measured / "background.json").read_text())
    assert record["background_influence"] > 0
    assert record["photos"] == ["00.png", "01.png"]
    assert record["masks"] == "measure_masks"


def test_places_are_drawn_once_by_the_untrained_model(models, tmp_path, monkeypatch):
    # The tiny model reads no longer prompts.
    monkeypatch.setattr(decoys, "PLACES", ("a beach", "snow"))
    config = parse(arguments(models, tmp_path, "--num_inference_steps=1"))
    diffusion, run = load_models(str(models / "sd")), RunFolder(tmp_path)

    def found(count: int) -> list[np.ndarray]:
        return decoys.find_decoys(diffusion, config, run, device="cpu", count=count)

    three = found(3)
    assert sorted(path.name for path in (tmp_path / "decoys").glob("*.png")) == [
        *("00000.png", "00001.png", "00002.png"),
    ]
    # The third is the first place again, from other noise.
    assert not (three[0] == three[2]).all()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "decoys").iterdir()}
    assert all((one == other).all() for one, other in zip(found(3), three, strict=True))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "decoys").iterdir()} == written
    assert (found(4)[0] == three[0]).all()
    # Drawn by another model, they are drawn anew.
    run.write_json("decoys/decoys.json", {"drawn_with": "another"})
    first = written[tmp_path / "decoys" / "00000.png"]
    assert (found(2)[1] == three[1]).all()
    assert (tmp_path / "decoys" / "00000.png").stat().st_mtime_ns > first


def test_bad_input_has_its_line_and_leaves_nothing(models, tmp_path, capsys):
    out = tmp_path / "out"

    def line(*more: str) -> str:
        text = refusal(capsys, arguments(models, out, *more))
        assert not out.exists()
        return text

    assert "--background_advantage_steps -1: out of range; at least 0 is needed." in line(
        "--background_advantage_steps=-1"
    )
    assert "--background_advantage_steps 5: there are no masks; it needs them to know what is" in line(
        "--background_advantage_steps=5"
    )
    assert "--measure_masks x: given without --background_advantage_steps, which it needs." in line(
        "--measure_masks=x"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"--measure_masks {empty}: no mask of any photo, such as 00.png; at least one is needed." in line(
        *flags(models, f"--measure_masks={empty}")
    )
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(empty / "00.png")
    assert f"--measure_masks {empty / '00.png'}: " in line(*flags(models, f"--measure_masks={empty}"))
    one = tmp_path / "one"
    one.mkdir()
    Image.fromarray(places(1)[0]).save(one / "a.png")
    assert f"--background_decoys {one}: 1 picture; at least 2 of other places are needed" in line(
        "--use_persam", "--background_advantage_steps=2", f"--background_decoys={one}"
    )
    assert "no such folder" in line("--use_persam", "--background_decoys=nowhere")


def test_when_it_is_due():
    watch = BackgroundWatch(scene=None, every=4)
    assert [step for step in range(1, 11) if watch.is_due(step, 10)] == [4, 8, 10]


def test_in_words():
    found = Advantage(0.398, -0.177, 0.115, 1, 20, 0.25, 0.192)
    assert advantage_text(found) == (
        "background learning advantage +0.398 (other places -0.177 to +0.115; rank 1 of 20): the error "
        "changed by -25.0% on the photos' backgrounds, by -19.2% on the subject"
    )
    assert influence_text(Influence({62: 0.0, 187: 0.0})) == (
        "Background influence on the update: 0, to the bit."
    )
    assert influence_text(Influence({62: 0.5, 187: 0.1})) == (
        "Background influence on the update: with other backgrounds the gradient changes by 30% "
        "(10% to 50% over the noise levels)."
    )
