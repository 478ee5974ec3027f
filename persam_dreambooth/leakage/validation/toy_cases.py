"""Cases of the drawn world: each subject with its own numbered place, of which more views can be had."""

from persam_dreambooth.leakage.validation.cases import Case, Data, Shot
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, Scene, render

SIZE = 128
"""Pixels of every picture: those of the pictures that the toy models draw."""
NUM_PHOTOS = 5
NUM_HELD_OUT = 3
DECOYS_A_PLACE = 4
"""Different rooms, beaches, ... of each kind of place; with 12 kinds 48 decoys."""

# Numbers of individuals and places, and of views, that nothing else here uses.
_IDENTITY, _PLACE, _HOST, _DECOY, _FOREIGN = 40_000, 41_000, 42_000, 43_000, 44_000


def toy_data(num_subjects: int, num_hosts: int, seed: int = 0) -> Data:
    """Return subjects of different kinds in different places.

    The photos of a subject all show one place; its hosts show others of its kind in other kinds of place, as
    the base model draws them. Decoys are places without a subject, of every kind, the photos' included.

    Args:
        num_subjects: number of cases; up to 12 with a kind of place each.
        num_hosts: pictures to plant leaks in, of each.
        seed: other seeds draw other individuals and places.
    """
    decoys = [
        Shot(render(None, place, 0, _DECOY + number, room=_DECOY + 100 * seed + number, size=SIZE).image)
        for place in BACKGROUNDS
        for number in range(DECOYS_A_PLACE)
    ]
    return Data(
        f"{num_subjects} drawn subjects, each in its own drawn place",
        [_case(number, num_hosts, decoys, seed) for number in range(num_subjects)],
    )


def _case(number: int, num_hosts: int, decoys: list[Shot], seed: int) -> Case:
    """Return one subject."""
    own = 100 * seed + number
    subject, place = SUBJECTS[number % len(SUBJECTS)], BACKGROUNDS[(5 * number + seed) % len(BACKGROUNDS)]
    others = [name for name in BACKGROUNDS if name != place]

    def view(kind: str, shot: int) -> Shot:
        return _shot(render(subject, kind, _IDENTITY + own, shot, room=_PLACE + own, size=SIZE))

    return Case(
        name=f"{subject} {_IDENTITY + own}, {place} {_PLACE + own}",
        photos=[view(place, shot) for shot in range(NUM_PHOTOS)],
        held_out=[view(place, NUM_PHOTOS + shot) for shot in range(NUM_HELD_OUT)],
        hosts=[
            _shot(
                render(
                    subject,
                    others[(number + host) % len(others)],
                    _HOST + own,
                    host,
                    room=_HOST + 100 * own + host,
                    size=SIZE,
                )
            )
            for host in range(num_hosts)
        ],
        decoys=decoys,
        foreign=[
            _empty(others[(number + host + 1 + host % 3) % len(others)], _FOREIGN + 100 * own + host)
            for host in range(num_hosts)
        ],
        look_alikes=[_empty(place, _FOREIGN + 50_000 + 100 * own + host) for host in range(num_hosts)],
    )


def _shot(scene: Scene) -> Shot:
    """Return a drawn scene with its true mask."""
    return Shot(scene.image, scene.mask)


def _empty(place: str, number: int) -> Shot:
    """Return a place without a subject."""
    return Shot(render(None, place, 0, number, room=number, size=SIZE).image)
