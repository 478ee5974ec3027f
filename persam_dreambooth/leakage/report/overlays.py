"""Cells of a picture's grid as one SVG path: the outline around them, without the lines between them."""

from collections.abc import Iterable

Cell = tuple[int, int]


def outline(cells: Iterable[Cell]) -> str:
    """Return the path around cells (row, column) in units of one cell; empty without cells.

    Each side of a cell that borders on none of the others is drawn, and sides in a line are one stroke.
    """
    inside = set(cells)
    across: dict[int, set[int]] = {}
    down: dict[int, set[int]] = {}
    for row, column in inside:
        if (row - 1, column) not in inside:
            across.setdefault(row, set()).add(column)
        if (row + 1, column) not in inside:
            across.setdefault(row + 1, set()).add(column)
        if (row, column - 1) not in inside:
            down.setdefault(column, set()).add(row)
        if (row, column + 1) not in inside:
            down.setdefault(column + 1, set()).add(row)
    strokes = [f"M{start} {row}h{length}" for row in sorted(across) for start, length in _runs(across[row])]
    strokes += [
        f"M{column} {start}v{length}" for column in sorted(down) for start, length in _runs(down[column])
    ]
    return "".join(strokes)


def filled(cells: Iterable[Cell]) -> str:
    """Return the path that fills cells (row, column), a stripe a row."""
    rows: dict[int, set[int]] = {}
    for row, column in cells:
        rows.setdefault(row, set()).add(column)
    return "".join(
        f"M{start} {row}h{length}v1h-{length}z" for row in sorted(rows) for start, length in _runs(rows[row])
    )


def subject_cells(text: str | None, grid: tuple[int, int]) -> list[Cell]:
    """Return the cells that the measure left out as subject, from a row's `subject_cells`."""
    columns = grid[1]
    return [divmod(number, columns) for number, cell in enumerate(text or "") if cell == "1"]


def _runs(numbers: set[int]) -> list[tuple[int, int]]:
    """Return (first, length) of the unbroken runs among whole numbers."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and sum(runs[-1]) == number:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((number, 1))
    return runs
