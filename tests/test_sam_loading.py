"""What `--sam` names: folders and hub ids are loaded whole, and everything else is refused in one line."""

import json

import pytest
import torch
from sam_models import random_sam, random_segmenter, relative_difference, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.sam import loading as module
from persam_dreambooth.sam.segmenter import Segmenter, model_digest


@pytest.fixture
def folder(tmp_path):
    random_sam().save_pretrained(tmp_path / "sam")
    return tmp_path / "sam"


def test_a_saved_model_loads_as_float32_whatever_it_was_saved_in(folder, tmp_path):
    random_sam().half().save_pretrained(tmp_path / "half")
    pixels, _ = scene(60, 80)
    whole = Segmenter.load(str(folder)).encode(pixels)
    half = Segmenter.load(str(tmp_path / "half")).encode(pixels)
    assert torch.equal(whole.features, random_segmenter().encode(pixels).features)
    assert half.features.dtype == torch.float32
    assert relative_difference(half.features, whole.features) < 0.02


def test_the_digest_follows_the_models_files(folder, tmp_path):
    before = model_digest(str(folder))
    assert before == model_digest(str(folder))
    random_sam(seed=2).save_pretrained(tmp_path / "other")
    assert before != model_digest(str(tmp_path / "other"))
    (folder / "notes.txt").write_text("not part of the model")
    assert before == model_digest(str(folder))


@pytest.mark.parametrize("name", ["./nowhere/sam", "/nowhere", "~nobody/sam", "a/b/c", ""])
def test_a_missing_folder_is_named(name):
    with pytest.raises(UserError) as refused:
        Segmenter.load(name)
    assert str(refused.value) == (
        f"--sam {name}: no such folder; a SAM folder in transformers' format, a hub id, "
        "an original checkpoint (.pth) or `toy` is needed. Check the path."
    )


def test_a_folder_without_a_model_is_named(tmp_path):
    for use in (Segmenter.load, model_digest):
        with pytest.raises(UserError, match=r"^--sam .*: no config\.json in this folder; a SAM folder"):
            use(str(tmp_path))


def test_a_hub_model_that_cannot_be_had_is_named():
    with pytest.raises(
        UserError, match=r"^--sam someone/no-such-sam: cannot be loaded \(.+\); .* Check the name"
    ):
        Segmenter.load("someone/no-such-sam")


def test_a_missing_toy_is_an_incomplete_installation(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOY_SAM", tmp_path / "sam")
    with pytest.raises(UserError, match=r"^--sam toy: .* is missing; the installation is incomplete\."):
        Segmenter.load("toy")


@pytest.mark.parametrize("model_type", ["clip", "sam3", None])
def test_another_kind_of_model_is_refused(folder, model_type):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": model_type}))
    with pytest.raises(
        UserError,
        match=rf"^--sam .*: the model's type is {model_type!r}; one of sam, sam_hq, .*edgetam.* is needed"
        r"\. Try facebook/sam-vit-base\.$",
    ):
        Segmenter.load(str(folder))


def test_weights_that_are_cut_off_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"^--sam .*: cannot be loaded \("):
        Segmenter.load(str(folder))
    weights.unlink()
    with pytest.raises(UserError, match=r"^--sam .*: cannot be loaded \("):
        Segmenter.load(str(folder))


def test_weights_that_are_incomplete_are_refused(folder):
    model = random_sam()
    weights = {name: value for name, value in model.state_dict().items() if "iou_token" not in name}
    model.save_pretrained(folder, state_dict=weights)
    with pytest.raises(UserError, match=r"^--sam .*: 1 of the weights are missing \(mask_decoder\.iou_token"):
        Segmenter.load(str(folder))


def test_weights_of_other_shapes_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["mask_decoder_config"]["mlp_dim"] = 65
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"^--sam .*: cannot be loaded \("):
        Segmenter.load(str(folder))


def test_loading_leaves_transformers_as_talkative_as_it_was(folder):
    logging = module.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        Segmenter.load(str(folder))
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.enable_progress_bar()
    Segmenter.load(str(folder))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (before[0], True)
