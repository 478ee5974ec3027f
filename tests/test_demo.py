"""The demonstration on the embedded models, cut down: a few steps, few pictures, everything else as it is."""

import json

import numpy as np
import pytest

from persam_dreambooth import demo
from persam_dreambooth.photos import read_mask, read_photo
from persam_dreambooth.toyworld.samples import SAMPLES, photos_of

FLAGS = ["--max_train_steps", "2", "--num_inference_steps", "2"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "PICTURE_SEEDS", (0,))
        patch.setattr(demo, "OTHER_SEEDS", (0,))
        patch.setattr(demo, "DECOY_SEEDS", (100, 101))
        result = demo.main(folder, flags=FLAGS)
    return folder, result


def test_the_demo_compares_base_plain_and_masked_on_the_same_pictures(shown):
    folder, result = shown
    assert list(result["arms"]) == ["base", "plain", "masked"]
    prompts = [prompt.text for prompt in demo.prompts_of("cat") if prompt.family == "recontext"]
    assert result["prompts"] == prompts
    rows = json.loads((folder / "report.json").read_text())["rows"]
    keys = {
        arm: [(row["family"], row["prompt"], row["seed"]) for row in rows if row["arm"] == arm]
        for arm in result["arms"]
    }
    assert keys["base"] == keys["plain"] == keys["masked"]
    assert len(keys["base"]) == len(demo.prompts_of("cat")) == 16
    assert set(result["truth"]["training_backgrounds"]) == {"room", "kitchen"}
    assert "<html" in (folder / "report.html").read_text()


def test_no_prompt_of_the_demo_asks_for_a_place_in_the_photos():
    for sample, known in SAMPLES.items():
        asked = {prompt.background for prompt in demo.prompts_of(sample) if prompt.family == "recontext"}
        assert len(asked) == 10
        assert not asked & set(known.backgrounds)


def test_only_the_masked_arm_has_masks(shown):
    folder, _ = shown
    assert "use_persam: true" in (folder / "masked" / "config.yaml").read_text()
    assert "use_persam: false" in (folder / "plain" / "config.yaml").read_text()
    losses = {arm: (folder / arm / "log.jsonl").read_text() for arm in ("plain", "masked")}
    assert losses["plain"] != losses["masked"]


def test_the_embedded_sam_finds_the_sample_cat_in_every_photo(shown):
    folder, _ = shown
    for number, scene in enumerate(photos_of(SAMPLES["cat"])):
        found = read_mask(folder / "masks" / f"{number:02d}.png", scene.mask.shape)
        assert (found & scene.mask).sum() / (found | scene.mask).sum() > 0.6


def test_plain_and_masked_start_from_the_same_base_pictures(shown):
    folder, _ = shown
    pictures = {
        arm: sorted((folder / "pictures" / arm).glob("r*.png")) for arm in ("base", "plain", "masked")
    }
    # A name is the prompt, the seed, and a digest of what the picture follows from.
    names = {arm: [path.name.partition("-")[0] for path in own] for arm, own in pictures.items()}
    assert names["base"] == names["plain"] == names["masked"]
    plain, masked = (read_photo(pictures[arm][0]).pixels.astype(int) for arm in ("plain", "masked"))
    # Two steps change little: with other noise the pictures would have nothing in common.
    assert np.abs(plain - masked).mean() < 25
