"""Trackers (TensorBoard, Weights & Biases, ...) through accelerate: which ones, and what they are told.

Source: accelerate.tracking; names, layout and pictures as in diffusers' DreamBooth scripts.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image

from persam_dreambooth.errors import UserError, did_you_mean

DEFAULT = "tensorboard"
ALL, NONE = "all", "none"

PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "comet_ml": ("comet_ml",)}
"""Packages of which one is needed, where the tracker's name is not the package's."""


def known_trackers() -> list[str]:
    """Return the names that accelerate knows, in alphabetical order."""
    return sorted(str(name) for name in LOGGER_TYPE_TO_CLASS)


def is_installed(tracker: str) -> bool:
    """Return whether a tracker's package is there; it is not imported."""
    return any(importlib.util.find_spec(name) for name in PACKAGES.get(tracker, (tracker,)))


def chosen_trackers(report_to: str | None) -> tuple[list[str], str]:
    """Return which trackers are told of the run, and a word for the person where there are none.

    Args:
        report_to: names with commas between them; "all" is every one that is installed, "none" is none, and
            None is TensorBoard where it is installed.

    Raises:
        UserError: a name is unknown, or its package is not installed.
    """
    if report_to == NONE:
        return [], ""
    if report_to is None:
        if is_installed(DEFAULT):
            return [DEFAULT], ""
        return [], f"no tracker: {DEFAULT} is not installed; the losses are in log.jsonl all the same"
    if report_to == ALL:
        found = [name for name in known_trackers() if is_installed(name)]
        return found, "" if found else "no tracker: none is installed; the losses are in log.jsonl"
    names = [name.strip() for name in report_to.split(",")]
    for name in names:
        _check(name)
    return names, ""


def start_trackers(
    accelerator: Accelerator, project: str, settings: Mapping[str, object], *, first_step: int = 1
) -> None:
    """Let the accelerator's trackers begin; the settings go with them, as text, number or truth value.

    Args:
        accelerator: made with the names from `chosen_trackers`.
        project: name of the project; for TensorBoard the folder below the logging folder.
        settings: of the run. TensorBoard takes no lists: those become text.
        first_step: the one to be taken now. What TensorBoard was told of it and of later ones, by a run that
            was cut off, is hidden.
    """
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in settings.items()
    }
    options = {DEFAULT: {"purge_step": first_step}}
    accelerator.init_trackers(project, config=plain, init_kwargs=options)


def track_pictures(accelerator: Accelerator, name: str, paths: Sequence[Path], step: int) -> None:
    """Show pictures, all of one size, to the trackers that take any.

    Args:
        accelerator: with its trackers begun.
        name: "validation" during the training, "test" at its end, as in diffusers.
        paths: of the pictures.
        step: steps done.
    """
    trackers = [tracker for tracker in accelerator.trackers if hasattr(tracker, "log_images")]
    if not trackers:
        return
    pictures = np.stack([np.asarray(_read(path)) for path in paths])
    for tracker in trackers:
        _show(tracker, name, pictures, step)


def _check(name: str) -> None:
    """Raise UserError unless a tracker is known and installed."""
    known = known_trackers()
    if name not in known:
        raise UserError(
            f"--report_to {name}: unknown; {', '.join(known)}, {ALL} or {NONE} is needed."
            f"{did_you_mean(name, known)}"
        )
    if not is_installed(name):
        package = PACKAGES.get(name, (name,))[0]
        raise UserError(
            f"--report_to {name}: the package {package} is not installed; it is needed. "
            f"pip install {package}, or --report_to {NONE}."
        )


def _show(tracker: GeneralTracker, name: str, pictures: np.ndarray, step: int) -> None:
    """Show pictures [n H W 3] to one tracker."""
    # TensorBoard assumes [n 3 H W].
    options = {"dataformats": "NHWC"} if tracker.name == DEFAULT else {}
    tracker.log_images({name: pictures}, step=step, **options)


def _read(path: Path) -> Image.Image:
    """Return a picture in RGB."""
    with Image.open(path) as picture:
        return picture.convert("RGB")
