"""Whether a subject that is not in a picture is called missing, and one that is there is not.

    python benchmarks/subject_presence.py                    # rendered scenes through the VAE: a minute
    python benchmarks/subject_presence.py --leakbench DIR    # and what models drew, of a run of LeakBench

For each toy subject the line is drawn as `compare` draws it (leakage/presence.py), from other individuals of
its class and half of the empty places. What is counted has no part in that:

    class         individuals of the class that the line was not drawn from                    there
    own room      the very rooms of the photos, without anybody                                not there
    places        the other half of the empty places                                           not there
    erased        individuals of the class, painted over with their surroundings               not there
    faded         the same, a quarter of the individual still showing through                  neither
    other class   one of each other class in the photos' rooms                                 another thing

With --leakbench the base model's own pictures and decoys draw the line, and the pictures of all trained
models are counted: `tuned, class seen` where the toy world's judge sees the class, `tuned, not seen` else.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from leakbench_plan import Subject, toy_subjects

from persam_dreambooth.diffusion.generate import PROMPTS_FILE
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.leakage.decoys import round_trip
from persam_dreambooth.leakage.features.cells import widened
from persam_dreambooth.leakage.features.fill import without_subject
from persam_dreambooth.leakage.finder import Found, Look, Pixels, presence_in, subject_look
from persam_dreambooth.leakage.presence import Presence
from persam_dreambooth.leakage.validation.outcomes import area_under_curve
from persam_dreambooth.photos import Photo, array_digest, read_photo
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.classifier import judge, load_classifier
from persam_dreambooth.toyworld.samples import PHOTO_SIZE
from persam_dreambooth.toyworld.scene import render

NUM_BASE = 16
"""Individuals of the class that the line is drawn from."""
NUM_TESTED = 12
"""Of each kind of picture that is counted."""
ABSENT = ("own room", "places", "erased")
"""Kinds in which there certainly is no subject."""
KINDS = ("class", *ABSENT, "faded", "other class", "tuned, class seen", "tuned, not seen")
_PLACES = tuple(backgrounds.BACKGROUNDS)


@dataclass(frozen=True)
class Told:
    """What was found in one picture of a kind."""

    subject: str
    kind: str
    resemblance: float
    """-1 where no mask could be used."""
    is_there: bool


def look_of(segmenter: Segmenter, subject: Subject) -> Look:
    """Return what looks for a subject, with its first photo and exact mask."""
    place, room = subject.scenes[0]
    scene = render(subject.noun, place, subject.identity, 1, room=room, size=PHOTO_SIZE)
    photo = Photo(Path("00.png"), scene.image, array_digest(scene.image))
    return subject_look(segmenter, photo, scene.mask)


def rendered(subject: Subject, drawn: Callable[[Pixels], Pixels], side: int) -> dict[str, list[Pixels]]:
    """Return pictures of each kind, and those that the line is drawn from as `base` and `empty`.

    Args:
        subject: whose.
        drawn: makes a rendering look drawn.
        side: of the pictures, in pixels.
    """

    def of_class(number: int) -> tuple[Pixels, np.ndarray]:
        scene = render(subject.noun, _PLACES[number % len(_PLACES)], 40_000 + number, number, size=side)
        return drawn(scene.image), scene.mask

    def empty(number: int) -> Pixels:
        return drawn(render(None, _PLACES[number % len(_PLACES)], 0, number, size=side).image)

    rooms = [subject.scenes[number % len(subject.scenes)] for number in range(NUM_TESTED)]
    tested = [of_class(number) for number in range(NUM_BASE, NUM_BASE + NUM_TESTED)]
    erased = [without_subject(pixels, widened(mask)) for pixels, mask in tested]
    faded = [0.25 * whole + 0.75 * gone for (whole, _), gone in zip(tested, erased, strict=True)]
    others = [other.noun for other in toy_subjects() if other.noun != subject.noun]
    return {
        "base": [of_class(number)[0] for number in range(NUM_BASE)],
        "empty": [empty(number) for number in range(2 * len(_PLACES))],
        "class": [pixels for pixels, _ in tested],
        "own room": [
            drawn(render(None, place, 0, 900 + number, room=room, size=side).image)
            for number, (place, room) in enumerate(rooms)
        ],
        "places": [empty(number) for number in range(100, 100 + len(_PLACES))],
        "erased": erased,
        "faded": [pixels.astype(np.uint8) for pixels in faded],
        "other class": [
            drawn(render(noun, *rooms[number][:1], 50_000, number, room=rooms[number][1], size=side).image)
            for number, noun in enumerate(others)
        ],
    }


def from_leakbench(folder: Path, subject: Subject) -> dict[str, list[Pixels]]:
    """Return what models drew: the base's pictures, decoys, and the trained models' by the judge's word."""
    tuned = _pictures(sorted((folder / "runs" / subject.name).glob("*/step-*")))
    kinds = judge(load_classifier(), np.stack(tuned)).names("subject") if tuned else []
    decoys = _pictures([folder / "decoys"])
    return {
        "base": _pictures([folder / "base" / subject.name]),
        "empty": decoys[::2],
        "places": decoys[1::2],
        "tuned, class seen": [one for one, kind in zip(tuned, kinds, strict=True) if kind == subject.noun],
        "tuned, not seen": [one for one, kind in zip(tuned, kinds, strict=True) if kind != subject.noun],
    }


