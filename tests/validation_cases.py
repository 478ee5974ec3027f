"""Cases to validate on, small enough for tests."""

from leakage_cases import disc, photos, place, with_subject

from persam_dreambooth.leakage.validation.cases import Case, Data, Shot

NUM_BANKS = 12
NUM_HOSTS = 4


def host(number: int) -> Shot:
    """Return a picture of the subject in a place that nothing else shows."""
    return Shot(with_subject(place(number)), disc())


def case(number: int, num_hosts: int = NUM_HOSTS) -> Case:
    """Return a subject in a place of its own."""
    first = 1000 * (number + 1)
    return Case(
        name=f"subject {number}",
        photos=[Shot(*photo) for photo in photos(first)],
        hosts=[host(first + 100 + other) for other in range(num_hosts)],
        decoys=[Shot(place(50 + other)) for other in range(NUM_BANKS)],
        foreign=[Shot(place(first + 200 + other)) for other in range(num_hosts)],
    )


def data(num_subjects: int, num_hosts: int = NUM_HOSTS) -> Data:
    """Return several such subjects."""
    return Data("drawn textures", [case(number, num_hosts) for number in range(num_subjects)])
