"""A generated picture and what was asked for: the unit that everything here is counted in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from persam_dreambooth.photos import read_photo

Family = Literal["recontext", "bare", "class", "none"]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""What a prompt asks for: the subject somewhere, the subject and no place, its class, a place alone."""
RECONTEXT, CLASS, NO_SUBJECT = "recontext", "class", "none"
"""Prompt families: the subject in another place; its class alone; a place without any subject."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One generated picture.

    Pictures of two arms belong together where prompt and seed are equal. Where the base model was asked
    without the rare word, its picture still carries the prompt that the tuned models got.
    """

    prompt: str
    background: str | None
    """Name of the background that the prompt asks for; None where it asks for none, or names do not exist."""
    seed: int
    pixels: UInt8[np.ndarray, "H W 3"] = field(repr=False)
    """RGB, 0 to 255."""
    family: Family = "recontext"
    """What kind of prompt it is."""
    step: int | None = None
    """Optimizer steps of the checkpoint that drew it; None for the finished model."""
    path: Path | None = None
    """The picture's file, if it has one."""

    @property
    def key(self) -> tuple[str, int]:
        """(prompt, seed): what pairs pictures over the arms."""
        return self.prompt, self.seed


@runtime_checkable
class Drawn(Protocol):
    """A picture in a file, as the generation stage hands it on."""

    @property
    def prompt(self) -> str:
        """What was asked for."""

    @property
    def seed(self) -> int:
        """What its noise came from."""

    @property
    def path(self) -> Path:
        """The picture's file."""


def read_pictures(drawn: Iterable[Drawn], backgrounds: Mapping[str, str] | None = None) -> list[Picture]:
    """Read generated pictures.

    Args:
        drawn: prompt, seed and file of each.
        backgrounds: by prompt, the name of the background it asks for; other prompts ask for none.

    Raises:
        UserError: a file is missing or no picture.
    """
    names = backgrounds or {}
    return [
        Picture(
            item.prompt, names.get(item.prompt), item.seed, read_photo(item.path).pixels, path=Path(item.path)
        )
        for item in drawn
    ]
