"""What a run says of itself at the end: facts without secrets or places, the card, what is uploaded."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import yaml
from huggingface_hub import constants
from PIL import Image
from safetensors import safe_open
from tiny_hub import hub_at_home
from tiny_pipelines import tiny_folder

from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.adapters import LORA_FILE, add_lora, save_lora
from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.lora_targets import UNET_LAYERS
from persam_dreambooth.diffusion.models import load_models, save_pipeline
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.provenance import architecture
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.dreambooth import results
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.record import subject_mask

PROMPT = "a photo of sks cat"


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A base model in a folder of the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_folder(), tmp_path / "base")
    return "base"


def masks():
    half = np.zeros((4, 4), bool)
    half[:2] = True
    return {"00": subject_mask("00", half, "given"), "01": subject_mask("01", half[:, :2], "edited")}


def finished(base, tmp_path, *flags, use_lora=True, pictures=True):
    """A run's folder as it is at the end, and all that results takes."""
    arguments = ["--pretrained_model_name_or_path", base, "--output_dir", "runs/sks-cat", *flags]
    config = parse([*arguments, *(["--use_lora"] if use_lora else [])])
    models = load_models(base)
    provenance = results.provenance_of(
        config, models, [PROMPT, PROMPT], masks(), num_class_images=3, resolution=32, steps=7, summary="Seen."
    )
    folder = tmp_path / "runs/sks-cat"
    if use_lora:
        add_lora(models.unet, rank=2, target_modules=UNET_LAYERS, seed=0, name="unet")
        result = save_lora(Networks(models.unet, (), models.family), folder, provenance)
    else:
        result = folder
        save_pipeline(models, result, skip_text_encoder=config.results.skip_save_text_encoder)
    if pictures:
        (folder / "samples").mkdir()
        record = {"images": [{"prompt": PROMPT, "seed": 0, "file": "00_0.png"}]}
        (folder / "samples/prompts.json").write_text(json.dumps(record))
        for name in ("00_0.png", "grid.png"):
            Image.new("RGB", (8, 8)).save(folder / "samples" / name)
    return config, models, provenance, result


def test_facts_are_those_of_the_run(base, tmp_path):
    _, _, provenance, _ = finished(base, tmp_path, "--identifier", "sks", "--learning_rate", "3e-4")
    assert provenance.name == "sks-cat"
    assert provenance.base_model == "base"
    assert provenance.architecture == "sd1"
    assert provenance.prediction_type == "epsilon"
    assert provenance.trigger_words == "sks"
    assert provenance.prompts == {PROMPT: 2}
    assert provenance.num_photos == 2
    assert provenance.settings["learning_rate"] == 3e-4
    assert provenance.mask_digests == {stem: mask.digest for stem, mask in masks().items()}
    assert provenance.mask_areas == {"00": 0.5, "01": 0.5}
    assert {"persam-dreambooth", "torch", "diffusers"} <= provenance.versions.keys()


def test_no_secret_and_no_place_is_told(base, tmp_path):
    photos, home = tmp_path / "photos of me", "~/class"
    config, models, provenance, result = finished(
        str(tmp_path / "base"),
        tmp_path,
        *("--push_to_hub", "--hub_token", "hf_secret", "--instance_data_dir", str(photos)),
        *("--class_data_dir", home),
    )
    with safe_open(result, "pt") as file:
        told = json.dumps(file.metadata())
    card = results.write_card(config, models, provenance, result).read_text()
    for text in (told, card):
        assert "hf_secret" not in text
        assert str(tmp_path) not in text
        assert "~/" not in text
        assert "photos of me" in text
    assert provenance.base_model == "base"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("toy", "toy"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/stable-diffusion-xl-base-1.0"),
        ("/data/models/mine", "mine"),
        ("../models/mine/", "mine"),
        ("models/of/mine", "mine"),
    ],
)
def test_a_hub_id_is_told_whole_and_of_a_path_its_end(name, told):
    assert results.without_place(name) == told


