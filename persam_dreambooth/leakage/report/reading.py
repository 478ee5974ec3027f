"""report.json as it is read again: whole and of this program's schema, or refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.leakage.schema import SCHEMA
from persam_dreambooth.picture_files import nearest_path

JSON_FILE = "report.json"

_PARTS = {
    "verdict": str,
    "arms": dict,
    "differences": list,
    "prompts": list,
    "seeds": list,
    "inputs": dict,
    "rows": list,
}
"""What no report lacks, and its type; everything else may be missing."""
_ROW = ("arm", "prompt", "seed")


def read_report(path: Path) -> dict[str, Any]:
    """Return what a report.json holds.

    Raises:
        UserError: there is no such file, it is no JSON, no report of this program's schema, or not whole.
    """
    path = Path(path)
    if not path.is_file():
        is_folder = path.is_dir()
        hint = f" Did you mean {path / JSON_FILE}?" if (path / JSON_FILE).is_file() else nearest_path(path)
        raise UserError(
            f"{path}: {'a folder' if is_folder else 'no such file'}; the {JSON_FILE} of a comparison is "
            f"needed. Run persam-dreambooth compare first.{hint}"
        )
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path}: is no JSON ({one_line(error)}); the {JSON_FILE} of a comparison is needed. Run the "
            "comparison again."
        ) from error
    schema = told.get("schema") if isinstance(told, dict) else None
    if schema != SCHEMA:
        raise UserError(
            f"{path}: schema {schema!r}; {SCHEMA!r} is needed. Run the comparison again with this version, "
            "or read the file with the version that wrote it."
        )
    if lacking := _lacking(told):
        raise UserError(
            f"{path}: {lacking} is missing or of another type; a whole {JSON_FILE} is needed, as it was "
            "written. Run the comparison again."
        )
    return told


def _lacking(told: Mapping[str, Any]) -> str | None:
    """Return which part of a report is not there as it should be; None where all are."""
    for name, kind in _PARTS.items():
        if not isinstance(told.get(name), kind):
            return name
    for arm, found in told["arms"].items():
        if not isinstance(found, dict) or not isinstance(found.get("num_pictures"), int):
            return f"arms.{arm}.num_pictures"
    for number, found in enumerate(told["differences"]):
        if not isinstance(found, dict) or not {"arm", "minus"} <= found.keys():
            return f"differences.{number}.arm"
    if not isinstance(told["inputs"].get("photos"), list):
        return "inputs.photos"
    for number, row in enumerate(told["rows"]):
        name = next((name for name in _ROW if not isinstance(row, dict) or name not in row), None)
        if name:
            return f"rows.{number}.{name}"
    return None
