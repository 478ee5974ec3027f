"""Connected regions of a mask, their holes and specks; numpy alone."""

import numpy as np
from jaxtyping import Bool, Int


def connected_regions(mask: Bool[np.ndarray, "H W"]) -> tuple[Int[np.ndarray, "H W"], Int[np.ndarray, " n"]]:
    """Return the number of the region that each pixel belongs to, and the regions' areas in pixels.

    Pixels that touch by a side or a corner belong together. Regions are numbered from 1 in reading order of
    their first pixel, 0 is outside; `areas[k]` belongs to region k + 1.
    """
    rows, starts, ends = _runs(mask)
    first, second = _touching(rows, starts, ends, mask.shape[1])
    _, run_regions = np.unique(_roots(first, second, len(rows)), return_inverse=True)
    regions = np.zeros(mask.shape, np.int32)
    lengths = ends - starts
    # Runs lie in reading order, as the pixels of a boolean index do.
    regions[mask] = np.repeat(run_regions + 1, lengths)
    return regions, np.bincount(run_regions, weights=lengths).astype(np.int64)


def without_small_regions(
    mask: Bool[np.ndarray, "H W"], min_area: int
) -> tuple[Bool[np.ndarray, "H W"], bool]:
    """Return a mask whose small holes are filled and whose small regions are gone, and whether it had such.

    Of regions that are all too small the largest stays (of equal ones the first), so that no mask is emptied.
    A corner of the picture that the subject cuts off is a hole too.

    Args:
        mask: True on the subject.
        min_area: in pixels; what is smaller goes.

    Source: segment-anything, utils/amg.py, remove_small_regions (holes first, then islands).
    """
    gaps, gap_areas = connected_regions(~mask)
    mask = mask | _numbered(gaps, gap_areas < min_area)
    regions, areas = connected_regions(mask)
    large = areas >= min_area
    changed = bool((gap_areas < min_area).any()) or not large.all()
    if large.size and not large.any():
        large[areas.argmax()] = True
    return _numbered(regions, large), changed


def _runs(
    mask: Bool[np.ndarray, "H W"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return row, first column and column after the last of each horizontal run, in reading order."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return rows, starts, ends


def _touching(
    rows: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], ends: Int[np.ndarray, " n"], width: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Return the pairs of runs in neighbouring rows that touch by a side or a corner."""
    # One number a position, rows apart by more than any column, so that one search serves all rows.
    stride = width + 2
    low = np.searchsorted(rows * stride + ends, (rows + 1) * stride + starts, side="left")
    high = np.searchsorted(rows * stride + starts, (rows + 1) * stride + ends, side="right")
    counts = np.maximum(high - low, 0)
    first = np.repeat(np.arange(len(rows)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, np.repeat(low, counts) + offsets


def _roots(
    first: Int[np.ndarray, " m"], second: Int[np.ndarray, " m"], num_runs: int
) -> Int[np.ndarray, " n"]:
    """Return for each run the first run that it is connected with, through any number of pairs."""
    roots = np.arange(num_runs)
    while (roots[first] != roots[second]).any():
        least = np.minimum(roots[first], roots[second])
        np.minimum.at(roots, roots[first], least)
        np.minimum.at(roots, roots[second], least)
        while (roots[roots] != roots).any():
            roots = roots[roots]
    return roots


def _numbered(regions: Int[np.ndarray, "H W"], chosen: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, "H W"]:
    """Return the pixels of the chosen regions."""
    return np.concatenate([[False], chosen])[regions]
