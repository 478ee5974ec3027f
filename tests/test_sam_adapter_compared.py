"""--sam_adapter where a comparison finds the subject: given, or as the masks' record names it."""

import json

import pytest
from comparison_cases import write
from leakage_cases import PROMPTS, SEEDS, arm, photos, place
from wesam_cases import branches_of, stirred

from persam_dreambooth.cli import main
from persam_dreambooth.diffusion.model_folders import TOY_MODEL
from persam_dreambooth.leakage.planning import read_material
from persam_dreambooth.sam.adaptation.adapter_file import base_digest, write_adapter
from persam_dreambooth.sam.adaptation.lora import lora_weights
from persam_dreambooth.sam.loading import load_model
from persam_dreambooth.settings.comparison import Material

TRAINING = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, decoys, pictures of a base and a trained model, and an adapter for the toy SAM."""
    folder = tmp_path_factory.mktemp("adapter")
    for number, (pixels, mask) in enumerate(photos(TRAINING)):
        write(folder / "photos" / f"{number}.png", pixels)
        write(folder / "masks" / f"{number}.png", mask)
    for number in range(3):
        write(folder / "decoys" / f"{number}.png", place(number))
    keys = [(prompt, seed) for prompt in PROMPTS[:2] for seed in SEEDS[:1]]
    for name in ("base", "plain"):
        for picture in arm({key: place(200 + order) for order, key in enumerate(keys)}):
            write(folder / "pictures" / name / f"{picture.prompt}_{picture.seed}.png", picture.pixels)
    digest = base_digest(load_model("toy"))
    weights = lora_weights(stirred(branches_of(load_model("toy")), 0.05).adapters)
    told = {"base": "toy", "base_digest": digest, "input": "sam"}
    write_adapter(folder / "a.safetensors", weights, told)
    return folder


def scored(folder, out, *more):
    """Score the pictures; return the report."""
    words = ["score", "--num_banks", "3", "--features", "ct", "--out", str(out)]
    for flag in ("photos", "masks", "decoys", "pictures"):
        words += [f"--{flag}", str(folder / flag)]
    main([*words, *map(str, more)])
    return json.loads((out / "report.json").read_text())


def found_masks(out):
    """The masks that the finder remembers, by their names, which are digests of model and picture."""
    return {path.name for path in out.rglob("masks/*.png") if "report" not in str(path)}


def test_score_finds_the_subject_with_it(folder, tmp_path):
    adapter = folder / "a.safetensors"
    report = scored(folder, tmp_path / "with", "--sam", "toy", "--sam_adapter", adapter)
    assert report["config"]["mask"]["sam_adapter"] == str(adapter)
    plain = scored(folder, tmp_path / "without", "--sam", "toy")
    assert "sam_adapter" not in plain["config"]["mask"]
    assert found_masks(tmp_path / "with").isdisjoint(found_masks(tmp_path / "without"))


def test_what_found_the_masks_finds_the_subject(folder):
    record = {"sam": "toy", "sam_adapter": str(folder / "a.safetensors"), "photos": {}, "references": []}
    (folder / "masks" / "masks.json").write_text(json.dumps(record))
    material = {"photos": folder / "photos", "masks": folder / "masks"}
    try:
        album, _, sam = read_material(Material(**material))
        assert (sam, album.sam_adapter) == ("toy", folder / "a.safetensors")
        # Another SAM by its flag has no adapter that nobody named.
        album, _, sam = read_material(Material(**material, sam="other"))
        assert (sam, album.sam_adapter) == ("other", None)
    finally:
        (folder / "masks" / "masks.json").unlink()


@pytest.mark.parametrize(
    "words",
    [
        ["score", "--decoys", "decoys", "--pictures", "pictures"],
        [
            "compare",
            "--base",
            "toy",
            "--model",
            f"plain={TOY_MODEL}",
            "--class_noun",
            "cat",
            "--token",
            "sks",
        ],
    ],
)
def test_an_adapter_that_is_none_is_said_before_anything_is_written(
    words, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    words += ["--photos", "photos", "--masks", "masks", "--num_banks", "3", "--features", "ct"]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--out", str(tmp_path / "out"), "--sam_adapter", "none.safetensors"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(
        "error: --sam_adapter none.safetensors: no such file; an adapter"
    )
    assert not (tmp_path / "out").exists()


def test_validate_reads_features_with_it(folder, capsys):
    with pytest.raises(SystemExit):
        main(["validate", "--features", "sam", "--sam_adapter", "none.safetensors"])
    assert "error: --sam_adapter none.safetensors: no such file" in capsys.readouterr().err
