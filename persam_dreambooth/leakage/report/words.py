"""Text as HTML: everything that comes from outside goes through here."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def text(value: object) -> str:
    """Return any text as HTML; a number stays on one line with its percent sign, and so does an interval."""
    told = escape(str(value)).replace(" %", "&nbsp;%")
    return re.sub(r"\[([−\d.]+), ([−\d.]+)\]", r"[\1,&nbsp;\2]", told)


def embedded(data: object) -> str:
    """Return data as JSON that may stand inside a script element, whatever strings it holds."""
    told = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return told.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def definitions(entries: Mapping[str, str]) -> str:
    """Return names with what is told of them, as a list; the values are HTML already."""
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in entries.items())
    return f"<dl>{rows}</dl>"


def section(title: str, body: str, *, anchor: str, css: str = "") -> str:
    """Return a section with its heading; nothing where there is no body."""
    if not body:
        return ""
    name = f' class="{css}"' if css else ""
    return f'<section id="{anchor}"{name}><h2>{text(title)}</h2>{body}</section>'


def table(
    head: Sequence[Sequence[Any]], lines: Sequence[Sequence[str]], caption: str, *, num_names: int = 1
) -> str:
    """Return a table that scrolls on narrow screens.

    Args:
        head: rows of (text, columns that it spans).
        lines: rows of cells; the first of each is its heading. Cells are HTML already.
        caption: HTML, above it.
        num_names: so many columns from the left hold words, which begin at one line; the others numbers.
    """

    def words(column: int) -> str:
        return ' class="words"' if 0 < column < num_names else ""

    tops = "".join(
        "<tr>"
        + "".join(
            f'<th scope="{"colgroup" if span > 1 else "col"}"'
            + (f' colspan="{span}"' if span > 1 else "")
            + f"{words(column)}>{name}</th>"
            for column, (name, span) in enumerate(row)
        )
        + "</tr>"
        for row in head
    )
    rows = "".join(
        f'<tr><th scope="row">{line[0]}</th>'
        + "".join(f"<td{words(column)}>{cell}</td>" for column, cell in enumerate(line[1:], start=1))
        + "</tr>"
        for line in lines
    )
    return (
        f'<div class="scroll" tabindex="0"><table><caption><span>{caption}</span></caption>'
        f"<thead>{tops}</thead><tbody>{rows}</tbody></table></div>"
    )
