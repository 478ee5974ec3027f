"""What people see of a comparison: report.html, one file that needs nothing else, with two pictures."""

from persam_dreambooth.leakage.report.reading import JSON_FILE, read_report
from persam_dreambooth.leakage.report.writing import (
    BARS_FILE,
    GRID_FILE,
    HTML_FILE,
    re_render,
    write_report,
)

__all__ = [
    "BARS_FILE",
    "GRID_FILE",
    "HTML_FILE",
    "JSON_FILE",
    "re_render",
    "read_report",
    "write_report",
]
