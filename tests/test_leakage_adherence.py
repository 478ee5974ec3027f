"""Which scene a picture shows: the own one must fit best; the base model and CLIP as judges."""

import shutil

import numpy as np
import pytest
import torch
from leakage_cases import disc, place, with_subject
from safetensors.torch import load_file, save_file
from tiny_pipelines import build_tokenizer, tiny_models
from tiny_towers import clip_config, loud
from transformers import CLIPModel

from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.adherence import clip, diffusion_classifier, own_is_best
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.scene_clip import load_clip, scene_cosines

PROMPTS = ("a photo of sks cat on a beach", "a photo of sks cat in the snow")


def picture(prompt: str, number: int = 0) -> Picture:
    return Picture(prompt, None, 0, with_subject(place(number)))


def test_the_own_scene_must_fit_best_by_hand():
    pictures = [picture(PROMPTS[0]), picture(PROMPTS[1]), picture("another"), picture(PROMPTS[0])]
    fits = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [np.nan, np.nan]])
    assert own_is_best(pictures, PROMPTS, fits) == [True, False, None, None]


def test_the_base_model_judges_every_picture():
    scenes = {PROMPTS[0]: "a cat on a beach", PROMPTS[1]: "a cat in the snow"}
    judge = diffusion_classifier(tiny_models(), scenes, num_draws=2)
    pictures = [picture(PROMPTS[0]), picture(PROMPTS[1], 1), picture("another")]
    told = judge(pictures, [None] * 3)
    assert told[2] is None
    # One model, one noise: of the two prompts each picture has exactly one that fits best.
    other = judge([picture(PROMPTS[1]), picture(PROMPTS[0], 1)], [None] * 2)
    assert [not answer for answer in other] == told[:2]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    with quiet():
        tokenizer = build_tokenizer()
        config = clip_config()
        config.text_config.vocab_size = len(tokenizer)
        config.text_config.eos_token_id = tokenizer.eos_token_id
        loud(CLIPModel(config)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def test_clip_judges_without_the_subject(clip_folder):
    model = load_clip(clip_folder)
    scenes = ["a photo of a beach", "a photo of the snow"]
    pixels, mask = with_subject(place(3)), disc()
    found = scene_cosines(model, pixels, mask, scenes)
    assert found.shape == (2,)
    assert np.abs(found).max() <= 1
    repainted = np.where(mask[..., None], np.uint8(9), pixels)
    assert np.array_equal(scene_cosines(model, repainted, mask, scenes), found)
    assert not np.allclose(scene_cosines(model, repainted, None, scenes), found)
    assert np.isnan(scene_cosines(model, pixels, np.ones_like(mask), scenes)).all()


def test_clips_cosines_are_those_of_its_own_embeddings(clip_folder):
    model = load_clip(clip_folder)
    told = model.tokenizer(["a photo of a beach"], return_tensors="pt")
    text = model.model.get_text_features(**told).pooler_output[0]
    side = model.side
    pixels = place(3, side=side)
    values = (pixels / 255 - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    shown = torch.tensor(values, dtype=torch.float32).permute(2, 0, 1)[None]
    seen = model.model.get_image_features(pixel_values=shown).pooler_output[0]
    wanted = torch.cosine_similarity(seen, text, dim=0).item()
    assert scene_cosines(model, pixels, None, ["a photo of a beach"])[0] == pytest.approx(wanted, abs=1e-5)


def test_clip_as_a_judge_of_pictures(clip_folder):
    judge = clip(clip_folder, {PROMPTS[0]: "a photo of a beach", PROMPTS[1]: "a photo of the snow"})
    told = judge([picture(PROMPTS[0]), picture(PROMPTS[1])], [disc(), disc()])
    assert sorted(told) == [False, True]


def test_no_clip_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"^--scene_judge clip:.*cannot be loaded .*; a CLIP model with its"):
        load_clip(tmp_path / "nothing")


@pytest.mark.parametrize("flaw", ["no text tower", "cut off"])
def test_half_a_clip_is_an_error_and_never_random_weights(clip_folder, tmp_path, flaw):
    shutil.copytree(clip_folder, tmp_path / "clip")
    path = tmp_path / "clip" / "model.safetensors"
    if flaw == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        weights = load_file(path)
        save_file({name: value for name, value in weights.items() if "text_model" not in name}, path)
    with pytest.raises(UserError, match=r"^--scene_judge clip:.*a CLIP model with its text tower"):
        load_clip(tmp_path / "clip")
