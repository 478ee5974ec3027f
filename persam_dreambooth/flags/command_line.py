"""Typed arguments as diffusers' parsers read them, brought into one form: whole names, checked values.

    --lr_warmup 0 --center-crop --prodigy_decouple False --mixed_precision="no"
    {"lr_warmup_steps": 0, "center_crop": True, "prodigy_decouple": False, "mixed_precision": "no"}

A name may be cut short where it stays clear which is meant, `-` and `_` are the same, a switch may be given
true or false, choices may be written in any case. What cannot be is answered in one line, before anything is
loaded. (A general parser would know none of this, nor why a flag is refused.)
"""

import itertools
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.flags.of_diffusers import (
    ALWAYS_SO,
    OF_OTHERS,
    OF_THE_THREE_SCRIPTS,
    REFUSED,
    RENAMED,
    why_not,
)
from persam_dreambooth.settings.fields import flag_types, takes_none, takes_several, without_none

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_KINDS = {int: "a whole number", float: "a number", str: "a text", Path: "a path"}


def read_arguments(arguments: Sequence[str]) -> dict[str, object]:
    """Return the settings that arguments ask for, by whole names; of one given twice, the last.

    Flags that are accepted because what they ask for is always so are among them (names in ALWAYS_SO).

    Raises:
        UserError: an unknown, refused or ambiguous flag, or a value that cannot be.
    """
    settings: dict[str, object] = {}
    for word, values in _split(arguments):
        name = setting_name(word)
        if name in ALWAYS_SO:
            settings[name] = None
        elif flag_types().get(name, bool) is bool:
            is_opposite = name not in flag_types()
            settings[name.removeprefix("no_")] = _switch(name, values) != is_opposite
        else:
            settings[name] = _values(name, values, flag_types()[name])
    return settings


def setting_name(word: str) -> str:
    """Return the name of the setting, of its opposite (no_...) or of a flag in ALWAYS_SO that a word means.

    Args:
        word: name of a flag, without `--`, perhaps cut short.

    Raises:
        UserError: it is unknown, refused, or may mean several.
    """
    name = word.replace("-", "_")
    ours = flag_types()
    known = [*ours, *(f"no_{switch}" for switch, hint in ours.items() if hint is bool), *ALWAYS_SO]
    if name in known:
        return name
    if name not in REFUSED:
        # As diffusers' own parser would: among its flags first, so that ours make none of them ambiguous.
        of_diffusers = [flag for flag in OF_THE_THREE_SCRIPTS if flag.startswith(name)]
        of_all = sorted(flag for flag in known if flag.startswith(name))
        if len(of_diffusers) == 1:
            return setting_name(of_diffusers[0])
        if len(of_all) == 1 and name not in RENAMED:
            return of_all[0]
        if of_all and name not in RENAMED:
            flags = ", ".join(f"--{flag}" for flag in of_all)
            raise UserError(f"--{name}: may mean {flags}; one is needed. Write the whole name.")
    reason = why_not(name)
    if reason is None:
        near = did_you_mean(f"--{name}", (f"--{flag}" for flag in (*ours, *RENAMED, *REFUSED, *OF_OTHERS)))
        reason = f"no such flag; one of those in --help is needed.{near}"
    raise UserError(f"--{name}: {reason}")


def _split(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (name as typed, values) of every flag."""
    starts = [index for index, word in enumerate(arguments) if word.startswith("--") and len(word) > 2]
    if arguments and starts[:1] != [0]:
        raise UserError(
            f"{arguments[0]}: no flag in front of it; flags like --instance_data_dir FOLDER are needed."
        )
    for start, end in itertools.pairwise([*starts, len(arguments)]):
        word, equals, value = arguments[start].removeprefix("--").partition("=")
        yield word, [*([value] if equals else []), *arguments[start + 1 : end]]


def _switch(name: str, values: list[str]) -> bool:
    """Return what a switch was set to; alone it is true."""
    if not values:
        return True
    word = values[0].lower()
    if len(values) > 1 or word not in _TRUE + _FALSE:
        raise UserError(f"--{name} {' '.join(values)}: no value is needed, or true or false.")
    return word in _TRUE


def _values(name: str, values: list[str], hint: object) -> object:
    """Return what a flag that takes values was set to, or raise UserError where it cannot be."""
    if takes_none(hint) and values == ["None"]:
        return None
    kind = without_none(hint)
    several = takes_several(hint)
    kinds = typing.get_args(kind) if several else (kind,)
    if not values:
        raise UserError(f"--{name}: the value is missing; {_KINDS.get(kinds[0], 'a choice')} is needed.")
    if several and Ellipsis in kinds:
        kinds = kinds[:1] * len(values)
    if len(values) != len(kinds):
        raise UserError(_wrong_count(name, values, kinds))
    found = tuple(_value(name, value, one) for value, one in zip(values, kinds, strict=True))
    return found if several else found[0]


def _value(name: str, value: str, kind: object) -> object:
    """Return a value of the kind that a flag takes, or raise UserError where it is none."""
    if typing.get_origin(kind) is typing.Literal:
        choices = {choice.lower(): choice for choice in typing.get_args(kind)}
        if value.lower() not in choices:
            near = did_you_mean(value, choices.values())
            raise UserError(
                f"--{name} {value}: no such choice; one of {', '.join(choices.values())} is needed.{near}"
            )
        return choices[value.lower()]
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"--{name} {value}: no number; {_KINDS[kind]} is needed.") from None


def _wrong_count(name: str, values: list[str], kinds: tuple[object, ...]) -> str:
    """Return the text about too many values, or too few."""
    if len(kinds) > 1:
        return f"--{name}: {len(values)} values; {len(kinds)} are needed."
    text = " ".join(values)
    quotes = f' Put quotation marks around it: --{name} "{text}".' if kinds[0] in (str, Path) else ""
    return f"--{name} {text}: {len(values)} values; one is needed.{quotes}"
