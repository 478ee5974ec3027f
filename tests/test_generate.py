"""Drawing, with every family: the noise follows from the seed alone, and files are whole."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipelines import tiny_folder, tiny_models

from persam_dreambooth.cli import main
from persam_dreambooth.diffusion import generate
from persam_dreambooth.diffusion.models import build_pipeline
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError

PROMPTS = ["a photo of sks cat on the beach", "a dog in snow"]


@pytest.fixture(scope="module")
def pipeline():
    return build_pipeline(tiny_models())


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture).astype(int)


def test_files_record_and_grid(pipeline, tmp_path, capfd):
    drawn = []
    images = generate.generate(
        pipeline, PROMPTS, [0, 7, 3], out_dir=tmp_path, num_inference_steps=2, on_drawn=drawn.append
    )
    assert capfd.readouterr() == ("", "")
    assert drawn == [4, 2]
    assert [(image.prompt, image.seed) for image in images] == [(p, s) for p in PROMPTS for s in (0, 7, 3)]
    assert [image.path.name for image in images[:4]] == ["00_0.png", "00_7.png", "00_3.png", "01_0.png"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *(image.path.name for image in images),
        "prompts.json",
        "grid.png",
    }
    record = json.loads((tmp_path / "prompts.json").read_text())
    assert record["images"][1] == {"prompt": PROMPTS[0], "seed": 7, "file": "00_7.png"}
    assert record["num_inference_steps"] == 2
    height, width, _ = pixels(tmp_path / "grid.png").shape
    assert width > 3 * 256
    assert height > 2 * 256


def test_batches_do_not_change_pictures(pipeline, tmp_path):
    options = {"num_inference_steps": 3, "guidance_scale": 5.0}
    together = generate.generate(
        pipeline, PROMPTS, [0, 1, 2], out_dir=tmp_path / "a", batch_size=6, **options
    )
    alone = generate.generate(pipeline, PROMPTS, [2], out_dir=tmp_path / "b", batch_size=1, **options)
    # Sums in another order may move a grey value by one.
    assert abs(pixels(together[2].path) - pixels(alone[0].path)).max() <= 1
    assert abs(pixels(together[0].path) - pixels(together[1].path)).max() > 5


@pytest.mark.parametrize(
    ("kind", "scheduler"),
    [
        ("sd", None),
        ("sd", "DDIMScheduler"),
        ("sd", "EulerAncestralDiscreteScheduler"),
        ("sd_v", None),
        ("sdxl", None),
        ("sdxl", "DPMSolverMultistepScheduler"),
        ("sdxl_edm", None),
    ],
)
def test_pictures_are_those_of_diffusers_with_the_same_seed(tmp_path, kind, scheduler):
    pipeline = build_pipeline(tiny_models(kind), scheduler=scheduler)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0}
    (image,) = generate.generate(pipeline, PROMPTS[:1], [5], out_dir=tmp_path, **options)
    with quiet():
        plain = pipeline(PROMPTS[0], generator=torch.Generator().manual_seed(5), **options).images[0]
    assert (pixels(image.path) == np.asarray(plain).astype(int)).all()


def test_two_models_start_from_the_same_noise(pipeline):
    other = build_pipeline(tiny_models(), scheduler="DDIMScheduler")
    noise = [
        generate.initial_noise(p, [torch.Generator().manual_seed(seed) for seed in (3, 4)])
        for p in (pipeline, other)
    ]
    assert torch.equal(*noise)
    assert noise[0].shape == (2, 4, 4, 4)
    alone = generate.initial_noise(pipeline, [torch.Generator().manual_seed(4)])
    assert torch.equal(noise[0][1:], alone)


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_drawn(pipeline, tmp_path):
    for drawing in (pipeline, build_pipeline(tiny_models("sdxl"))):
        with pytest.raises(UserError, match=r"prompt 'cat cat .*: 22 tokens"):
            generate.generate(drawing, ["a cat", "cat " * 20], [0], out_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_long_prompts_are_wrapped_in_the_grid(tmp_path):
    path = tmp_path / "one.png"
    Image.new("RGB", (32, 32), "red").save(path)
    short = generate.grid(["a cat"], [0], [path])
    long = generate.grid(["a photo of a cat on the beach " * 4], [0], [path])
    assert long.width == short.width
    assert long.height > short.height + 40


def test_the_command_draws_with_every_family(tmp_path, capsys):
    options = ["--prompts", "a cat", "--seeds", "0", "--num_inference_steps", "2"]
    for kind in ("sd_v", "sdxl"):
        main(["generate", "--model", str(tiny_folder(kind)), "--out", str(tmp_path / kind), *options])
        assert f"pictures: {tmp_path / kind / 'grid.png'}" in capsys.readouterr().out
        assert (tmp_path / kind / "00_0.png").is_file()


def test_a_device_that_is_not_here_is_one_line(tmp_path, capsys):
    folder = str(tiny_folder("sd_v"))
    told = ["generate", "--model", folder, "--prompts", "a cat", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main([*told, "--device", "nonsense"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: --device nonsense: cannot be used")
