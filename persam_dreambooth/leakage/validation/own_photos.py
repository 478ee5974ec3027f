"""Cases of somebody's photos: leaks planted in the base model's pictures, or in photos of other subjects."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.banks import NUM_BANKS
from persam_dreambooth.leakage.features import Features, background_cells
from persam_dreambooth.leakage.validation.cases import Case, Data, Shot, shrunk
from persam_dreambooth.leakage.validation.outcomes import FEWEST_HOSTS
from persam_dreambooth.leakage.validation.protocol import validate

MOST_HOSTS = 6
"""Base pictures that `validate_on` uses: it is part of every comparison, and should take seconds."""
LEVELS = (0.1, 0.25, 0.5)
HOST_EVERY = 3
"""Of so many pictures of other places one has leaks planted in; the others are decoys."""

Pixels = UInt8[np.ndarray, "H W 3"]
Mask = Bool[np.ndarray, "H W"]


def validate_on(
    photos: Sequence[Pixels],
    masks: Sequence[Mask],
    decoys: Sequence[Pixels],
    features: Features,
    *,
    hosts: Sequence[tuple[Pixels, Mask | None]],
    num_banks: int = NUM_BANKS,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return how well leaks of these photos are seen in the base model's pictures, for a report.

    Args:
        photos: the training photos.
        masks: True on the subject in each.
        decoys: as for `banks.build_banks`.
        features: what describes a cell.
        hosts: the base model's pictures and the subject's masks in them. Of more than MOST_HOSTS, some that
            are evenly spaced.
        num_banks: decoy banks K.
        seed: decides everything that is drawn at random.

    Returns:
        a flat dict: `rho_<mode>`, `false_alarm`, `power_10`, `power_25`, `power_50`, `smallest_share`, all of
        pasted leaks and the attribution; None where the pictures that show background are too few to tell.
    """
    usable = [host for host in hosts if shows_background(Shot(*host))]
    shots = (shrunk(Shot(*photo)) for photo in zip(photos, masks, strict=True))
    # With one that is all subject held out the rest would still do, with the only other one held out not.
    album = [shot for shot in shots if shows_background(shot)]
    if len(usable) < FEWEST_HOSTS or not album:
        return None
    chosen = np.linspace(0, len(usable) - 1, min(MOST_HOSTS, len(usable))).round().astype(int)
    others = [Shot(decoy) for decoy in decoys]
    planted_in = [shrunk(Shot(*usable[number])) for number in chosen]
    data = Data(
        "these photos, planted in the base model's pictures", folds("photos", album, planted_in, others)
    )
    return flat(validate(data, features, levels=LEVELS, num_banks=num_banks, seed=seed))


def shows_background(shot: Shot) -> bool:
    """Return whether a picture has any cell without subject, so that anything can leak into it."""
    return bool(background_cells(shot.mask, shot.pixels.shape[:2]).any())


def folds(name: str, album: Sequence[Shot], hosts: Sequence[Shot], decoys: Sequence[Shot]) -> list[Case]:
    """Return one subject as cases with a photo held out each, and its hosts dealt out among them.

    An album of fewer than three photos is one case, of which nothing is held out.

    Args:
        name: of the subject.
        album: its photos.
        hosts: pictures to plant leaks in.
        decoys: other places.
    """
    if len(album) < 3:
        return [Case(name, album, hosts, decoys)]
    cases = []
    for out in range(min(len(album), len(hosts))):
        photos = [photo for number, photo in enumerate(album) if number != out]
        own = [number for number in range(len(hosts)) if number % len(album) == out]
        # Foreign places are the backgrounds of other hosts: of the next one in the whole list.
        cases.append(
            Case(
                name,
                photos,
                [hosts[number] for number in own],
                decoys,
                held_out=[album[out]],
                foreign=[hosts[(number + 1) % len(hosts)] for number in own],
            )
        )
    return cases


def album_data(
    albums: Mapping[str, Sequence[Shot]], places: Sequence[Shot], *, num_hosts: int, num_banks: int
) -> Data:
    """Return albums of photos as cases; what is not the subject's own stands for generated pictures.

    Args:
        albums: photos with masks, by subject. With several, the photos of every other subject are places.
        places: pictures of other places, without the subjects.
        num_hosts: pictures to plant leaks in, of each subject, at most.
        num_banks: decoy banks K.

    Raises:
        UserError: there are too few pictures of other places.
    """
    cases: list[Case] = []
    names = list(albums)
    small = {
        name: [photo for photo in map(shrunk, album) if shows_background(photo)]
        for name, album in albums.items()
    }
    for name in names:
        others = [shot for other in names if other != name for shot in small[other]]
        hosts, decoys = _dealt([*(shrunk(place) for place in places), *others], name, num_hosts, num_banks)
        cases += folds(name, small[name], hosts, decoys)
    subjects = f"{len(albums)} albums" if len(albums) > 1 else "one album"
    return Data(f"{subjects} of photos ({', '.join(albums)}), planted in photos of other places", cases)


def flat(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a report shows of a validation: the attribution's numbers, one below the other."""
    found = result["scores"]["attribution"]
    paste = found["modes"]["paste"]
    told = {f"rho_{mode}": response["rho"] for mode, response in found["modes"].items()}
    powers = {f"power_{round(100 * float(level))}": at["power"] for level, at in paste["levels"].items()}
    alarms = found["false_alarms"]["benign"]
    return {
        "features": result["features"]["name"],
        "data": result["data"],
        "num_pictures": result["num_pictures"],
        **told,
        **powers,
        "smallest_share": paste["smallest_share"],
        "false_alarm": alarms and alarms["rate"],
        "base": found["base"],
        "gates_failed": sum(not gate["passed"] for gate in result["gates"]),
    }


def _dealt(
    places: Sequence[Shot], name: str, num_hosts: int, num_banks: int
) -> tuple[list[Shot], list[Shot]]:
    """Return hosts and decoys from pictures of other places."""
    num_kept = min(num_hosts, len(places) // HOST_EVERY, len(places) - num_banks)
    if num_kept < FEWEST_HOSTS:
        raise UserError(
            f"--photos: {len(places)} pictures of other places than {name}'s; at least "
            f"{max(num_banks + FEWEST_HOSTS, HOST_EVERY * FEWEST_HOSTS)} are needed, as decoys and to plant "
            "leaks in. Give more with --decoys, or photos of more subjects in folders of their own."
        )
    # Every third: decoys show the same kinds of places as hosts do, as they do for a base model's pictures.
    chosen = range(HOST_EVERY - 1, HOST_EVERY * num_kept, HOST_EVERY)
    return [places[k] for k in chosen], [place for k, place in enumerate(places) if k not in chosen]