def test_other_tools_names_of_models():
    assert [architecture(SD, 768), architecture(SD, 1024), architecture(SDXL, 2048)] == ["sd1", "sd2", "sdxl"]


@pytest.mark.parametrize(
    ("use_lora", "flags"), [(True, ()), (False, ()), (False, ("--skip_save_text_encoder",))]
)
def test_the_cards_code_runs(base, tmp_path, use_lora, flags):
    config, models, provenance, result = finished(base, tmp_path, *flags, use_lora=use_lora)
    card = results.write_card(config, models, provenance, result)
    assert card == config.output_dir / "README.md"
    code = re.search(r"```python\n(.*?)```", card.read_text(), re.DOTALL)[1]
    # Its one line that needs a GPU, and the fifty steps, apart.
    code = code.replace('.to("cuda", torch.float16)', "")
    code = code.replace(f'"{PROMPT}")', f'"{PROMPT}", num_inference_steps=1)')
    # It names the run's folder as seen from the folder that holds it.
    shutil.copytree(tmp_path / "runs/sks-cat", tmp_path / "sks-cat")
    with quiet():
        exec(compile(code, "card", "exec"), {})
    with Image.open("picture.png") as picture:
        assert picture.size == (32, 32)


def test_the_card_shows_the_pictures_of_the_run(base, tmp_path):
    config, models, provenance, result = finished(base, tmp_path)
    text = results.write_card(config, models, provenance, result).read_text()
    assert "](samples/grid.png)" in text
    front = yaml.safe_load(text.split("---")[1])
    assert front["widget"] == [{"text": PROMPT, "output": {"url": "samples/00_0.png"}}]
    assert "Seen." in text
    bare = results.card_text(config, models, provenance, result)
    shutil.rmtree(tmp_path / "runs/sks-cat/samples")
    assert "grid.png" in bare
    assert "grid.png" not in results.card_text(config, models, provenance, result)


def test_a_pipeline_carries_the_facts_too(base, tmp_path):
    config, models, provenance, result = finished(base, tmp_path, use_lora=False)
    results.write_card(config, models, provenance, result)
    facts = json.loads((result / "provenance.json").read_text())
    assert facts == dataclasses.asdict(provenance)
    assert facts["mask_digests"].keys() == {"00", "01"}


@pytest.mark.parametrize("use_lora", [True, False])
def test_only_the_results_are_uploaded(base, tmp_path, monkeypatch, use_lora):
    flags = ("--push_to_hub", "--hub_token", "hf_right", "--hub_model_id", "my-cat")
    run = finished(base, tmp_path, *flags, use_lora=use_lora)
    for private in ("masks/00.png", "checkpoint-2/state.json", "cache/x.safetensors", "config.yaml"):
        path = tmp_path / "runs/sks-cat" / private
        path.parent.mkdir(exist_ok=True)
        path.write_text("private")
    results.write_card(*run)
    with hub_at_home() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert results.push(*run) == f"{hub.url}/me/my-cat"
    files = hub.files["me/my-cat"]
    common = {"README.md", "samples/00_0.png", "samples/grid.png"}
    if use_lora:
        assert files.keys() == {*common, LORA_FILE, "pytorch_lora_weights_kohya.safetensors"}
    else:
        # As from_pretrained of a hub id wants it: at the top.
        parts = {name.split("/")[0] for name in files.keys() - common}
        assert {"model_index.json", "unet", "vae", "tokenizer", "provenance.json"} <= parts
        assert parts.isdisjoint({"masks", "checkpoint-2", "cache", "config.yaml", "samples"})
        assert files["model_index.json"] == (run[3] / "model_index.json").read_bytes()
    assert not any("private" in content.decode(errors="ignore") for content in files.values())
    assert '"me/my-cat"' in files["README.md"].decode(), "the code on the hub names the hub"


def test_an_upload_that_fails_leaves_everything(base, tmp_path, monkeypatch):
    run = finished(base, tmp_path, "--push_to_hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    results.write_card(*run)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"not uploaded to sks-cat .* everything is in runs/sks-cat"):
        results.push(*run)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
