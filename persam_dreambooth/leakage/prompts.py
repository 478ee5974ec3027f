"""What the models are asked for: four families of prompts, with the rare word for the tuned models only.

recontext    a photo of sks cat on a sandy beach by the sea    does the photos' background come along?
bare         a photo of sks cat                                what fills a background that nobody named?
class        a photo of a cat                                  has the subject taken over its class?
none         a photo of a sandy beach by the sea               has the whole model drifted?

The base model is asked for the same without the rare word.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.pictures import Family
from persam_dreambooth.leakage.scenes import (
    DREAMBOOTH_LIVING,
    DREAMBOOTH_OBJECTS,
    LIVING_NOUNS,
    LIVING_SCENES,
    OBJECT_SCENES,
    Scene,
)
from persam_dreambooth.toyworld import backgrounds

DREAMBOOTH = "dreambooth"
"""Instead of a file: the published prompts."""
SUBJECT = "{subject}"
"""In a file of prompts, stands for the rare word and the class noun."""

_PREPOSITION = re.compile(
    r"^[\s,]*((on top of|in front of|next to|in|on|at|inside|near|beside|among)\s+)?", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How many prompts and seeds."""

    num_scenes: int
    """Of the recontext family, that the headline rests on."""
    num_seeds: int
    """Of each of its prompts."""
    num_other_seeds: int
    """Of each of the two prompts of the other families."""


PRESETS = {"quick": Preset(4, 2, 2), "default": Preset(10, 4, 4), "full": Preset(20, 4, 4)}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt, as each side is asked it."""

    id: str
    """Family letter and number: r00."""
    family: Family
    text: str
    """For the tuned models."""
    base_text: str
    """For the base model: without the rare word."""
    scene: str = ""
    """The place alone, as a prompt: "a photo of a beach"; empty where none is asked for."""
    background: str | None = None
    """The place's name in the toy world, for the judge that knows the truth."""


def build_prompts(
    scenes: Sequence[Scene],
    *,
    token: str,
    class_noun: str,
    num_scenes: int | None = None,
    names: dict[str, str] | None = None,
) -> list[Prompt]:
    """Return the prompts of all four families, recontext first.

    Args:
        scenes: at least two.
        token: the rare word.
        class_noun: what the subject is, without an article.
        num_scenes: how many of the scenes, from the front; None is all.
        names: the toy world's name of a place, by phrase.
    """
    known, chosen = names or {}, scenes[:num_scenes]
    ours, theirs = f"{token} {class_noun}", with_article(class_noun)
    recontext = [
        Prompt(
            f"r{number:02d}",
            "recontext",
            f"a photo of {ours} {scene.phrase}",
            f"a photo of {theirs} {scene.phrase}",
            f"a photo of {scene.place}" if scene.place else "",
            known.get(scene.phrase),
        )
        for number, scene in enumerate(chosen)
    ]
    return [*recontext, *other_families([prompt.scene for prompt in recontext], token, class_noun)]


def other_families(scenes: Sequence[str], token: str, class_noun: str) -> list[Prompt]:
    """Return two prompts of each family but recontext; of `none` as many as there are places, at most two.

    Args:
        scenes: places as prompts; empty ones are passed over.
        token: the rare word.
        class_noun: what the subject is.
    """
    ours, theirs = f"{token} {class_noun}", with_article(class_noun)
    openings = ("a photo of {}", "a close-up of {}")
    bare = [
        Prompt(f"b{number:02d}", "bare", opening.format(ours), opening.format(theirs))
        for number, opening in enumerate(openings)
    ]
    kind = [
        Prompt(f"c{number:02d}", "class", opening.format(theirs), opening.format(theirs))
        for number, opening in enumerate(openings)
    ]
    places = list(dict.fromkeys(scene for scene in scenes if scene))[:2]
    none = [Prompt(f"n{number:02d}", "none", scene, scene, scene) for number, scene in enumerate(places)]
    return [*bare, *kind, *none]


def toy_scenes(photographed: Sequence[str] = ()) -> tuple[list[Scene], dict[str, str]]:
    """Return the places of the toy world but those in the photos, and the name of each by its phrase."""
    places = [place for place in backgrounds.BACKGROUNDS if place not in photographed]
    phrases = {place: backgrounds.PHRASES[place][0] for place in places}
    scenes = [Scene(phrase, phrase.split(" ", 1)[1]) for phrase in phrases.values()]
    return scenes, {phrase: place for place, phrase in phrases.items()}


