"""Folders that are either whole or not there: filled under another name, then renamed."""

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


@contextmanager
def atomic_parts(folder: Path, index: str) -> Iterator[Path]:
    """Yield a new folder whose entries replace those of the same names in `folder` when the block ends well.

    Everything else in `folder` stays. The file `index`, without which the others cannot be read, goes first
    and comes last: whatever happens in between leaves no mixture of old and new that could be taken for a
    whole. On an error inside the block `folder` stays as it was.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=".pipeline.", dir=folder))
    new, old = workplace / "new", workplace / "old"
    new.mkdir()
    old.mkdir()
    try:
        yield new
        for entry in [*new.rglob("*"), new]:
            _to_disk(entry)
        names = [index, *sorted(entry.name for entry in new.iterdir() if entry.name != index)]
        for name in names:
            if (folder / name).exists():
                os.replace(folder / name, old / name)
        for name in reversed(names):
            os.replace(new / name, folder / name)
        _to_disk(folder)
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
