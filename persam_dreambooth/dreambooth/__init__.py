"""A run of train_dreambooth.py: its stages, what joins them, and what is told of it."""

from persam_dreambooth.dreambooth.announcement import summary, truth
from persam_dreambooth.dreambooth.background_watch import watch_background
from persam_dreambooth.dreambooth.decoys import find_decoys
from persam_dreambooth.dreambooth.environment import write_record
from persam_dreambooth.dreambooth.fitting import fit, training_digest
from persam_dreambooth.dreambooth.inputs import accelerator_for, check, load, read_album, run_folder
from persam_dreambooth.dreambooth.stages import (
    CACHE_FOLDER,
    CLASS_FOLDER,
    MASKS_FOLDER,
    background_of,
    begin,
    draw_class_images,
    encode_examples,
    find_subject,
    objective,
    with_masks,
)
from persam_dreambooth.dreambooth.validation import draw_samples

__all__ = [
    "CACHE_FOLDER",
    "CLASS_FOLDER",
    "MASKS_FOLDER",
    "accelerator_for",
    "background_of",
    "begin",
    "check",
    "draw_class_images",
    "draw_samples",
    "encode_examples",
    "find_decoys",
    "find_subject",
    "fit",
    "load",
    "objective",
    "read_album",
    "run_folder",
    "summary",
    "training_digest",
    "truth",
    "watch_background",
    "with_masks",
    "write_record",
]
