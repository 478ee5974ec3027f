"""A disk that is full: seen before a training where that can be, told in one line where it cannot."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from persam_dreambooth.errors import UserError

GIB = 2**30

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, over quota, over the limit for a file."""
_WORDS = (
    "No space left",
    "Disk quota exceeded",
    "File too large",
    "file write failed",
    "unexpected pos",
    "iostream error",
)
"""What safetensors says, and torch.save for a write that was cut short: they keep no error number."""


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, says that there is no room to write."""
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    words = isinstance(error, RuntimeError | SafetensorError) and any(word in str(error) for word in _WORDS)
    return words or is_full(error.__cause__ or error.__context__)


@contextmanager
def tells_of_full_disk(folder: Path, what: str, advice: Callable[[], str]) -> Iterator[None]:
    """Turn the error of a full disk inside the block into one line.

    Args:
        folder: on the disk that is written to.
        what: what was being written, for example "checkpoint-400 (10.3 GiB)".
        advice: returns what is safe, and what to do.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not is_full(error):
            raise
        raise UserError(
            f"{folder}: no room to write {what}; {size_text(free_bytes(folder))} are free. {advice()}"
        ) from error


def check_room(folder: Path, num_bytes: int, what: str, flag: str = "--output_dir") -> None:
    """Raise UserError where a disk has less room than will be needed."""
    free = free_bytes(folder)
    if free < num_bytes:
        raise UserError(
            f"{flag} {folder}: {size_text(free)} are free there; {what} takes {size_text(num_bytes)}. "
            "Make room, or name a folder on another disk."
        )


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is on, or will be."""
    nearest = Path(folder).absolute()
    while not nearest.exists():
        nearest = nearest.parent
    return shutil.disk_usage(nearest).free


def size_text(num_bytes: int) -> str:
    """Return a number of bytes as GiB, or as MiB where that is less than one."""
    return f"{num_bytes / GIB:.1f} GiB" if num_bytes >= GIB else f"{num_bytes / 2**20:.1f} MiB"
