"""What the commands about leakage print at their end."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tell(result: Mapping[str, Any], page: Path, *, as_json: bool) -> None:
    """Print a comparison: a table and where the page is, or everything as JSON and nothing else.

    Args:
        result: the content of report.json.
        page: report.html.
        as_json: for programs.
    """
    from persam_dreambooth.leakage.table import table

    if as_json:
        print(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print(f"{table(result)}\n\nreport: {page}")


def command_line() -> str:
    """Return the command that is running, as it can be typed again."""
    return shlex.join(["persam-dreambooth", *sys.argv[1:]])