def scenes_for(class_noun: str, *, published: bool = False) -> tuple[Scene, ...]:
    """Return the places for a class of subjects: animals and people do other things there than objects.

    Args:
        class_noun: its last word decides, for example "dog".
        published: those of DreamBooth's data set instead of this program's.
    """
    words = class_noun.lower().split()
    is_living = bool(words) and words[-1] in LIVING_NOUNS and words[0] not in ("stuffed", "toy", "plush")
    if published:
        return DREAMBOOTH_LIVING if is_living else DREAMBOOTH_OBJECTS
    return LIVING_SCENES if is_living else OBJECT_SCENES


def read_prompts(path: Path, token: str, class_noun: str) -> list[Prompt]:
    """Return the prompts of a text file, one a line, and the other families' beside them.

    Args:
        path: lines that hold the rare word, or {subject}; a place alone may follow behind a bar:
            `{subject} on the moon | the moon`. Empty lines and lines that begin with # do not count.
        token: the rare word.
        class_noun: what the subject is.

    Raises:
        UserError: there is no such file, it holds no prompts, or one without the rare word, or one twice.
    """
    if not path.is_file():
        raise UserError(
            f"--prompts {path}: no such file; a text file with a prompt a line is needed, or `{DREAMBOOTH}`."
        )
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"--prompts {path}: is no UTF-8 text ({error.reason}); save it as one.") from error
    found: list[Prompt] = []
    for line in lines:
        if line and not line.startswith("#"):
            found.append(_read_line(line, len(found), token, class_noun))
    if not found:
        raise UserError(f"--prompts {path}: no prompts in this file; at least one line is needed.")
    texts = [prompt.text for prompt in found]
    check_prompts(found, token)
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise UserError(f"--prompts {path}: {twice!r} stands there twice; once is needed. Remove one.")
    others = other_families([prompt.scene for prompt in found], token, class_noun)
    return [*found, *(prompt for prompt in others if prompt.text not in texts)]


def check_prompts(prompts: Sequence[Prompt], token: str) -> None:
    """Raise UserError where a prompt for the subject lacks the rare word."""
    for prompt in prompts:
        if prompt.family in ("recontext", "bare") and not has_word(prompt.text, token):
            raise UserError(
                f"--prompts {prompt.text!r}: does not hold --token {token}; without it a tuned model is not "
                f"asked for the subject. Write {SUBJECT} or the word into it."
            )


def has_word(text: str, word: str) -> bool:
    """Return whether a text holds a word, not only a part of another."""
    return bool(_word(word).search(text))


def without_token(text: str, token: str) -> str:
    """Return a prompt as the base model is asked it: the rare word out, an article in where none is left.

    "a photo of sks cat" becomes "a photo of a cat", "an sks cat" becomes "a cat", "the sks cat" "the cat".
    """

    def put_right(match: re.Match[str]) -> str:
        article, noun = match.group(1), match.group(2)
        if article and article.lower() not in ("a", "an"):
            return f"{article} {noun}"
        return with_article(noun)

    held = r"(?:\b(a|an|the|my|one|this|that)\s+)?" + _word(token).pattern + r"\s+(\w+)"
    without = re.sub(held, put_right, text, flags=re.IGNORECASE)
    return " ".join(_word(token).sub("", without).split())


def with_article(noun: str) -> str:
    """Return a noun with its article, by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeiou' and noun else 'a'} {noun}"


def _word(word: str) -> re.Pattern[str]:
    """Return a pattern that finds a word, whose ends need not be letters: <cat> is one too."""
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")


def _read_line(line: str, number: int, token: str, class_noun: str) -> Prompt:
    """Return the prompt of one line of a file."""
    written, _, place = (part.strip() for part in line.partition("|"))
    text = written.replace(SUBJECT, f"{token} {class_noun}")
    base = without_token(text, token)
    scene = f"a photo of {place}" if place else _scene_of(base, class_noun)
    return Prompt(f"r{number:02d}", "recontext", text, base, scene)


def _scene_of(text: str, class_noun: str) -> str:
    """Return the place of a prompt as a prompt of its own; empty where nothing follows the subject."""
    _, found, behind = text.partition(class_noun)
    place = _PREPOSITION.sub("", behind)
    return f"a photo of {place}" if found and place.strip(" .,") else ""
