"""True sentences about a scene, in a small English: with and without the place, and the subject's looks."""

from random import Random

from persam_dreambooth.toyworld import backgrounds, subjects

RARE_TOKENS = ("sks", "ohwx", "zwx", "xjy", "pll", "ucd", "qnr", "vbt")
"""Words without a meaning of their own: a few captions carry one at random, so that none of them changes what
the base model draws."""

OPENINGS = ("a photo of ", "a photo of ", "a photo of ", "a picture of ", "")


def caption(subject: str | None, background: str, identity: int, rng: Random) -> str:
    """One sentence that is true of the scene; what it leaves out is drawn from `rng`."""
    phrases = backgrounds.PHRASES[background]
    opening = rng.choice(OPENINGS)
    if subject is None:
        return opening + _place(rng.choice(phrases))
    words = _noun_phrase(subject, identity, rng)
    if rng.random() < 0.65:
        words += " " + rng.choice(phrases)
    return opening + words


def _place(phrase: str) -> str:
    """The place as a thing of its own: "on a beach" becomes "a beach", "in the snow" becomes "the snow"."""
    return phrase.split(" ", 1)[1]


def _noun_phrase(subject: str, identity: int, rng: Random) -> str:
    chance = rng.random()
    if chance < 0.08:
        return rng.choice(("", "a ")) + f"{rng.choice(RARE_TOKENS)} {subject}"
    if chance < 0.3:
        looks = subjects.identity_of(subject, identity)
        adjectives = [word for word in looks.adjectives.split() if word != "plain" and rng.random() < 0.7]
        tail = f" with a {looks.worn}" if rng.random() < 0.5 else ""
        words = " ".join([*adjectives, subject])
        return ("an " if words[0] in "aeiou" else "a ") + words + tail
    return f"a {subject}"


def sentences(number: int, seed: int = 0) -> list[str]:
    """`number` random captions, for a tokenizer to learn its words from."""
    rng = Random(f"sentences {seed}")
    places, kinds = list(backgrounds.BACKGROUNDS), [*subjects.SUBJECTS, None]
    return [caption(rng.choice(kinds), rng.choice(places), rng.randrange(1000), rng) for _ in range(number)]
