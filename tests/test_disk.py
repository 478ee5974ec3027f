"""A full disk: recognised whatever library was writing, and told in one line."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from persam_dreambooth import disk
from persam_dreambooth.errors import UserError

ROOT = Path(__file__).parent.parent

# Every library that writes for us meets a file size limit, the one form of a full disk that needs no root.
PROGRAM = """
import resource, sys, torch, numpy as np
from pathlib import Path
from PIL import Image
from safetensors.torch import save_file
from persam_dreambooth import disk
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8))
writers = {
    "torch.save": lambda: torch.save(torch.zeros(100_000), folder / "a"),
    "safetensors": lambda: save_file({"a": torch.zeros(100_000)}, folder / "b"),
    "text": lambda: (folder / "c").write_text("x" * 200_000),
    "picture": lambda: noise.save(folder / "d.png"),
}
for name, write in writers.items():
    try:
        with disk.tells_of_full_disk(folder, "it", lambda: "Make room."):
            write()
    except disk.UserError as error:
        print(name, str(error).endswith("are free. Make room."))
"""


def test_every_library_that_writes_is_understood(tmp_path):
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["torch.save True", "safetensors True", "text True", "picture True"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_device_that_is_full():
    with pytest.raises(UserError, match=r"/dev: no room to write a line; .* GiB are free\. Make room\."):
        write_to_full_device()


def write_to_full_device():
    with (
        disk.tells_of_full_disk(Path("/dev"), "a line", lambda: "Make room."),
        open("/dev/full", "w") as file,
    ):
        file.write("line")


def test_what_is_a_full_disk_and_what_is_not():
    assert disk.is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert disk.is_full(OSError(errno.EDQUOT, "quota"))
    # torch.save, where the last block does not fit.
    assert disk.is_full(RuntimeError("basic_ios::clear: iostream error"))
    assert disk.is_full(SafetensorError("I/O error: No space left on device (os error 28)"))
    assert not disk.is_full(OSError(errno.EACCES, "Permission denied"))
    assert not disk.is_full(RuntimeError("size mismatch"))
    assert not disk.is_full(ValueError("No space left"))
    wrapped = RuntimeError("writer failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk.is_full(wrapped)


def test_other_errors_pass_unchanged(tmp_path):
    def write():
        with disk.tells_of_full_disk(tmp_path, "it", str):
            (tmp_path / "none" / "file").write_text("")

    with pytest.raises(FileNotFoundError):
        write()


def test_room_is_checked_beforehand(tmp_path):
    disk.check_room(tmp_path / "not" / "yet", 1, "a checkpoint")
    text = rf"--output_dir {tmp_path}: .* GiB are free there; a checkpoint takes {2**30}\.0 GiB\. Make room"
    with pytest.raises(UserError, match=text):
        disk.check_room(tmp_path, 2**60, "a checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_sizes():
    assert disk.size_text(3 * 2**29) == "1.5 GiB"
    assert disk.size_text(3 * 2**19) == "1.5 MiB"
