"""The sample subjects of instance_images/: who they are, and the script that drew their photos.

    python -m persam_dreambooth.toyworld.samples --out instance_images

Four of five photos show the same place, which is what makes a background leak. The reference mask of the
first photo is exact.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from persam_dreambooth.photos import write_mask
from persam_dreambooth.toyworld.scene import Scene, render

PHOTO_SIZE = 256
"""Pixels; the toy models see 128, so that masks and photos go through a real resize."""


@dataclass(frozen=True)
class Sample:
    """A sample subject.

    Attributes:
        subject: Its class.
        identity: Its number; no model was trained on it.
        room: The number of the place where most photos were taken.
        photos: Place and seed of each photo.
    """

    subject: str
    identity: int
    room: int
    photos: tuple[tuple[str, int], ...]

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """The places in the photos, each once, the most frequent first."""
        places = [place for place, _ in self.photos]
        return tuple(sorted(set(places), key=lambda place: (-places.count(place), place)))


SAMPLES = {
    "cat": Sample("cat", 20031, 5, (("room", 11), ("room", 2), ("room", 3), ("room", 4), ("kitchen", 5))),
    "robot": Sample(
        "robot", 20014, 3, (("kitchen", 1), ("kitchen", 2), ("kitchen", 3), ("kitchen", 4), ("library", 5))
    ),
}


def photos_of(sample: Sample) -> list[Scene]:
    """The sample's photos as scenes, with their truth."""
    return [
        render(sample.subject, place, sample.identity, seed, room=sample.room, size=PHOTO_SIZE)
        for place, seed in sample.photos
    ]


def main() -> None:
    """Write every sample's photos, and the reference mask beside the first one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("instance_images"))
    args = parser.parse_args()
    for name, sample in SAMPLES.items():
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(photos_of(sample)):
            Image.fromarray(scene.image).save(folder / f"{number:02d}.png", optimize=True)
            if number == 0:
                write_mask(folder / "00.mask.png", scene.mask)


if __name__ == "__main__":
    main()
