"""Subjects of photos, in the layout of the DreamBooth data set (github.com/google/dreambooth, dataset/).

prompts_and_classes.txt    subject,class lines, and the prompts for objects and for living subjects
backpack/00.jpg ...        a folder a subject; 00.mask.png beside 00.jpg marks it, 00.txt is a caption
"""

import re
from collections.abc import Iterable
from pathlib import Path

from leakbench_plan import PHOTOS, RECONTEXT, TOKEN, Prompt, Subject, other_prompts

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.photos import list_photos

WORDS_FILE = "prompts_and_classes.txt"
LIVING = ("cat", "dog")
"""Classes that are asked with the second list of prompts."""

_CLASS = re.compile(r"(\w+),([\w ]+)")
_PROMPT = re.compile(r"""['"](.*\{1\}.*)['"]\.format""")
_LISTS = ("Object Prompts", "Live Subject Prompts")
# What a subject wears is no place.
_DRESS = ("wearing", "outfit")


def read_subjects(folder: Path, names: Iterable[str] | None = None) -> tuple[Subject, ...]:
    """Return the subjects of a data set that are there, with the prompts that put them somewhere.

    The data set's other prompts (another colour, a hat) ask nothing of the background and are left out.

    Args:
        folder: of the data set.
        names: only these; None is all.

    Raises:
        UserError: the folder, its list of words, a class or a wanted subject is missing, or nothing is left.
    """
    classes, prompts = read_words(folder)
    there = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for name in there:
        if name not in classes:
            raise UserError(
                f"{folder / name}: has no line in {WORDS_FILE}; its class is needed. "
                f"Add {name},CLASS below Classes, or move the folder away."
            )
    for name in names or ():
        if name not in there:
            raise UserError(
                f"--subjects {name}: no such folder in {folder}; one of {', '.join(there) or 'none'} is "
                f"needed.{did_you_mean(name, there)}"
            )
    found = tuple(
        _subject(folder / name, classes[name], prompts[_LISTS[classes[name] in LIVING]])
        for name in there
        if names is None or name in names
    )
    if not found:
        raise UserError(f"--dataset {folder}: no subjects; a folder of photos for each is needed. Add one.")
    return found


def read_words(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return class by subject, and by list the prompts with {0} for the word and {1} for the class.

    Raises:
        UserError: the folder or the file is missing, or the file has no classes or lacks prompts.
    """
    path = folder / WORDS_FILE
    if not path.is_file():
        raise UserError(
            f"--dataset {folder}: no {WORDS_FILE} in it; a folder in the layout of "
            "github.com/google/dreambooth, dataset/ is needed. Check the path, or write that file."
        )
    classes: dict[str, str] = {}
    prompts: dict[str, list[str]] = {name: [] for name in _LISTS}
    current = None
    for line in path.read_text(encoding="utf-8").splitlines():
        current = line.strip() if line.strip() in _LISTS else current
        if current is None and (entry := _CLASS.fullmatch(line.strip())):
            classes[entry[1]] = entry[2].strip()
        elif current is not None and (entry := _PROMPT.search(line)):
            prompts[current].append(entry[1])
    classes.pop("subject_name", None)
    if not classes:
        raise UserError(f"{path}: no classes; lines like backpack,backpack are needed. Add them at the top.")
    for name, texts in prompts.items():
        if not any(map(_is_recontext, texts)):
            raise UserError(
                f"{path}: no prompts with a place below {name!r}; lines like 'a {{0}} {{1}} in the snow'"
                ".format(unique_token, class_token) are needed. Add them."
            )
    return classes, prompts


def _subject(folder: Path, noun: str, prompts: Iterable[str]) -> Subject:
    """Return a subject of photos."""
    photos = list_photos(folder)
    recontext = [
        Prompt(RECONTEXT, text.format(TOKEN, noun), text.replace("{0} ", "").format("", noun))
        for text in prompts
        if _is_recontext(text)
    ]
    captioned = all(photo.with_suffix(".txt").is_file() for photo in photos)
    return Subject(folder.name, noun, PHOTOS, (*recontext, *other_prompts(noun)), has_captions=captioned)


def _is_recontext(text: str) -> bool:
    """Return whether a prompt asks for a place: something follows the subject, and it is nothing to wear."""
    behind = text.partition("{1}")[2].strip()
    return bool(behind) and not any(word in behind for word in _DRESS)
