"""Class pictures: made once, each from its number, and in the precision that is asked for."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipelines import tiny_models

from persam_dreambooth.diffusion import prior, randomness
from persam_dreambooth.diffusion.models import build_pipeline
from persam_dreambooth.diffusion.precision import cast, drawing_dtype
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError


@pytest.fixture(scope="module")
def pipeline():
    return build_pipeline(tiny_models())


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture).astype(int)


def class_images(pipeline, folder, count, prompt="a cat", **options):
    return prior.generate_class_images(
        pipeline, folder, prompt=prompt, num_images=count, model_name="tiny", **options
    )


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(prior, "NUM_INFERENCE_STEPS", 2)


@pytest.mark.usefixtures("quick")
def test_class_pictures_are_made_once_and_only_the_missing(pipeline, tmp_path):
    drawn = []
    paths = class_images(pipeline, tmp_path, 3, on_drawn=drawn.append)
    assert [path.name for path in paths] == ["00000.png", "00001.png", "00002.png"]
    before = {path.name: path.read_bytes() for path in paths}
    paths[1].unlink()
    assert class_images(pipeline, tmp_path, 4, on_drawn=drawn.append)[:3] == paths
    assert drawn == [3, 2]
    assert abs(pixels(paths[1]) - pixels(tmp_path / "00003.png")).max() > 5
    assert {path.name: path.read_bytes() for path in paths} == before
    assert class_images(pipeline, tmp_path, 2, on_drawn=drawn.append) == paths[:2]
    assert drawn == [3, 2]


@pytest.mark.usefixtures("quick")
def test_a_persons_own_class_pictures_count(pipeline, tmp_path):
    for name in ("mine.jpg", "other.png"):
        Image.new("RGB", (32, 32), "blue").save(tmp_path / name)
    assert prior.missing_numbers(tmp_path, 3) == [0]
    assert [path.name for path in class_images(pipeline, tmp_path, 3)] == [
        "00000.png",
        "mine.jpg",
        "other.png",
    ]
    assert prior.missing_numbers(tmp_path, 2) == []
    assert prior.missing_numbers(tmp_path / "none", 2) == [0, 1]


@pytest.mark.usefixtures("quick")
def test_class_pictures_of_another_prompt_are_not_mixed(pipeline, tmp_path):
    class_images(pipeline, tmp_path, 1)
    with pytest.raises(
        UserError, match=r"--class_data_dir .*--class_prompt 'a cat', not 'a dog'.*another folder"
    ):
        class_images(pipeline, tmp_path, 2, prompt="a dog")
    with pytest.raises(UserError, match=r"--class_prompt 'dog dog .*tokens"):
        class_images(pipeline, tmp_path, 2, prompt="dog " * 20)
    (tmp_path / prior.RECORD_FILE).write_text("{")
    with pytest.raises(UserError, match=r"class_images\.json: damaged"):
        class_images(pipeline, tmp_path, 2)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["sd_v", "sd_learned", "sdxl", "sdxl_edm"])
def test_every_family_draws_its_class(tmp_path, kind):
    drawing = build_pipeline(tiny_models(kind))
    first = class_images(drawing, tmp_path / "a", 2)
    alone = class_images(drawing, tmp_path / "b", 2, batch_size=1)
    for one, other in zip(first, alone, strict=True):
        assert abs(pixels(one) - pixels(other)).max() <= 1
    assert abs(pixels(first[0]) - pixels(first[1])).max() > 5


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_class_pictures_are_drawn_with_the_pipelines_own_guidance(tmp_path, kind):
    drawing = build_pipeline(tiny_models(kind))
    (path,) = class_images(drawing, tmp_path, 1)
    noise = randomness.generator("class picture", 0)
    with quiet():
        plain = drawing("a cat", generator=noise, num_inference_steps=2).images[0]
    assert (pixels(path) == np.asarray(plain)).all()


def tensors(pipeline):
    networks = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    return {
        f"{number} {name}": value
        for number, network in enumerate(networks)
        for name, value in [*network.named_parameters(), *network.named_buffers()]
    }


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_half_precision_draws_nearly_the_same_and_rounds_no_weight(tmp_path, kind):
    drawing = build_pipeline(tiny_models(kind))
    before = {name: (value.clone(), value.data_ptr()) for name, value in tensors(drawing).items()}
    whole = class_images(drawing, tmp_path / "whole", 1)
    with cast(drawing, "cpu", torch.bfloat16):
        assert drawing.dtype == torch.bfloat16
        half = class_images(drawing, tmp_path / "half", 1)
    difference = abs(pixels(whole[0]) - pixels(half[0])).max()
    assert 0 < difference < 60
    after = tensors(drawing)
    assert after.keys() == before.keys()
    for name, (value, place) in before.items():
        assert torch.equal(after[name], value)
        # The very same memory: there was never a second copy.
        assert after[name].data_ptr() == place


def test_weights_are_put_back_when_drawing_fails():
    drawing = build_pipeline(tiny_models())
    with pytest.raises(RuntimeError, match="out of memory"), cast(drawing, "cpu", torch.bfloat16):
        raise RuntimeError("out of memory")
    assert drawing.dtype == torch.float32


def test_the_precision_of_class_pictures_is_diffusers():
    assert drawing_dtype(None, "cuda") == drawing_dtype("no", "cuda:1") == torch.float16
    assert drawing_dtype(None, "cpu") == drawing_dtype("no", "cpu") == torch.float32
    assert drawing_dtype("fp32", "cuda") == torch.float32
    assert drawing_dtype("bf16", "cpu") == torch.bfloat16
    assert drawing_dtype("fp16", "cpu") == torch.float16
