"""`persam-dreambooth score`: pictures from elsewhere, by a manifest or by their names."""

import csv
import json

import pytest
from comparison_cases import write, write_album, write_places
from leakage_cases import PROMPTS, SEEDS, arm, photos, place
from PIL import Image

from persam_dreambooth.cli import main
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.manifest import read_arms, read_entries

TRAINING = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of one place, decoys, and pictures of two models, of which one draws the photos' place."""
    folder = tmp_path_factory.mktemp("score")
    for number, (pixels, mask) in enumerate(photos(TRAINING)):
        write(folder / "photos" / f"{number}.png", pixels)
        write(folder / "masks" / f"{number}.png", mask)
    for number in range(5):
        write(folder / "decoys" / f"{number}.png", place(number))
    keys = [(prompt, seed) for prompt in PROMPTS for seed in SEEDS]
    for name, leaks in (("base", 0), ("plain", 6), ("masked", 0)):
        shown = {
            key: place(TRAINING, 60 + order) if order < leaks else place(200 + order // 2, order)
            for order, key in enumerate(keys)
        }
        for picture in arm(shown):
            write(folder / "pictures" / name / f"{picture.prompt}_{picture.seed}.png", picture.pixels)
    return folder


def command(folder, out, *more):
    flags = ["--photos", "photos", "--masks", "masks", "--decoys", "decoys"]
    flags = [flag if flag.startswith("--") else str(folder / flag) for flag in flags]
    flags += ["--sam", "toy", "--num_banks", "5", "--features", "ct", "--out", str(out)]
    return ["score", *flags, *map(str, more)]


def test_a_planted_leak_is_found_without_any_diffusion_model(folder, tmp_path, capsys):
    main([*command(folder, tmp_path), "--pictures", str(folder / "pictures"), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert list(result["arms"]) == ["base", "masked", "plain"]
    assert result["arms"]["plain"]["excess"]["mean"] > 0.3
    assert abs(result["arms"]["masked"]["excess"]["mean"]) < 0.01
    (found,) = result["differences"]
    assert (found["arm"], found["minus"]) == ("masked", "plain")
    assert found["excess"]["mean"] == pytest.approx(-result["arms"]["plain"]["excess"]["mean"])
    assert result["config"]["decoys"]["source"] == f"5 pictures in {folder / 'decoys'}"
    assert result["inputs"]["base"] is None
    assert any("nobody here drew these pictures" in warning for warning in result["warnings"])
    assert (tmp_path / "report.html").is_file()


def listed(folder, arms=("base", "plain")):
    """The records of a manifest beside the pictures."""
    return [
        {"arm": name, "file": f"{name}/{prompt}_{seed}.png", "prompt": prompt, "seed": seed}
        for name in arms
        for prompt in PROMPTS
        for seed in SEEDS
    ]


@pytest.mark.parametrize("kind", ["csv", "json", "nested json"])
def test_a_manifest_says_what_names_say(folder, tmp_path, kind):
    records = listed(folder)
    path = folder / "pictures" / f"manifest.{kind.rpartition(' ')[2]}"
    if kind == "csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, [*records[0], "step"])
            writer.writeheader()
            writer.writerows(records)
    else:
        path.write_text(json.dumps(records if kind == "json" else {"pictures": records}))
    told = read_entries(tmp_path, path)
    path.unlink()
    named = [entry for entry in read_entries(folder / "pictures", None) if entry.arm != "masked"]
    assert sorted(told, key=str) == sorted(named, key=str)
    assert {(entry.family, entry.step) for entry in told} == {("recontext", None)}


def test_families_have_folders_and_generate_its_own_record(tmp_path):
    write_places(tmp_path / "plain", count=1)
    (tmp_path / "plain" / "00.png").rename(tmp_path / "plain" / "a cat_in_snow_3.png")
    write_places(tmp_path / "plain" / "bare", count=1)
    (tmp_path / "plain" / "bare" / "00.png").rename(tmp_path / "plain" / "bare" / "a cat_0.png")
    write_places(tmp_path / "drawn", count=1)
    record = {"images": [{"prompt": "a cat", "seed": 7, "file": "00.png"}]}
    (tmp_path / "drawn" / "prompts.json").write_text(json.dumps(record))
    found = {(entry.arm, entry.prompt, entry.seed, entry.family) for entry in read_entries(tmp_path, None)}
    assert found == {
        ("plain", "a cat_in_snow", 3, "recontext"),
        ("plain", "a cat", 0, "bare"),
        ("drawn", "a cat", 7, "recontext"),
    }


def test_the_base_comes_first_whatever_the_order(folder):
    entries = read_entries(folder / "pictures", None)
    assert next(iter(read_arms(reversed(entries)))) == "base"


def test_pictures_of_another_size_are_refused(tmp_path):
    for name, side in (("base", 32), ("plain", 48)):
        write(tmp_path / name / "a cat_0.png", place(1, side=side))
    with pytest.raises(UserError, match="48 x 48 pixels, where base has 32 x 32 for the same prompt"):
        read_arms(read_entries(tmp_path, None))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"^--manifest .*m.json: no such file; CSV or JSON with arm, file, prompt, seed is needed"),
        ("[", r"m.json: no valid JSON"),
        ("{}", r"^--manifest .*: no list of records"),
        ("[]", r"^--manifest .*: no pictures in it"),
        (
            '[{"arm": "a", "file": "b", "promt": "c", "seed": 1}]',
            r"picture 1: no prompt; .*Did you mean prompt",
        ),
        ('[{"arm": "a", "file": "b", "prompt": "c", "seed": "x"}]', "picture 1: seed 'x'; a whole number"),
        (
            '[{"arm": "a", "file": "b", "prompt": "c", "seed": 1, "family": "clas"}]',
            "picture 1: family 'clas'; one of recontext, bare, class, none is needed. Did you mean class",
        ),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, text, said):
    path = tmp_path / "m.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_entries(tmp_path, path)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match=r"^--pictures .*nowhere: no such folder"):
        read_entries(tmp_path / "nowhere", None)
    with pytest.raises(UserError, match=r"no folders in it; a folder of pictures for each model is needed"):
        read_entries(tmp_path, None)
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError, match=r"plain: no photos in this folder"):
        read_entries(tmp_path, None)
    Image.new("RGB", (16, 16)).save(tmp_path / "plain" / "cat.png")
    with pytest.raises(UserError, match=r"cat.png: its name is not `prompt_seed.png`"):
        read_entries(tmp_path, None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--pictures: not given, nor --manifest; one of the two is needed"),
        (("--pictures", "{0}/decoys", "--manifest", "m.csv"), "given together with --manifest m.csv; one of"),
        (("--pictures", "{0}/decoys"), "no folders in it"),
        (("--pictures", "{0}/decoys", "--device", "gpu"), "--device gpu: cannot be used"),
        (("--features", "dift"), "--features dift: read from a base model, which this command does not load"),
        (("--pictures", "{0}/pictures", "--num_banks", "6"), "5 pictures; 6 banks need at least one each"),
    ],
)
def test_what_score_refuses(folder, tmp_path, capsys, more, said, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(SystemExit) as stopped:
        main([*command(folder, tmp_path / "out"), *(word.format(folder) for word in more)])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_score_needs_decoys(folder, tmp_path, capsys):
    write_album(tmp_path)
    with pytest.raises(SystemExit):
        main(["score", "--photos", str(tmp_path / "photos"), "--masks", str(tmp_path / "masks")])
    assert "--decoys: not given; a folder with pictures of other places" in capsys.readouterr().err


def test_arms_must_be_paired_and_one_must_be_trained(folder, tmp_path, capsys):
    write(tmp_path / "pictures" / "base" / "a cat_0.png", place(1))
    with pytest.raises(SystemExit):
        main([*command(folder, tmp_path / "out"), "--pictures", str(tmp_path / "pictures")])
    assert "only `base` in it; pictures of a trained model are needed too" in capsys.readouterr().err
    write(tmp_path / "pictures" / "plain" / "a cat_1.png", place(1))
    with pytest.raises(SystemExit):
        main([*command(folder, tmp_path / "out"), "--pictures", str(tmp_path / "pictures")])
    assert "no picture of 'a cat' with seed" in capsys.readouterr().err
