"""`persam-dreambooth report`: the page of a report.json, drawn again."""

from pathlib import Path
from typing import Annotated

import tyro


def report(file: Annotated[Path, tyro.conf.Positional], /, *, out: Path | None = None) -> None:
    """Write the page of a report.json again, from its numbers and the pictures that it names.

    Args:
        file: The report.json.
        out: The page; without it, report.html beside the file.
    """
    from persam_dreambooth.leakage.report import re_render

    print(f"report: {re_render(file, out)}")
