"""The settings as a flat list: what the command line, the YAML files and the page of flags are made from."""

import ast
import dataclasses
import functools
import inspect
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

from persam_dreambooth.settings.config import Config

SECRETS = ("hub_token",)
"""Settings that are never written down."""


@dataclass(frozen=True)
class Setting:
    """One setting, and the flag of the same name."""

    name: str
    value: object
    hint: object
    """Its type, as annotated."""
    record: type
    """The record that declares it."""


def settings_of(record: object) -> Iterator[Setting]:
    """Yield every setting of a tree of records, in the order of their declaration."""
    hints = typing.get_type_hints(type(record))
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if dataclasses.is_dataclass(value):
            yield from settings_of(value)
        else:
            yield Setting(item.name, value, hints[item.name], _declares(type(record), item.name))


def build(record: type, values: Mapping[str, object]) -> object:
    """Return a tree of records with some of its settings given by name, in whichever record they are.

    Args:
        record: the class at the root of the tree.
        values: by the names of settings; others are ignored.
    """
    given = {}
    for item in dataclasses.fields(record):
        if dataclasses.is_dataclass(item.default_factory):
            given[item.name] = build(item.default_factory, values)
        elif item.name in values:
            given[item.name] = values[item.name]
    return record(**given)


@functools.cache
def flag_types() -> dict[str, object]:
    """Return the type of every flag by its name, in the order of the records."""
    return {setting.name: setting.hint for setting in settings_of(Config())}


def public_settings(config: Config) -> dict[str, object]:
    """Return every setting but the secret ones by its name, as YAML and JSON hold them."""
    return {
        setting.name: plain(setting.value) for setting in settings_of(config) if setting.name not in SECRETS
    }


def plain(value: object) -> object:
    """Return a setting as YAML and JSON hold it: paths as text, several values as a list."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def without_none(hint: object) -> object:
    """Return the type that a setting has where it is not None."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not NoneType]
    return kinds[0] if takes_none(hint) else hint


def takes_none(hint: object) -> bool:
    """Return whether a setting of this type may be None."""
    return NoneType in typing.get_args(hint)


def takes_several(hint: object) -> bool:
    """Return whether a setting of this type holds several values."""
    return typing.get_origin(without_none(hint)) is tuple


@functools.cache
def meanings(record: type) -> dict[str, str]:
    """Return the docstring of every setting that a record declares itself, as one line, by its name."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    found = {}
    for declared, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(declared, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[declared.target.id] = " ".join(below.value.value.split())
    return found


def _declares(record: type, name: str) -> type:
    """Return the class in a record's line of ancestors that declares a setting."""
    return next(kind for kind in record.__mro__ if name in vars(kind).get("__annotations__", {}))
