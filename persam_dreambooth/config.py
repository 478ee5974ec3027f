"""From a YAML file and the command line to the settings of a run, and back to YAML.

A YAML file is read as flags in front of those typed, so there is one parser, one set of types and one set of
messages, and what is typed wins. Nothing heavy is imported here, so that `--help` and a wrong flag answer at
once.
"""

import dataclasses
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.flags.command_line import read_arguments
from persam_dreambooth.flags.of_diffusers import ALWAYS_SO, why_not
from persam_dreambooth.flags.page import help_text
from persam_dreambooth.settings import LORA_ONLY, Config, default_output_dir
from persam_dreambooth.settings.fields import (
    build,
    flag_types,
    public_settings,
    takes_none,
    takes_several,
    without_none,
)

__all__ = ["Config", "config_file", "flag_types", "parse", "public_settings", "to_yaml"]

DEFAULT_CONFIG = "toy.yaml"

_NULL = ("null", "~", "")


def parse(argv: Sequence[str] | None = None, *, prog: str | None = None) -> Config:
    """Return the settings that a command line asks for.

    A flag that only means something for adapters (--rank) implies --use_lora, unless that is said as well.

    Args:
        argv: the arguments after the program's name; None reads those of the process. `-` and `_` are the
            same in flag names, which may be cut short.
        prog: the program's name in `--help`.

    Raises:
        UserError: an unknown flag, a YAML file that is missing or wrong, a value out of range, or two that
            do not go together.
        SystemExit: with code 0 after `--help`.
    """
    path, words = _take_config(list(sys.argv[1:] if argv is None else argv))
    if {"-h", "--help"} & set(words):
        sys.stdout.write(help_text(prog or Path(sys.argv[0]).name))
        raise SystemExit(0)
    typed = read_arguments(words)
    if path is None and "pretrained_model_name_or_path" not in typed:
        path = config_file(DEFAULT_CONFIG)
    in_file = _from_file(path) if path is not None else {}
    # Steps win over epochs; but epochs typed by hand must not lose against steps in a file.
    if "num_train_epochs" in typed:
        in_file.pop("max_train_steps", None)
    config = build(Config, {**_with_lora(in_file), **_with_lora(typed)})
    if "pre_compute_text_embeddings" in typed and config.train.train_text_encoder:
        raise UserError(
            "--pre_compute_text_embeddings: not with --train_text_encoder, whose embeddings change; "
            "one of them is needed. Drop the other."
        )
    folder = config.output_dir or default_output_dir(use_lora=config.train.use_lora)
    return dataclasses.replace(config, output_dir=folder)


def to_yaml(config: Config) -> str:
    """Return every setting as YAML text that `--config` reads back to an equal Config.

    Secrets (--hub_token) are left out.
    """
    return yaml.safe_dump(public_settings(config), sort_keys=False, allow_unicode=True, width=1000)


def config_file(name: str) -> Path:
    """Return the path of a settings file of the project: the checkout's, else the packaged copy."""
    package = Path(__file__).parent
    checkout = package.parent / "configs" / name
    return checkout if checkout.is_file() else package / "configs" / name


def _with_lora(settings: dict[str, object]) -> dict[str, object]:
    """Return settings with use_lora where one of them only means something with it."""
    asked = any(settings.get(name) not in (None, False) for name in LORA_ONLY)
    return {"use_lora": True, **settings} if asked else settings


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


def _from_file(path: Path) -> dict[str, object]:
    """Return the settings in a YAML file."""
    settings: dict[str, object] = {}
    for key, value in _read_yaml(path).items():
        try:
            # A key is a whole name: what is kept in a file should be readable a year later.
            if key not in flag_types() and key not in ALWAYS_SO:
                raise _unknown_key(key)
            settings |= read_arguments(_arguments(key, value))
        except UserError as error:
            raise UserError(f"{path}: {str(error).removeprefix('--')}") from error
    return settings


def _read_yaml(path: Path) -> dict[str, object]:
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
    return {key.replace("-", "_"): value for key, value in values.items()}


def _unknown_key(key: str) -> UserError:
    """Return the refusal of a key that is no flag: the reason, or the nearest name."""
    near = did_you_mean(key, flag_types())
    return UserError(f"{key}: {why_not(key) or f'no such flag; keys are whole names of flags.{near}'}")


def _arguments(name: str, value: object) -> list[str]:
    """Return a key and its value as command line arguments."""
    hint = flag_types().get(name, str)
    if isinstance(value, list) and takes_several(hint):
        return [f"--{name}", *value]
    if not isinstance(value, str):
        raise UserError(f"{name}: several values; one is needed.")
    word = value.strip().lower()
    # `report_to: none` is a choice, `rank: none` is nothing.
    is_choice = word in typing.get_args(without_none(hint))
    if takes_none(hint) and (word in _NULL or (word == "none" and not is_choice)):
        return [f"--{name}=None"]
    return [f"--{name}={value}"]
