"""The traits by which an individual can be recognised, as names: what a likeness is counted in."""

from persam_dreambooth.toyworld.subjects.identity import ACCESSORIES, PALETTE, PATTERN_WORDS, identity_of

TRAITS: dict[str, tuple[str, ...]] = {
    "main": tuple(PALETTE),
    "second": tuple(PALETTE),
    "accent": tuple(PALETTE),
    "pattern": tuple(PATTERN_WORDS),
    "accessory": tuple(sorted({name for names in ACCESSORIES.values() for name in names})),
}
"""Each trait and the names it may take."""


def traits_of(subject: str, number: int) -> dict[str, str]:
    """The traits of individual `number` of the kind `subject`, as names from TRAITS."""
    identity = identity_of(subject, number)
    return {
        "main": identity.main_name,
        "second": identity.second_name,
        "accent": identity.accent_name,
        "pattern": identity.pattern,
        "accessory": identity.accessory,
    }
