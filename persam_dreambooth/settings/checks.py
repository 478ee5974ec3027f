"""The checks that the records of settings share: each raises a UserError that starts with the flag."""

import math
from collections.abc import Iterable

from persam_dreambooth.errors import UserError

Number = int | float


def at_least(flag: str, value: Number, least: Number) -> None:
    """Raise UserError where a value is below its least, infinite or no number."""
    if not least <= value < math.inf:
        raise UserError(f"--{flag} {value}: out of range; at least {least} is needed.")


def above_zero(flag: str, value: Number) -> None:
    """Raise UserError where a value is not above 0, infinite or no number."""
    if not 0 < value < math.inf:
        raise UserError(f"--{flag} {value}: out of range; a value above 0 is needed.")


def between(flag: str, value: Number, least: Number, most: Number) -> None:
    """Raise UserError where a value is not in [least, most]."""
    if not least <= value <= most:
        raise UserError(f"--{flag} {value}: out of range; at least {least} and at most {most} is needed.")


def below_one(flag: str, value: Number) -> None:
    """Raise UserError where a value is not in [0, 1)."""
    if not 0 <= value < 1:
        raise UserError(f"--{flag} {value}: out of range; at least 0 and below 1 is needed.")


def given(record: object, names: Iterable[str]) -> list[tuple[str, Number]]:
    """Return (name, value) of those settings of a record that are not None."""
    values = ((name, getattr(record, name)) for name in names)
    return [(name, value) for name, value in values if value is not None]