def told_of(look: Look, presence: Presence, subject: str, pictures: dict[str, list[Pixels]]) -> list[Told]:
    """Return what is found in the pictures that are counted."""
    told = []
    for kind in KINDS:
        for pixels in pictures.get(kind, ()):
            found: Found | None = look(pixels)
            is_there = found is not None and presence.is_there(found.resemblance)
            told.append(Told(subject, kind, -1.0 if found is None else found.resemblance, is_there))
    return told


def table(told: list[Told]) -> str:
    """Return for each kind the number of pictures, of those called missing, and their resemblance."""
    present = np.array([one.resemblance for one in told if one.kind in ("class", "tuned, class seen")])
    lines = [
        "| picture | pictures | called missing | of each subject | resemblance: least, median, most | AUC |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        own = [one for one in told if one.kind == kind]
        if not own:
            continue
        by_subject = defaultdict(list)
        for one in own:
            by_subject[one.subject].append(not one.is_there)
        shares = [np.mean(values) for values in by_subject.values()]
        values = np.array([one.resemblance for one in own])
        missing = np.mean([not one.is_there for one in own])
        auc = f"{area_under_curve(present, values):.2f}" if kind in ABSENT else "–"
        lines.append(
            f"| {kind} | {len(own)} | {missing:.1%} | {min(shares):.0%} to {max(shares):.0%} | "
            f"{values.min():.2f}, {np.median(values):.2f}, {values.max():.2f} | {auc} |"
        )
    return "\n".join(lines)


def measure(pictures_of: Callable[[Subject], dict[str, list[Pixels]]]) -> tuple[list[Told], list[Presence]]:
    """Return what is found for every subject, and the lines.

    Args:
        pictures_of: returns a subject's pictures by kind.
    """
    segmenter, told, lines = Segmenter.load("toy"), [], []
    for subject in toy_subjects():
        look, pictures = look_of(segmenter, subject), pictures_of(subject)
        presence = presence_in(look, pictures["base"], pictures["empty"])
        told += told_of(look, presence, subject.name, pictures)
        lines.append(presence)
    return told, lines


def main() -> None:
    """Measure, print the tables and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leakbench", type=Path, metavar="DIR", help="folder of a run of LeakBench")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers as JSON")
    args = parser.parse_args()
    models = load_models("toy")
    side = models.default_resolution
    sources: dict[str, Callable[[Subject], dict[str, list[Pixels]]]] = {
        "rendered": lambda subject: rendered(subject, lambda pixels: round_trip(models, pixels, side), side)
    }
    if args.leakbench:
        sources["drawn"] = lambda subject: from_leakbench(args.leakbench, subject)
    found = {}
    for name, pictures_of in sources.items():
        found[name], lines = measure(pictures_of)
        thresholds = [line.threshold for line in lines if line.threshold is not None]
        print(f"\n{name}: a line for {len(thresholds)} of {len(lines)} subjects", end="")
        print(f", {min(thresholds):.2f} to {max(thresholds):.2f}" if thresholds else "")
        print(table(found[name]), flush=True)
    if args.out:
        record = {name: [vars(one) for one in told] for name, told in found.items()}
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _pictures(folders: list[Path]) -> list[Pixels]:
    """Return the pictures that `generate` wrote to folders; a folder has its record once it is complete."""
    complete = [folder for folder in folders if (folder / PROMPTS_FILE).is_file()]
    return [read_photo(path).pixels for folder in complete for path in sorted(folder.glob("??_*.png"))]


if __name__ == "__main__":
    main()
