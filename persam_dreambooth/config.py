"""From a YAML file and the command line to the settings of a run, and back to YAML.

A YAML file is turned into flags that are put in front of those typed, so there is one parser, one set of
types and one set of messages, and what is typed wins. Nothing heavy is imported here, so that `--help` and a
wrong flag answer at once.
"""

import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tyro
import yaml

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.settings import Config

__all__ = ["Config", "config_file", "flag_types", "parse", "to_yaml"]

DEFAULT_CONFIG = "toy.yaml"

_TRUE, _FALSE, _NONE = ("true", "yes", "on"), ("false", "no", "off"), ("null", "~", "none", "")
_DESCRIPTION = (
    "Fine-tune a diffusion model on a few photos of one subject, with PerSAM masks in the loss. "
    "--config FILE.yaml reads flags from a file (its keys are flag names); what is typed wins. "
    f"With neither --config nor --pretrained_model_name_or_path, configs/{DEFAULT_CONFIG} is read: "
    "the embedded toy model and the sample cat."
)


def parse(argv: Sequence[str] | None = None, *, prog: str | None = None) -> Config:
    """Return the settings that a command line asks for.

    Args:
        argv: the arguments after the program's name; None reads those of the process. `-` and `_` are the
            same in flag names.
        prog: the program's name in `--help`.

    Raises:
        UserError: a YAML file that is missing or wrong, a value out of range, or two that do not go together.
        SystemExit: with code 2 after a message about an unknown flag or a value of another type.
    """
    typed = list(sys.argv[1:] if argv is None else argv)
    path, typed = _take_config(typed)
    names = {_flag_name(argument) for argument in typed if argument.startswith("--")}
    if path is None and "pretrained_model_name_or_path" not in names:
        path = config_file(DEFAULT_CONFIG)
    in_front = _read_yaml(path) if path is not None else {}
    # Steps win over epochs; but epochs typed by hand must not lose against steps in a file.
    if "num_train_epochs" in names:
        in_front.pop("max_train_steps", None)
    return tyro.cli(
        Config,
        args=[*_flags(path, in_front), *typed],
        prog=prog,
        description=_DESCRIPTION,
        use_underscores=True,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def to_yaml(config: Config) -> str:
    """Return every setting as YAML text that `--config` reads back to an equal Config."""
    values = {name: value for name, value, _ in _leaves(config)}
    return yaml.safe_dump(
        {name: _plain(value) for name, value in values.items()},
        sort_keys=False,
        allow_unicode=True,
        width=1000,
    )


def config_file(name: str) -> Path:
    """Return the path of a settings file of the project: the checkout's, else the packaged copy."""
    package = Path(__file__).parent
    checkout = package.parent / "configs" / name
    return checkout if checkout.is_file() else package / "configs" / name


def flag_types() -> dict[str, object]:
    """Return the type of every flag by its name, in the order of the help."""
    return {name: hint for name, _, hint in _leaves(Config())}


def _plain(value: object) -> object:
    """Return a setting as YAML holds it: paths as text, several values as a list."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _takes_several(hint: object) -> bool:
    """Return whether a setting of this type holds several values."""
    return any(typing.get_origin(kind) is tuple for kind in (hint, *typing.get_args(hint)))


def _leaves(record: object) -> Iterator[tuple[str, object, object]]:
    """Yield (name, value, type) of every setting in a tree of records."""
    hints = typing.get_type_hints(type(record))
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value)
        else:
            yield item.name, value, hints[item.name]


def _flag_name(argument: str) -> str:
    """Return the setting's name in `--some-flag=value`."""
    return argument.removeprefix("--").split("=", 1)[0].replace("-", "_")


def _take_config(typed: list[str]) -> tuple[Path | None, list[str]]:
    """Return the file that --config names, if any, and the other arguments."""
    path, others, arguments = None, [], iter(typed)
    for argument in arguments:
        if argument != "--config" and not argument.startswith("--config="):
            others.append(argument)
            continue
        if path is not None:
            raise UserError(
                "--config: given twice; one file is needed. Join the files, or type the other flags."
            )
        value = argument.partition("=")[2] if "=" in argument else next(arguments, "")
        if not value:
            raise UserError("--config: the file's name is missing. For example --config configs/toy.yaml.")
        path = Path(value)
    return path, others


def _read_yaml(path: Path) -> dict[str, str | list[str]]:
    """Return the settings of a YAML file, values as text: the records give them their types."""
    if not path.is_file():
        near = did_you_mean(str(path), map(str, path.parent.glob("*.yaml"))) if path.parent.is_dir() else ""
        raise UserError(f"--config {path}: no such file; a YAML file of flags is needed.{near}")
    try:
        # The base loader leaves scalars as text: YAML itself would read 5e-6 as a string and `no` as false.
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: no valid YAML ({error}); lines like `learning_rate: 5e-6` are needed."
        ) from error
    if values in (None, ""):
        return {}
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: a list or a text; lines like `learning_rate: 5e-6` are needed.")
    known = flag_types()
    for key, value in values.items():
        if key.replace("-", "_") not in known:
            near = did_you_mean(key.replace("-", "_"), known)
            raise UserError(f"{path}: unknown key {key!r}; keys are the names of flags, as in --help.{near}")
        several = isinstance(value, list) and _takes_several(known[key.replace("-", "_")])
        if not isinstance(value, str) and not several:
            raise UserError(f"{path}: {key} has several values; one is needed.")
    return {key.replace("-", "_"): value for key, value in values.items()}


def _flags(path: Path | None, values: Mapping[str, str | list[str]]) -> list[str]:
    """Return settings as command line arguments."""
    flags = []
    for name, value in values.items():
        if isinstance(value, list):
            flags += [f"--{name}", *value]
            continue
        hint, word = flag_types()[name], value.strip().lower()
        if hint is bool:
            if word not in (*_TRUE, *_FALSE):
                raise UserError(f"{path}: {name} is {value!r}; true or false is needed.")
            flags.append(f"--{name}" if word in _TRUE else f"--no_{name}")
        elif word in _NONE and type(None) in typing.get_args(hint):
            flags.append(f"--{name}=None")
        else:
            flags.append(f"--{name}={value}")
    return flags
