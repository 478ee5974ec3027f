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

    A folder that was at `path` is removed only then. On an error the new one is removed and `path` stays
    as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkdtemp's name starts with a dot, so that a folder being listed meanwhile does not show a half of it.
    workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = workplace / "new", workplace / "old"
    new.mkdir()
    try:
        yield new
        # A folder can only be renamed onto an empty one: what is there steps aside first.
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    finally:
        shutil.rmtree(workplace)
