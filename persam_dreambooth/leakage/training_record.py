"""What a run's folder says of its training: losses, what was measured on the way, what was proved.

log.jsonl           loss of each step; where it was measured, the background advantage with its decoys' band
background.json     how much of the update follows from the background
certificate.json    what `certify` found
"""

from pathlib import Path
from typing import Any

from persam_dreambooth.run import RunFolder

BACKGROUND_FILE = "background.json"
CERTIFICATE_FILE = "certificate.json"

_ADVANTAGE = ("background_advantage", "background_advantage_low", "background_advantage_high")


def training_of(run: Path) -> dict[str, Any]:
    """Return the curves of a training: lists of [step, value, ...], empty where nothing was measured."""
    lines = RunFolder(run, "--model").read_log()
    return {
        "losses": [[line["step"], line["loss"]] for line in lines if "loss" in line],
        "background_advantage": [
            [line["step"], *(line[name] for name in _ADVANTAGE)]
            for line in lines
            if all(name in line for name in _ADVANTAGE)
        ],
        "background_influence": _influence(run),
    }


def proof_of(run: Path) -> dict[str, Any] | None:
    """Return what `certify` wrote into a run's folder; None where it was not asked."""
    return _read(run, CERTIFICATE_FILE)


def _influence(run: Path) -> float | None:
    """Return how much of the update follows from the background, as `certify` or the training measured it."""
    records = (_read(run, name) or {} for name in (CERTIFICATE_FILE, BACKGROUND_FILE))
    found = (record.get("background_influence") for record in records)
    return next((value for value in found if isinstance(value, int | float)), None)


def _read(run: Path, name: str) -> dict[str, Any] | None:
    """Return a record of a run's folder, if it is there."""
    record = RunFolder(run, "--model").read_json(name)
    return record if isinstance(record, dict) else None
