"""Folders that are either whole or not there: filled under another name beside them, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` that takes its place when the block ends well.

    What it holds is on the disk before it does, so that not even a power cut leaves a half of it. A folder
    that was at `path` is removed only then. On an error the new one is removed and `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkdtemp's name starts with a dot, so that a folder being listed meanwhile does not show a half of it.
    workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = workplace / "new", workplace / "old"
    new.mkdir()
    try:
        yield new
        for entry in [*new.rglob("*"), new]:
            _to_disk(entry)
        # A folder can only be renamed onto an empty one: what is there steps aside first.
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
        _to_disk(path.parent)
    finally:
        shutil.rmtree(workplace)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk."""
    if os.name == "nt":
        # Windows opens no folders, and no file for this that is only read.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
