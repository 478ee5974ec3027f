"""What bad input gets: one line that says where, what and what to do; exit code 2; nothing half-written."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sam_models import random_sam, scene

from persam_dreambooth.cli import main
from persam_dreambooth.errors import UserError, did_you_mean, one_line, user_errors

ROOT = Path(__file__).parent.parent
SIZE = (40, 48)


@pytest.fixture
def album(tmp_path) -> Path:
    """Two photos and the mask of the first, beside it."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name, seed in (("00", 0), ("01", 1)):
        pixels, mask = scene(*SIZE, seed=seed)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        if name == "00":
            Image.fromarray(mask).save(folder / "00.mask.png")
    return folder


@pytest.fixture(scope="module")
def sam(tmp_path_factory) -> str:
    """A small SAM's folder."""
    folder = tmp_path_factory.mktemp("sam")
    random_sam().save_pretrained(folder)
    return str(folder)


def refusal(capsys: pytest.CaptureFixture, *argv: object) -> str:
    """Run `persam-dreambooth segment`; return the one line with which it is refused."""
    with pytest.raises(SystemExit) as stopped:
        main(["segment", *map(str, argv)])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


def test_one_line_and_code_2(capsys):
    with pytest.raises(SystemExit) as stopped, user_errors():
        raise UserError("--flag x: wrong;\n  y is needed.")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: --flag x: wrong; y is needed.\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), user_errors():
        raise ZeroDivisionError


def test_texts():
    assert one_line(" a\n  b\t") == "a b"
    assert did_you_mean("lerning_rate", ["rank", "learning_rate"]) == " Did you mean learning_rate?"
    assert did_you_mean("zzz", ["rank"]) == ""


def test_no_photos(capsys, album, tmp_path, sam):
    line = refusal(capsys, "--photos", tmp_path / "albun", "--out", tmp_path / "out", "--sam", sam)
    assert "albun: no such folder" in line
    assert f"Did you mean {album}?" in line
    for path in album.iterdir():
        path.unlink()
    line = refusal(capsys, "--photos", album, "--out", tmp_path / "out", "--sam", sam)
    assert f"{album}: no photos in this folder" in line
    assert not (tmp_path / "out").exists()


def test_a_truncated_photo(capsys, album, tmp_path, sam):
    path = album / "01.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    line = refusal(capsys, "--photos", album, "--out", tmp_path / "out", "--sam", sam)
    assert f"{path}: cannot be read as a picture" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.zeros(SIZE, np.uint8), "the mask is empty"),
        (np.ones(SIZE, np.uint8), "the mask covers the whole photo"),
        (np.eye(30, dtype=np.uint8), "the mask is 30 x 30 pixels and its photo 48 x 40"),
    ],
)
def test_a_reference_mask_that_cannot_be(capsys, album, tmp_path, sam, pixels, text):
    path = tmp_path / "00.mask.png"
    Image.fromarray(pixels).save(path)
    argv = ["--photos", album, "--out", tmp_path / "out", "--sam", sam, "--reference_mask", path]
    assert f"--reference_mask {path}: {text}" in refusal(capsys, *argv)
    assert not (tmp_path / "out").exists()


def test_no_mask_at_all(capsys, album, tmp_path, sam):
    (album / "00.mask.png").unlink()
    (album / "01.png").unlink()
    # With a single photo nothing can be found again, and so nothing be proposed.
    line = refusal(capsys, "--photos", album, "--out", tmp_path / "out", "--sam", sam)
    assert "--reference_mask: missing" in line
    line = refusal(
        capsys, "--photos", album, "--out", tmp_path, "--sam", sam, "--reference_mask", tmp_path / "no.png"
    )
    assert f"--reference_mask {tmp_path / 'no.png'}: no such file" in line


def test_a_missing_or_wrong_sam(capsys, album, tmp_path, sam):
    argv = ["--photos", album, "--out", tmp_path / "out", "--sam"]
    assert f"--sam {tmp_path / 'no'}: no such folder" in refusal(capsys, *argv, tmp_path / "no")
    broken = tmp_path / "broken"
    shutil.copytree(sam, broken)
    (broken / "model.safetensors").write_bytes(b"cut")
    assert f"--sam {broken}: cannot be loaded" in refusal(capsys, *argv, broken)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(capsys, album, tmp_path, sam):
    (tmp_path / "out").touch()
    line = refusal(capsys, "--photos", album, "--out", tmp_path / "out", "--sam", sam)
    assert f"--out {tmp_path / 'out'}" in line
    assert "is a file; a folder is needed" in line


def test_the_whole_process_answers_in_one_line(tmp_path):
    argv = [
        sys.executable,
        "-m",
        "persam_dreambooth",
        "segment",
        "--photos",
        str(tmp_path / "no"),
        "--out",
        "out",
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {tmp_path / 'no'}: no such folder; a folder of photos is needed.\n"


def test_segment_writes_a_mask_for_every_photo(album, tmp_path, sam, capsys):
    main(
        [
            "segment",
            "--photos",
            str(album),
            "--out",
            str(tmp_path / "out"),
            "--sam",
            sam,
            "--method",
            "persam",
            "--min_confidence",
            "0",
        ]
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"00.png", "01.png", "masks.json"}
    with Image.open(tmp_path / "out" / "01.png") as mask:
        assert mask.size == (SIZE[1], SIZE[0])
    assert "00: given" in capsys.readouterr().out


def test_every_kind_of_photo_gets_a_mask_of_its_upright_size(album, tmp_path, sam):
    picture = Image.fromarray(scene(*SIZE, seed=2)[0])
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by a quarter
    picture.save(album / "exif.jpg", exif=turned)
    picture.convert("CMYK").save(album / "cmyk.jpg")
    picture.convert("P").save(album / "palette.png")
    picture.save(album / "other_name.png", format="JPEG")
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(album / "grey16.png")
    picture.putalpha(200)
    picture.save(album / "alpha.png")
    argv = ["segment", "--photos", album, "--out", tmp_path / "out", "--sam", sam, "--min_confidence", 0]
    main([*map(str, argv), "--method", "persam"])
    for name in ("exif", "cmyk", "palette", "other_name", "grey16", "alpha"):
        with Image.open(tmp_path / "out" / f"{name}.png") as mask:
            assert (mask.mode, mask.size) == ("L", SIZE if name == "exif" else SIZE[::-1])
            assert set(np.unique(mask)) == {0, 255}
