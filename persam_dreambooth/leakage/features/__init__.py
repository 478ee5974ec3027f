"""What describes the cells of pictures: one small interface, several kinds of features behind it.

Whatever they are, the subject is removed before a picture is encoded: nothing that is said of its background
follows from the subject's pixels, to the bit.
"""

from persam_dreambooth.leakage.features.cells import (
    NUM_CELLS,
    Cells,
    Features,
    background_cells,
    grid_of,
    widened_by,
)
from persam_dreambooth.leakage.features.colour import NAME as COLOUR
from persam_dreambooth.leakage.features.loading import NAMES, ct_features, load_features

__all__ = [
    "COLOUR",
    "NAMES",
    "NUM_CELLS",
    "Cells",
    "Features",
    "background_cells",
    "ct_features",
    "grid_of",
    "load_features",
    "widened_by",
]
