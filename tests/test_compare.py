"""`persam-dreambooth compare` from end to end on small random models: what it writes, resumes and refuses."""

import json

import numpy as np
import pytest
from comparison_cases import (
    SIZE,
    other_folder,
    write,
    write_album,
    write_lora,
    write_places,
    write_run,
    write_sam,
)
from tiny_pipelines import tiny_folder

from persam_dreambooth.cli import main
from persam_dreambooth.leakage.report import JSON_FILE

PROMPTS = "a photo of sks cat on the beach | the beach\nsks cat in snow | snow\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    write_album(folder)
    write_places(folder / "decoys")
    write_run(folder / "full", steps=(1,))
    write_lora(folder / "lora")
    (folder / "prompts.txt").write_text(PROMPTS)
    write_sam(folder / "sam")
    return folder


def arguments(place, out, **changes):
    """The command line; a flag of None is left out."""
    flags = {
        "photos": place / "photos",
        "masks": place / "masks",
        "base": tiny_folder(),
        "class_noun": "cat",
        "token": "sks",
        "preset": "quick",
        "prompts": place / "prompts.txt",
        "decoys": place / "decoys",
        "num_banks": 4,
        "features": "ct",
        "sam": place / "sam",
        "scene_judge": "none",
        "num_inference_steps": 2,
        "guidance_scale": 1,
        "out": out,
        **changes,
    }
    given = [(f"--{name}", str(value)) for name, value in flags.items() if value is not None]
    return ["compare", *(word for pair in given for word in pair), "--no_validate"]


MODELS = "--model plain={0}/full --model masked={0}/lora"


def models(place):
    return MODELS.format(place).split()


