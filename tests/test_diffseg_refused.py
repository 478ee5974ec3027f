"""What DiffSeg's commands refuse, with models and photos as people have them: one line, nothing written."""

import re

import numpy as np
import pytest
from PIL import Image
from tiny_pipelines import build_pipeline_folder, tiny_folder

from persam_dreambooth.cli import main
from persam_dreambooth.toyworld.scene import render

CONVOLUTIONS = {
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "mid_block_type": None,
}
ITSELF_ALONE = {
    "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
    "mid_block_type": None,
}


@pytest.fixture
def photo(tmp_path):
    """Write a photo of a cat of the toy world; return its path."""
    path = tmp_path / "photos" / "0.png"
    path.parent.mkdir()
    Image.fromarray(render("cat", "beach", 7, 0, size=96).image).save(path)
    return path


def refusal(words, capsys):
    """Return the one line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("error: ") == 1
    return error[error.index("error: ") :]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (CONVOLUTIONS, "its UNet has no self-attention over places"),
        (ITSELF_ALONE, "its UNet does not look at prompts, so that no word has a place"),
    ],
)
@pytest.mark.parametrize("command", ["diffseg", "segment"])
def test_unets_without_the_attention_that_is_read(command, config, text, photo, tmp_path, capsys):
    model = build_pipeline_folder(tmp_path / "model", **config)
    words = {
        "diffseg": ["diffseg", photo],
        "segment": ["segment", "--method", "diffseg", "--photos", photo.parent],
    }[command]
    line = refusal(
        [*words, "--out", tmp_path / "out", "--model", model, "--diffseg_noun", "cat"],
        capsys,
    )
    assert line == (
        f"error: --model {model}: {text}; DiffSeg reads the attention of Stable Diffusion 1.x, 2.x or XL. "
        "Use another model, or PerSAM-F.\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_photo_thinner_than_a_cell(photo, tmp_path, capsys):
    Image.new("RGB", (272, 16), "red").save(photo)
    line = refusal(["diffseg", photo, "--out", tmp_path / "out"], capsys)
    assert line == (
        f"error: {photo}: 272 x 16 pixels; in the model's square that is less than one of its 16 x 16 cells. "
        "Use --diffseg_fit stretch or crop, or a photo less narrow.\n"
    )
    assert not (tmp_path / "out").exists()


def test_the_photo_itself_is_not_written_over(photo, capsys):
    before = photo.read_bytes()
    line = refusal(["diffseg", photo, "--out", photo.parent], capsys)
    assert re.match(r"error: --out \S+photos: the photo is in it, and the map has its name; a folder", line)
    assert photo.read_bytes() == before
    assert [path.name for path in photo.parent.iterdir()] == ["0.png"]


def test_what_the_model_did_not_see_cannot_be_picked(photo, tmp_path, capsys):
    Image.fromarray(render("cat", "beach", 7, 0, size=96).image[:60]).save(photo)
    words = ["--out", tmp_path / "out", "--diffseg_fit", "crop", "--pick", "-1"]
    line = refusal(["diffseg", photo, *words], capsys)
    assert line.startswith("error: --pick -1: no such segment; one of those in the map is needed.")


def test_an_adapter_of_a_sam_and_no_sam(photo, tmp_path, capsys):
    words = ["--method", "diffseg", "--sam_adapter", "a.safetensors", "--out", tmp_path / "out"]
    line = refusal(["segment", "--photos", photo.parent, *words], capsys)
    assert line.startswith(
        "error: --sam_adapter a.safetensors: for a SAM, and --method diffseg asks none; one"
    )


@pytest.mark.parametrize("command", ["diffseg", "segment"])
def test_devices_that_are_not_here(command, photo, tmp_path, capsys):
    words = {"diffseg": ["diffseg", photo], "segment": ["segment", "--photos", photo.parent]}[command]
    for name, reason in (("nonsense", "no such kind of device"), ("cuda:99", ".+")):
        line = refusal([*words, "--out", tmp_path / "out", "--device", name], capsys)
        assert re.fullmatch(
            rf"error: --device {name}: cannot be used \({reason}\); a device that is here is needed\. Use "
            r"cpu, or cuda where there is an NVIDIA GPU\.\n",
            line,
        )
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_is_named_by_its_flag(photo, tmp_path, capsys):
    words = ["--photos", photo.parent, "--method", "diffseg", "--model", "./nowhere", "--out", tmp_path / "o"]
    assert refusal(["segment", *words], capsys).startswith("error: --model ./nowhere: no such folder")
    assert not (tmp_path / "o").exists()


def test_more_segments_than_8_bits_have_numbers(photo, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)).save(photo)
    main(["diffseg", str(photo), "--out", str(tmp_path / "out"), "--diffseg_tau", "1e-9", "1e-9"])
    labels = np.asarray(Image.open(tmp_path / "out" / "0.labels.png"))
    assert labels.max() == 255
    assert labels.dtype == np.uint16


def test_a_constant_photo_has_no_subject(photo, tmp_path, capsys):
    Image.new("RGB", (96, 96), (90, 120, 200)).save(photo)
    words = ["--method", "diffseg", "--diffseg_noun", "cat", "--out", tmp_path / "out"]
    line = refusal(["segment", "--photos", photo.parent, "--model", tiny_folder(), *words], capsys)
    assert "each of the 1 photos was left out" in line
