"""Checkpoints as folders: found by name, pruned, put right after a kill, known to be whole by their sizes."""

import json
import os
import re
import shutil
from pathlib import Path

from persam_dreambooth.errors import UserError, did_you_mean

STATE_FILE = "state.json"
LATEST = "latest"
FORMAT = 2

_NAME = re.compile(r"checkpoint-(\d+)")


def find(output_dir: Path, name: str) -> Path | None:
    """Return the checkpoint that --resume_from_checkpoint names.

    Args:
        output_dir: the run's folder.
        name: "latest", the name of a checkpoint in `output_dir`, or the path of one. "latest" where there is
            none returns None: the run starts at step 0.

    Raises:
        UserError: no checkpoint has that name.
    """
    if name == LATEST:
        return latest(output_dir)
    # The last one as in diffusers, where of a path only the name counts.
    for path in (Path(output_dir) / name, Path(name), Path(output_dir) / Path(name).name):
        if path.is_dir():
            return path
    known = [path.name for path in list_checkpoints(output_dir)]
    raise UserError(
        f"--resume_from_checkpoint {name}: no such checkpoint; {LATEST} or one of "
        f"{', '.join(known) or 'none so far'} in {output_dir} is needed.{did_you_mean(name, known)}"
    )


def latest(output_dir: Path) -> Path | None:
    """Return the checkpoint with the most steps, or None."""
    return next(reversed(list_checkpoints(output_dir)), None)


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the folders named checkpoint-<number>, fewest steps first."""
    folder = Path(output_dir)
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of)


def prune(output_dir: Path, total_limit: int, *, keep: Path | None = None) -> list[Path]:
    """Remove the checkpoints with the fewest steps until `total_limit` are left; return the removed.

    `keep` is never removed: it is the one just written, even where an older run left some with more steps.
    """
    checkpoints = [path for path in list_checkpoints(output_dir) if path != keep]
    spare = len(checkpoints) - (total_limit - (keep is not None))
    removed = checkpoints[: max(0, spare)]
    for path in removed:
        # Hidden first: one that is removed by half must not look like a checkpoint.
        hidden = path.with_name(f".{path.name}.removed")
        os.replace(path, hidden)
        shutil.rmtree(hidden)
    return removed


def read_record(path: Path) -> dict:
    """Return state.json of a checkpoint whose files are all there, at the size they were written with.

    Raises:
        UserError: a file is missing or cut off, or the checkpoint is another program's.
    """
    try:
        record = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: no {STATE_FILE}; incomplete, or another program's checkpoint. {other_than(path)}"
        ) from error
    except ValueError as error:
        raise UserError(f"{path / STATE_FILE}: damaged ({error}). {other_than(path)}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path / STATE_FILE}: not of this version's format {FORMAT}. {other_than(path)}")
    for name, size in record["files"].items():
        found = (path / name).stat().st_size if (path / name).is_file() else 0
        if found != size:
            raise UserError(
                f"{path / name}: {found} of {size} bytes; incomplete or damaged. {other_than(path)}"
            )
    return record


def settle(output_dir: Path) -> None:
    """Remove what a killed process was writing; what it had finished but not yet renamed, put in place."""
    for half in output_dir.glob(".checkpoint-*.*"):
        path = output_dir / half.name.removeprefix(".").split(".")[0]
        # An older one of that name steps aside only for one that is whole (folders.atomic_folder).
        if (half / "old").is_dir() and (half / "new").is_dir() and not path.exists():
            os.replace(half / "new", path)
        shutil.rmtree(half, ignore_errors=True)


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder, by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def other_than(path: Path) -> str:
    """Return what to do about a checkpoint that cannot be used."""
    others = [other for other in list_checkpoints(path.parent) if other != path]
    return f"Remove it, or resume from {others[-1].name}." if others else "Remove it and start anew."


def _step_of(path: Path) -> int:
    """Return the steps in a checkpoint's name."""
    return int(_NAME.fullmatch(path.name)[1])
