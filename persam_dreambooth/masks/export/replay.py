"""Replay what a trainer will do with an export: which mask it finds, what it reads in it, what it trains."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.export import ai_toolkit, diffusion_pipe, kohya, onetrainer, simpletuner
from persam_dreambooth.masks.export.pixels import Seen, look
from persam_dreambooth.masks.export.reading import Pair, Reading, read_config
from persam_dreambooth.masks.export.trainers import CONFIG_FILES, Trainer

LOADERS: dict[Trainer, Callable[[Path], Reading]] = {
    "kohya": kohya.read,
    "kohya-alpha": kohya.read,
    "onetrainer": onetrainer.read,
    "simpletuner": simpletuner.read,
    "ai-toolkit": ai_toolkit.read,
    "diffusion-pipe": diffusion_pipe.read,
}


@dataclass(frozen=True)
class Replay:
    """What a trainer makes of an export."""

    to: Trainer
    photos: tuple[Seen, ...]
    problems: tuple[str, ...]
    """Sentences that name a file: where masks are ignored, or the training stops or goes wrong."""
    notes: tuple[str, ...]
    """Sentences: good to know."""


def replay(folder: Path, to: Trainer) -> Replay:
    """Return what a trainer makes of an export, from its settings as they are now.

    Args:
        folder: of the export.
        to: the trainer.

    Raises:
        UserError: the settings cannot be read, or name folders that are not there; a picture cannot be read.
    """
    folder = Path(folder)
    try:
        reading = LOADERS[to](folder)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        names = " and ".join(CONFIG_FILES[to])
        raise UserError(
            f"{folder}: {names}: not as {to} needs it ({error!r}); the lines that export-masks wrote are "
            "needed. Export again."
        ) from error
    seen = tuple(_seen(pair) for pair in reading.pairs)
    problems = [
        *reading.problems,
        *(line for photo in seen for line in _problems(photo, reading, folder, to)),
    ]
    if not seen:
        problems.append(f"{folder}: {to} finds no photos where its settings point; export again")
    return Replay(to, seen, tuple(dict.fromkeys(problems)), tuple(reading.notes))


def report(replayed: Replay) -> str:
    """Return a table of what the trainer sees, a line a photo."""
    paired = sum(photo.mask is not None for photo in replayed.photos)
    width = max([len(photo.photo.name) for photo in replayed.photos] + [5])
    mask_width = max([len(_mask_name(photo)) for photo in replayed.photos] + [4])
    head = f"{'photo':<{width}}  {'mask':<{mask_width}}  pixels trained  latent cells  outside  grey pixels"
    lines = [f"{replayed.to}: {paired} of {len(replayed.photos)} photos have a mask", head]
    for seen in replayed.photos:
        names = f"{seen.photo.name:<{width}}  {_mask_name(seen):<{mask_width}}"
        shares = f"{_percent(seen.pixel_weight, seen):>14}  {_percent(seen.cell_weight, seen):>12}"
        lines.append(f"{names}  {shares}  {_percent(seen.outside_share, seen):>7}  {_grey(seen)}")
    return "\n".join([*lines, *(f"note: {note}" for note in replayed.notes)])


def check(replayed: Replay) -> None:
    """Raise UserError, with the first problem and how many more there are, unless all masks are used."""
    if replayed.problems:
        more = len(replayed.problems) - 1
        others = f" ({more} more such problem{'s' if more > 1 else ''})" if more else ""
        raise UserError(f"{replayed.problems[0]}{others}.")


def _seen(pair: Pair) -> Seen:
    """Return what the trainer sees of one photo."""
    return Seen(pair.photo, None) if pair.mask is None else look(pair.photo, pair.mask, pair.rules)


def _problems(seen: Seen, reading: Reading, folder: Path, to: Trainer) -> list[str]:
    """Return what is wrong with one photo, as sentences."""
    if seen.mask is None:
        return [f"{seen.photo}: has no mask, and {reading.missing}; its mask is needed, so export again"]
    if seen.problem:
        return [f"{seen.mask}: {seen.problem}"]
    if to == "onetrainer":
        config = read_config(folder / "config.json")
        problem = onetrainer.nan_problem(config, is_white=seen.is_white, is_black=seen.is_black)
        if problem:
            return [f"{seen.mask}: {problem}"]
    if seen.is_white:
        return [
            f"{seen.mask}: is white all over, so that the whole photo is trained; paint the background black"
        ]
    if seen.is_black:
        return [
            f"{seen.mask}: is black all over as {to} reads it, so that nothing is trained; paint the "
            "subject white"
        ]
    return []


def _mask_name(seen: Seen) -> str:
    """Return the mask's name in the table."""
    if seen.mask is None:
        return "none"
    return "alpha" if seen.mask == seen.photo else seen.mask.name


def _percent(fraction: float, seen: Seen) -> str:
    """Return a share as text, or a dash where the trainer never gets that far."""
    return "-" if seen.problem else f"{fraction:.1%}"


def _grey(seen: Seen) -> str:
    """Return what becomes of grey: of the mask's own, or of a pixel of 128."""
    if seen.problem or seen.mask is None:
        return "-"
    if not seen.grey_fraction:
        return f"none (128 would weigh {seen.grey_weight:.2f})"
    return f"{seen.grey_fraction:.1%}, weighing {seen.grey_weight:.2f}"
