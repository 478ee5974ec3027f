"""What describes the cells of pictures: one small interface, several kinds of features behind it.

Whatever they are, the subject is removed before a picture is encoded: nothing that is said of its background
follows from the subject's pixels, to the bit.
"""

from persam_dreambooth.leakage.features.cells import (
    CELL,
    NUM_CELLS,
    SHORT_SIDE,
    Cells,
    Features,
    background_cells,
    grid_of,
)
from persam_dreambooth.leakage.features.colour import NAME, NUM_FEATURES, cell_features
from persam_dreambooth.leakage.features.loading import NAMES, ct_features, load_features

__all__ = [
    "CELL",
    "NAME",
    "NAMES",
    "NUM_CELLS",
    "NUM_FEATURES",
    "SHORT_SIDE",
    "Cells",
    "Features",
    "background_cells",
    "cell_features",
    "ct_features",
    "grid_of",
    "load_features",
]
