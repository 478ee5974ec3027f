"""Token drop: the background's vectors are those of a picture that never had a subject."""

import json
import shutil

import numpy as np
import pytest
import torch
from leakage_cases import disc, place, with_subject
from tiny_towers import CLIP, DINOV2, NATIVE, PATCH, WIDTH, build_clip, build_dinov2, save_towers

from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.features import load_features
from persam_dreambooth.leakage.features.pixel_values import IMAGENET_MEAN, IMAGENET_STD, pixel_values

PIXELS, MASK = with_subject(place(1)), disc()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    for kind in DINOV2:
        with quiet():
            build_dinov2(kind).save_pretrained(folder / kind)
    save_towers(folder, build_clip())
    return folder


@pytest.fixture(scope="module", params=[*DINOV2, "tower"])
def features(request, folder):
    name = "dinov2" if request.param in DINOV2 else "clip"
    return load_features(f"{name}:{folder / request.param}")


def other_subject():
    return np.where(
        MASK[..., None], np.random.default_rng(0).integers(0, 256, PIXELS.shape, np.uint8), PIXELS
    )


def test_no_pixel_of_the_subject_changes_the_background(features):
    first, second = features.cells(PIXELS, MASK), features.cells(other_subject(), MASK)
    assert first.vectors.shape == (16, 16, WIDTH)
    assert np.array_equal(first.vectors, second.vectors)
    assert np.abs(first.vectors[first.is_background]).max() > 0
    assert not first.vectors[~first.is_background].any()


def test_with_the_subject_present_the_background_would_change(features):
    """Or the test above could not fail: these towers do mix cells."""
    one, other = (features.cells(pixels, None) for pixels in (PIXELS, other_subject()))
    background = features.cells(PIXELS, MASK).is_background
    assert np.abs(one.vectors - other.vectors)[background].max() > 1e-3


def test_no_pixel_of_the_background_changes_the_subject(features):
    other = np.where(MASK[..., None], PIXELS, place(9))
    vectors = features.subject(PIXELS, MASK)
    assert vectors.shape[1] == features.num_features == WIDTH
    assert len(vectors) > 100
    assert np.array_equal(vectors, features.subject(other, MASK))


@pytest.mark.parametrize("kind", DINOV2)
@pytest.mark.parametrize("size", [(NATIVE, NATIVE), (64, 96)])
def test_without_a_mask_dinov2_says_what_the_model_says(folder, kind, size):
    pixels = np.ascontiguousarray(place(2, side=96)[: size[0], : size[1]])
    cells = load_features(f"dinov2:{folder / kind}").cells(pixels, None)
    values = pixel_values(pixels, cells.is_background.shape, PATCH, IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        expected = build_dinov2(kind)(values).last_hidden_state[0]
    num_prefix = 4 if kind == "registers" else 1
    assert cells.vectors.reshape(-1, WIDTH) == pytest.approx(expected[num_prefix:].numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", CLIP)
def test_without_a_mask_clip_says_what_its_last_layer_but_one_says(folder, kind):
    cells = load_features(f"clip:{folder / kind}").cells(PIXELS, None)
    mean, std = (122.7709, 116.7460, 104.0937), (68.5005, 66.6322, 70.3232)
    with torch.no_grad():
        output = build_clip()(pixel_values(PIXELS, (16, 16), PATCH, mean, std), output_hidden_states=True)
    expected = output.hidden_states[-2][0, 1:].numpy()
    assert cells.vectors.reshape(-1, WIDTH) == pytest.approx(expected, abs=1e-5)


def test_a_tower_has_one_digest_however_it_was_saved(folder):
    digests = {load_features(f"clip:{folder / kind}").digest for kind in CLIP}
    assert len(digests) == 1
    assert digests != {load_features(f"dinov2:{folder / 'dinov2'}").digest}


def test_a_pipeline_folder_lends_its_safety_checker(folder):
    lent, named = (load_features(f"clip:{folder / name}") for name in ("pipeline", "pipeline/safety_checker"))
    assert lent.digest == named.digest


def test_a_folder_of_another_model_is_refused(folder):
    with pytest.raises(UserError, match=r"^--features dinov2:.*/whole: the model's type is 'clip'; a dinov2"):
        load_features(f"dinov2:{folder / 'whole'}")
    with pytest.raises(
        UserError, match=r"the model's type is 'dinov2'; a clip model is needed\. Name one, for "
    ):
        load_features(f"clip:{folder / 'dinov2'}")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"^--features dinov2:.*/none: no such folder; a folder in transformers'"
    ):
        load_features(f"dinov2:{tmp_path / 'none'}")


def test_a_hub_id_that_cannot_be_reached_is_one_line():
    with pytest.raises(
        UserError, match=r"^--features clip:owner/name/part: cannot be loaded \(.*Check the name"
    ):
        load_features("clip:owner/name/part")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"^--features dinov2:.*: the model's type is None; a dinov2 model is needed"
    ):
        load_features(f"dinov2:{tmp_path}")


def test_missing_weights_are_counted(folder, tmp_path):
    short = shutil.copytree(folder / "dinov2", tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(UserError, match=r"/short: 18 of the weights are missing \(encoder\.layer\.3"):
        load_features(f"dinov2:{short}")


def test_a_file_cut_short_is_one_line(folder, tmp_path):
    short = shutil.copytree(folder / "tower", tmp_path / "cut")
    weights = short / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(
        UserError, match=r"^--features clip:.*/cut: cannot be loaded \(.*Check the name, or download"
    ):
        load_features(f"clip:{short}")
