"""The folder of a run: settings, log, results, and a stamp for every finished stage, all whole or absent.

    config.yaml         the settings, ready for --config
    environment.json    versions, device, digests of photos, masks and models
    log.jsonl           one line of JSON a training step
    stages.json         digest of what each finished stage was made from

A stage whose stamp carries the digest of its present inputs need not run again.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from persam_dreambooth.errors import UserError
from persam_dreambooth.files import write_text

STAGES_FILE = "stages.json"
LOG_FILE = "log.jsonl"

_HALF = re.compile(
    r"\.(pipeline|pytorch_lora_weights|pytorch_lora_weights_kohya|config|environment|stages|log|README)"
    r"\.\w{8}(\.\w+)?"
)
"""Names that files and folders have while they are written (files.py, diffusion/folders.py)."""


def digest_of(*parts: object) -> str:
    """Return the sha256 (hex) of values as JSON (what JSON cannot hold, by its text)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def check_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Raise UserError unless files can be made in a folder, or the folder itself; leaves no trace."""
    folder = Path(folder)
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f"{flag} {folder}: {nearest} is a file; a folder is needed. Name another one.")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"{flag} {folder}: not writable ({error.strerror}); a folder for the results is needed. "
            "Name another one, or change its permissions."
        ) from error


class RunFolder:
    """One run's folder. It appears with the first file that is written to it.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, flag: str = "--output_dir") -> None:
        """Check that the folder can be written to, before anything that takes long.

        Raises:
            UserError: it cannot.
        """
        self.path = Path(path)
        check_writable(self.path, flag)

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file atomically; return its path."""
        write_text(self.path / name, text)
        return self.path / name

    def write_json(self, name: str, value: object) -> Path:
        """Write a JSON file atomically; return its path."""
        return self.write_text(name, json.dumps(value, indent=2, default=str) + "\n")

    def read_json(self, name: str) -> object | None:
        """Return what a JSON file holds, or None where there is none.

        Raises:
            UserError: the file is no JSON.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: no valid JSON ({error}). Remove the file and run again.") from error

    def log(self, record: Mapping[str, object]) -> None:
        """Append one line of JSON to log.jsonl, in one write: a kill leaves a whole line or none."""
        self.path.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(dict(record), default=str) + "\n").encode()
        handle = os.open(self.path / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if os.write(handle, line) < len(line):
                # The system says so only on the next write.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path / LOG_FILE))
        finally:
            os.close(handle)

    def read_log(self) -> list[dict]:
        """Return the lines of log.jsonl, oldest first; none where there is no log."""
        path = self.path / LOG_FILE
        if not path.is_file():
            return []
        return [record for line in path.read_text(encoding="utf-8").splitlines() if (record := _record(line))]

    def forget_log_after(self, step: int) -> None:
        """Drop the log lines of steps after `step`: a resumed run does those steps again."""
        path = self.path / LOG_FILE
        if not path.is_file():
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if (record := _record(line)) and record["step"] <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))

    def remove_halves(self) -> None:
        """Remove what a killed process was writing at the top of the folder; nothing of anybody else's."""
        for path in self.path.glob(".*"):
            if not _HALF.fullmatch(path.name):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def is_done(self, stage: str, digest: str, outputs: Iterable[str] = ()) -> bool:
        """Return whether a stage finished with inputs of this digest and its outputs are still there."""
        stamps = self.read_json(STAGES_FILE) or {}
        return stamps.get(stage) == digest and all((self.path / name).exists() for name in outputs)

    def mark_done(self, stage: str, digest: str) -> None:
        """Stamp a stage as finished with inputs of this digest."""
        stamps = self.read_json(STAGES_FILE) or {}
        self.write_json(STAGES_FILE, {**stamps, stage: digest})

    def forget(self, stage: str) -> None:
        """Remove a stage's stamp, before its outputs are touched."""
        stamps = self.read_json(STAGES_FILE) or {}
        if stamps.pop(stage, None) is not None:
            self.write_json(STAGES_FILE, stamps)


def _record(line: str) -> dict | None:
    """Return what a line of the log holds; None for half a line, of a power cut or a full disk."""
    try:
        return json.loads(line)
    except ValueError:
        return None