@pytest.fixture(scope="module")
def compared(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "new"
    main([*arguments(place, out), *models(place), "--checkpoints"])
    return out, json.loads((out / JSON_FILE).read_text())


def test_every_arm_has_all_families_and_the_runs_their_checkpoints(compared):
    out, result = compared
    assert result["schema"] == "persam-dreambooth-comparison/2"
    rows = result["rows"]
    counts = {
        (arm, family): sum((row["arm"], row["family"], row["step"]) == (arm, family, None) for row in rows)
        for arm in ("base", "plain", "masked")
        for family in ("recontext", "bare", "class", "none")
    }
    assert set(counts.values()) == {4}
    assert {(row["arm"], row["step"]) for row in rows if row["step"]} == {("plain", 1)}
    assert {(point["arm"], point["step"]) for point in result["pareto"]} >= {("plain", 1), ("plain", None)}
    assert all((out / row["picture"]).is_file() for row in rows)
    assert (out / "report.html").read_text().startswith("<!doctype html>")


def test_the_report_says_where_everything_came_from(compared, place):
    out, result = compared
    config, inputs = result["config"], result["inputs"]
    assert config["preset"] == "quick"
    assert config["asked_of_base"]["a photo of sks cat on the beach"] == "a photo of a cat on the beach"
    assert config["sampler"]["name"] == "PNDMScheduler"
    assert config["sampler"]["size"] == [32, 32]
    with np.load(out / "noise.npz") as noise:
        assert set(noise.files) == set(config["sampler"]["noise"]) == {"0", "1"}
    assert config["decoys"]["source"] == f"4 pictures in {place / 'decoys'}"
    assert config["decoys"]["k"] == 4
    assert inputs["base"]["folder"] == str(tiny_folder())
    assert inputs["models"]["masked"]["folder"] == str(place / "lora")
    assert len({inputs["base"]["digest"], *(model["digest"] for model in inputs["models"].values())}) == 3
    assert result["training"]["plain"]["losses"] == [[1, 0.5]]
    assert len(inputs["photos"]) == 3
    assert inputs["photos"][0]["mask_source"] == "given"


def test_what_is_there_is_not_made_again(compared, place, capsys):
    out, result = compared
    made = [path for name in ("pictures", "kept") for path in (out / name).rglob("*.png")]
    times = {path: path.stat().st_mtime_ns for path in made}
    main([*arguments(place, out), *models(place), "--checkpoints", "--json"])
    again = json.loads(capsys.readouterr().out)
    assert {path: path.stat().st_mtime_ns for path in made} == times
    assert again["rows"] == result["rows"]
    assert again["arms"] == result["arms"]


def test_base_pictures_serve_later_models(compared, place, tmp_path, capsys):
    out, _ = compared
    before = sorted((out / "pictures" / "base").iterdir())
    later = [*arguments(place, tmp_path), "--model", f"later={place / 'full' / 'checkpoint-1'}"]
    main([*later, "--base_pictures", str(out / "pictures" / "base")])
    assert sorted((out / "pictures" / "base").iterdir()) == before
    assert not (tmp_path / "pictures" / "base").exists()
    table = capsys.readouterr().out
    assert table.splitlines()[1].startswith("base ")
    assert table.rstrip().endswith(f"report: {tmp_path / 'report.html'}")
    # One model alone: nothing to compare it with but the base.
    assert json.loads((tmp_path / JSON_FILE).read_text())["differences"] == []


def test_sdxl_is_drawn_and_measured_too(place, tmp_path):
    run = write_lora(tmp_path / "run", "sdxl")
    out = tmp_path / "out"
    main([*arguments(place, out, base=tiny_folder("sdxl")), "--model", f"one={run}"])
    result = json.loads((out / JSON_FILE).read_text())
    assert result["config"]["sampler"]["name"] == "EulerDiscreteScheduler"
    assert result["arms"]["one"]["num_pictures"] == 4


def refusal(capsys, argv):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"photos": "nowhere"}, "nowhere: no such folder"),
        ({"masks": "nowhere"}, "--masks nowhere: no such folder; a folder with a mask for each photo"),
        ({"base": "./nowhere"}, "--base ./nowhere: no such folder"),
        ({"prompts": "nowhere"}, "--prompts nowhere: no such file"),
        ({"num_banks": 5}, "4 pictures; 5 banks need at least one each"),
        (
            {"num_banks": 60, "decoys": None},
            "--num_banks 60: more than the 19 places that are drawn as decoys",
        ),
        ({"token": "zwx"}, "does not hold --token zwx"),
        ({"token": " "}, "--token: empty; a word is needed"),
        ({"minus": "other"}, "--minus other: no model has this name; one of plain, masked is needed"),
        ({"scene_judge": "clip"}, "--scene_judge clip: out of range; classifier, none or clip:MODEL"),
        ({"features": "cd"}, "--features cd: there are no such features"),
        ({"sam": "./nowhere"}, "--sam ./nowhere: no such folder"),
        ({"batch_size": 0}, "--batch_size 0: out of range"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(place, tmp_path, capsys, changes, said):
    out = tmp_path / "out"
    assert said in refusal(capsys, [*arguments(place, out, **changes), *models(place)])
    assert not out.exists()


def test_a_place_that_cannot_be_written_to(place, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("")
    line = refusal(capsys, [*arguments(place, path / "out"), *models(place)])
    assert f"--out {path / 'out'}: {path} is a file" in line


def test_models_of_other_bases_are_refused_before_anything_is_drawn(place, tmp_path, capsys):
    folder = other_folder(tmp_path / "other", sample_size=8)
    out = tmp_path / "out"
    line = refusal(capsys, [*arguments(place, out), "--model", f"one={folder}"])
    assert "draws pictures of another size" in line
    assert not out.exists()


def test_masks_that_are_missing_are_named(place, tmp_path, capsys):
    folder = write_album(tmp_path)
    (folder / "masks" / "01.png").unlink()
    (folder / "masks" / "02.png").unlink()
    argv = [*arguments(folder, tmp_path / "out", prompts=None, decoys=None), *models(place)]
    assert "no mask for 01.png, 02.png; every photo needs one" in refusal(capsys, argv)


def test_one_photo_is_too_few_unless_others_are_held_out(place, tmp_path, capsys):
    folder = write_album(tmp_path, count=1)
    argv = [
        *arguments(place, tmp_path / "out", photos=folder / "photos", masks=folder / "masks"),
        *models(place),
    ]
    assert "1 of the photos with a mask; at least 2 needed" in refusal(capsys, argv)
    argv += ["--held_out", str(folder / "photos")]
    assert f"--held_out {folder / 'photos'}: no mask for 00.png" in refusal(capsys, argv)


def test_a_subject_that_fills_every_photo(place, tmp_path, capsys):
    folder = write_album(tmp_path)
    full = np.full(SIZE, 255, np.uint8)
    full[0, 0] = 0
    for path in (folder / "masks").iterdir():
        write(path, full)
    argv = arguments(place, tmp_path / "out", photos=folder / "photos", masks=folder / "masks")
    assert "the subject fills every photo" in refusal(capsys, [*argv, *models(place)])
