"""What the measures are validated on: one subject's photos, and pictures that show nothing of their place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

LARGEST_SIDE = 256
"""Pixels of the shorter side at most; larger pictures are scaled down: features look at no more."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture and where its subject is."""

    pixels: UInt8[np.ndarray, "H W 3"]
    mask: Bool[np.ndarray, "H W"] | None = None
    """True on the subject; None where there is none."""

    @property
    def background(self) -> Bool[np.ndarray, "H W"]:
        """True where the picture shows no subject."""
        return np.ones(self.pixels.shape[:2], dtype=bool) if self.mask is None else ~self.mask


@dataclass(frozen=True, eq=False)
class Case:
    """One subject.

    Several cases may carry one name: they are one subject, with other photos held out.
    """

    name: str
    photos: Sequence[Shot]
    """The photos that a model would be trained on: what fills the bank."""
    hosts: Sequence[Shot]
    """Pictures without any leak; they stand for those of the base model."""
    decoys: Sequence[Shot]
    """Other places; see `banks.build_banks`."""
    held_out: Sequence[Shot] = ()
    """Further views of the photos' place, which no bank holds."""
    foreign: Sequence[Shot] = ()
    """Places that neither the photos nor the decoys show; one replaces a host's background."""
    look_alikes: Sequence[Shot] = ()
    """The same, of the same kind as the photos' place: another living room."""


@dataclass(frozen=True, eq=False)
class Data:
    """All subjects that one validation looks at."""

    description: str
    cases: list[Case] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """The subjects, each once."""
        return list(dict.fromkeys(case.name for case in self.cases))


def shrunk(shot: Shot) -> Shot:
    """Return a picture whose shorter side has at most LARGEST_SIDE pixels."""
    height, width = shot.pixels.shape[:2]
    scale = LARGEST_SIDE / min(height, width)
    if scale >= 1:
        return shot
    size = round(width * scale), round(height * scale)
    pixels = np.asarray(Image.fromarray(shot.pixels).resize(size, Image.Resampling.LANCZOS))
    if shot.mask is None:
        return Shot(pixels)
    mask = Image.fromarray(np.where(shot.mask, 255, 0).astype(np.uint8))
    return Shot(pixels, np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) > 127)
