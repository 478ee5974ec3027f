"""`persam-dreambooth report`: the page of a report.json, drawn again."""

from pathlib import Path
from typing import Annotated

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.run import check_writable

_SUFFIXES = (".html", ".htm")


def report(file: Annotated[Path, tyro.conf.Positional], /, *, out: Path | None = None) -> None:
    """Write the page of a report.json again, from its numbers and the pictures that it names.

    grid.png and bars.png are written beside the page.

    Args:
        file: The report.json.
        out: The page, a file that ends in .html; without it, report.html beside report.json.
    """
    if out is not None and (out.suffix.lower() not in _SUFFIXES or out.is_dir()):
        kind = "a folder" if out.is_dir() else "no page by its name"
        raise UserError(
            f"--out {out}: {kind}; a file that ends in .html is needed. For example {out / 'report.html'}."
        )
    check_writable((file if out is None else out).parent, "--out")
    from persam_dreambooth.leakage.report import re_render

    print(f"report: {re_render(file, out)}")
