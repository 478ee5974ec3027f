"""What can be read about the flags, from the records: the text of `--help`, the tables of docs/flags.md."""

import inspect
import itertools
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path

from persam_dreambooth.flags.of_diffusers import (
    ALWAYS_SO,
    OF_NEWER_SCRIPTS,
    OF_OTHERS,
    OF_THE_THREE_SCRIPTS,
    REFUSED,
    RENAMED,
)
from persam_dreambooth.settings import Config
from persam_dreambooth.settings.fields import Setting, meanings, settings_of, takes_several, without_none

DIFFERENCES = {
    "pretrained_model_name_or_path": 'required there; here the embedded "toy" without it',
    "instance_data_dir": "required there; here the sample cat without it",
    "instance_prompt": "required there",
    "class_data_dir": "required with class pictures there; here a folder in --output_dir without it",
    "with_prior_preservation": "on SDXL half of a batch gets the other prompt there; here each its own",
    "center_crop": "without it another place each time there, on SDXL one; here one, drawn for each photo",
    "random_flip": "on SDXL only there, once for each photo; here every photo has a mirrored copy beside it",
    "output_dir": "a trained pipeline itself there; here its folder `pipeline` (adapters lie in it directly)",
    "resolution": "512 there, also for SD 2.1 at 768, and 1024 on SDXL; here the model's own",
    "num_train_epochs": "1 there, which is two steps for five photos; here 400 steps where neither is given",
    "seed": "none there, every run is another; here 0",
    "report_to": "the same, but a tracker that is named and not installed is an error here",
    "resume_from_checkpoint": "needed to go on there; here a run goes on by itself, to the bit",
    "lr_warmup_steps": "the same number of optimizer steps, however many processes there are",
    "optimizer": "another name falls back to AdamW there; here it is refused",
    "snr_gamma": "with class pictures it fails or is wrong there (issue 5791); here it is for photos alone",
    "mixed_precision": "with bf16, adapters are trained in bf16 there; here in float32",
    "validation_epochs": "after pass 1, 51, ... there; here after pass 50, 100, ...",
    "learning_rate": "with prodigy, 1 where none is given; diffusers warns of its own default",
    "prodigy_decouple": "there `False` is read as true; here as false",
    "prodigy_use_bias_correction": "there `False` is read as true; here as false",
    "prodigy_safeguard_warmup": "there `False` is read as true; here as false",
    "validation_scheduler": "two names there; here any scheduler of diffusers, or None for the model's own",
    "dataset_name": "a hub id or a folder there; here a folder",
    "image_interpolation_mode": "the same modes, by Pillow; `nearest-exact` is left out",
    "cache_latents": "off there; here on, and latents are still drawn anew in every step",
    "guidance_scale": "of Flux's own input there; here of validation pictures",
}
"""What is not the same about a flag that diffusers has as well."""

_ABOUT = (
    "Fine-tune a diffusion model on a few photos of one subject, with PerSAM masks in the loss. Flags are "
    "those of diffusers' DreamBooth scripts, and more (marked +). `-` and `_` are the same, and names may be "
    "cut short. --config FILE.yaml reads flags from a file (its keys are whole names); what is typed wins. "
    "With neither --config nor --pretrained_model_name_or_path, configs/toy.yaml is read: the embedded toy "
    "model and the sample cat."
)
_KINDS = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
_WIDTH, _INDENT = 100, " " * 6

MARK = "<!-- What follows is written by `python -m persam_dreambooth.flags.page docs/flags.md`. -->\n"


def help_text(prog: str) -> str:
    """Return the text of `--help`: every flag once, in groups.

    Args:
        prog: name of the program.
    """
    lines = [f"usage: {prog} [--config FILE.yaml] [--FLAG [VALUE]] ...", "", *textwrap.wrap(_ABOUT, _WIDTH)]
    for title, settings in _groups():
        lines += ["", title]
        for setting in settings:
            lines.append(f"  {_usage(setting)}{'  +' if _origin(setting.name) == '+' else ''}")
            default = _default(setting)
            text = meanings(setting.record)[setting.name] + (f" (default: {default})" if default else "")
            lines += textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    accepted = f"Accepted, because it is always so: {', '.join(f'--{name}' for name in ALWAYS_SO)}."
    return "\n".join([*lines, "", *textwrap.wrap(accepted, _WIDTH, break_on_hyphens=False), ""])


def tables() -> str:
    """Return the part of docs/flags.md behind MARK."""
    heads = ("Flag", "Default", "Meaning", "diffusers")
    parts = [_table(title, heads, [_row(setting) for setting in settings]) for title, settings in _groups()]
    parts += [
        _pairs("Where ours differ (≈)", ("Flag", "Difference"), DIFFERENCES),
        _pairs("Accepted, because it is always so", ("Flag", "Why"), ALWAYS_SO),
        _pairs("Refused: flags of diffusers", ("Flag", "Answer"), REFUSED),
        _pairs("Refused: flags of other trainers", ("Flag", "Answer"), OF_OTHERS),
        _pairs(
            "Names from other trainers",
            ("Flag", "Here", "From"),
            {theirs: f"`--{ours}` | {trainer}" for theirs, (ours, trainer) in RENAMED.items()},
        ),
    ]
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    """Return a flag as a row of a table."""
    cells = (f"`{_usage(setting)}`", _code(_default(setting)), meanings(setting.record)[setting.name])
    return f"| {' | '.join(_cell(cell) for cell in cells)} | {_origin(setting.name)} |"


def _groups() -> Iterator[tuple[str, list[Setting]]]:
    """Yield the title and the settings of every record."""
    for record, settings in itertools.groupby(settings_of(Config()), key=lambda setting: setting.record):
        yield inspect.getdoc(record).splitlines()[0].rstrip("."), list(settings)


def _usage(setting: Setting) -> str:
    """Return a flag with what stands behind it."""
    kind, name = without_none(setting.hint), f"--{setting.name}"
    if kind is bool:
        return f"{name} / --no_{setting.name}" if setting.value else name
    kinds = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return f"{name} {{{','.join(map(str, kinds))}}}"
    if not takes_several(setting.hint):
        return f"{name} {_KINDS[kind]}"
    values = [f"{_KINDS[kinds[0]]} ..."] if Ellipsis in kinds else [_KINDS[item] for item in kinds]
    return f"{name} {' '.join(values)}"


def _default(setting: Setting) -> str:
    """Return a default as it would be typed; empty where the meaning says what holds without the flag."""
    value = setting.value
    if value is None or value is False:
        return ""
    if value is True:
        return "on"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _origin(name: str) -> str:
    """Return whether a flag is diffusers' or ours."""
    if name in DIFFERENCES:
        return "≈"
    if name in OF_THE_THREE_SCRIPTS:
        return "="
    return "newer" if name in OF_NEWER_SCRIPTS else "+"


def _table(title: str, heads: tuple[str, ...], rows: list[str]) -> str:
    """Return a section with a table."""
    lines = [f"## {title}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows, ""]
    return "\n".join(lines)


def _pairs(title: str, heads: tuple[str, ...], pairs: dict[str, str]) -> str:
    """Return a section with a table of flags and what is said about each."""
    return _table(title, heads, [f"| `--{name}` | {text} |" for name, text in pairs.items()])


def _code(text: str) -> str:
    """Return a default as code, nothing as nothing."""
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    """Return a text that does not break a table."""
    return text.replace("|", "\\|")


def _write(path: Path) -> None:
    """Write the tables anew behind the mark in docs/flags.md."""
    text = path.read_text(encoding="utf-8").partition(MARK)[0]
    path.write_text(f"{text}{MARK}{tables()}", encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
