"""The models of a comparison: what `--model name=RUN` names, where it lies, and how it is loaded.

a run's folder             pipeline/ in it, or pytorch_lora_weights.safetensors
a checkpoint's folder      unet/ (text_encoder/ ...) or pytorch_lora_weights.safetensors
a pipeline's folder        model_index.json
a file                     LoRA, as diffusers or kohya's tools write it
anything else              a pipeline on the hub
"""

import dataclasses
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from persam_dreambooth.diffusion.adapters import LORA_FILE, load_weights
from persam_dreambooth.diffusion.checkpoint_files import list_checkpoints
from persam_dreambooth.diffusion.low_rank import has_lora
from persam_dreambooth.diffusion.model_folders import PIPELINE_INDEX, looks_like_a_path
from persam_dreambooth.diffusion.models import Models, build_pipeline, load_models
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.leakage.model_files import (
    ModelFolder,
    check_adapters,
    check_same_base,
    check_unet,
    files_digest,
    find_folder,
    told_as,
)
from persam_dreambooth.leakage.rows import BASE
from persam_dreambooth.picture_files import nearest_path
from persam_dreambooth.run import digest_of

Kind = Literal["pipeline", "lora", "weights"]

_NEEDED = (
    "a run's --output_dir, a diffusers folder, a hub id or a LoRA file (.safetensors) is needed after the `=`"
)
_TRAINED = ("unet", "text_encoder", "text_encoder_2")
_NAME = re.compile(r"\w[\w .+-]*")
# What loading adapters of another model, or no adapters, raises.
_UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One model of a comparison."""

    name: str
    kind: Kind
    """pipeline: complete; lora: adapters for the base; weights: networks that replace some of the base's."""
    place: str
    """Folder, file or hub id of what is loaded."""
    run: Path | None = None
    """The folder of the training, with its log and checkpoints, where it is known."""
    step: int | None = None
    """Optimizer steps, of a checkpoint."""

    @property
    def flag(self) -> str:
        """How error texts call it."""
        return f"--model {self.name}={self.run or self.place}"

    @cached_property
    def own_digest(self) -> str:
        """sha256 (hex) of its own files."""
        if self.kind == "pipeline":
            return find_folder(self.place, self.flag).digest
        path = Path(self.place)
        if path.is_file():
            return files_digest(path.parent, [path])
        own = [LORA_FILE] if self.kind == "lora" else [f"{name}/*" for name in _TRAINED]
        return files_digest(path, [file for name in own for file in sorted(path.glob(name))])

    def digest(self, base: ModelFolder) -> str:
        """Return a digest of everything that decides what it draws."""
        return self.own_digest if self.kind == "pipeline" else digest_of(base.digest, self.own_digest)


def parse_arms(values: Sequence[str]) -> list[Arm]:
    """Return the models that `--model name=RUN` names, in that order.

    Raises:
        UserError: a value has no name, a name occurs twice or is the base's, or there is nothing at a place.
    """
    if not values:
        raise UserError("--model: none given; at least one is needed, for example masked=output/cat.")
    arms: list[Arm] = []
    for value in values:
        name, equals, place = (part.strip() for part in value.partition("="))
        if not equals or not name or not place:
            raise UserError(f"--model {value}: no name=RUN; for example masked=output/cat is needed.")
        if name == BASE:
            raise UserError(
                f"--model {value}: `{BASE}` is the name of the model before training, which --base gives; "
                "another name is needed."
            )
        if not _NAME.fullmatch(name):
            raise UserError(
                f"--model {value}: {name!r} cannot be a folder's name; letters, digits, blanks and .+-_ are "
                "possible. Name it otherwise."
            )
        if any(arm.name.casefold() == name.casefold() for arm in arms):
            raise UserError(f"--model {value}: the name {name} is given twice; every model needs its own.")
        arms.append(find_arm(name, place))
    return arms


def find_arm(name: str, place: str) -> Arm:
    """Return what lies at a place, as an arm.

    Raises:
        UserError: there is nothing, or nothing that can be loaded.
    """
    path, flag = Path(place).expanduser(), f"--model {name}={place}"
    if path.is_file():
        if path.suffix != ".safetensors":
            raise UserError(f"{flag}: a {path.suffix or 'file without suffix'}; {_NEEDED}.")
        return Arm(name, "lora", str(path))
    if not path.is_dir():
        # A hub id looks like a path too, but nobody's folder is called like its owner.
        if looks_like_a_path(place) or ("/" in place and path.parent.is_dir()):
            raise UserError(f"{flag}: no such file or folder; {_NEEDED}.{nearest_path(path)}")
        return Arm(name, "pipeline", place)
    found = _in_folder(name, path)
    if found is None:
        what = "empty" if not any(path.iterdir()) else "no finished training and no model in it"
        raise UserError(f"{flag}: {what}; {_NEEDED}. Finish the training, or correct the path.")
    return found


def checkpoints_of(arm: Arm) -> list[Arm]:
    """Return a training's checkpoints as arms of the same name, fewest steps first."""
    if arm.run is None:
        return []
    found = []
    for path in list_checkpoints(arm.run):
        kind: Kind = "lora" if (path / LORA_FILE).is_file() else "weights"
        step = int(path.name.rpartition("-")[2])
        found.append(Arm(arm.name, kind, str(path), run=arm.run, step=step))
    return found


def check_arm(arm: Arm, base: ModelFolder) -> None:
    """Raise UserError where an arm cannot have come from the base, as far as its files say."""
    if arm.kind == "pipeline":
        check_same_base(base, find_folder(arm.place, arm.flag), arm.flag)
    elif arm.kind == "lora":
        path = Path(arm.place)
        check_adapters(base, path / LORA_FILE if path.is_dir() else path, arm.flag)
    else:
        check_unet(base, Path(arm.place) / "unet", arm.flag)


def load_arm(arm: Arm, base: ModelFolder) -> Models:
    """Return an arm's model on the CPU, adapters in place, with the sampler of the base.

    Raises:
        UserError: it cannot be loaded, or does not fit the base.
    """
    if arm.kind == "pipeline":
        with told_as(arm.flag):
            models = load_models(arm.place)
        if find_folder(arm.place, arm.flag).sampling == base.sampling:
            return models
        return dataclasses.replace(models, scheduler=load_models(base.name).scheduler)
    with told_as("--base"):
        models = load_models(base.name)
    try:
        if arm.kind == "lora":
            _add_adapters(models, Path(arm.place))
        else:
            load_weights(_networks(models, Path(arm.place)), Path(arm.place))
    except _UNLOADABLE as error:
        raise UserError(
            f"{arm.flag}: does not fit --base {base.name} ({one_line(error)[:200]}); what was trained from "
            "the base is needed. Give the base that it was trained from."
        ) from error
    return models


def _in_folder(name: str, path: Path) -> Arm | None:
    """Return a folder as an arm; None where there is no model in it."""
    run = path if (path / "config.yaml").is_file() else None
    if (path / LORA_FILE).is_file():
        return Arm(name, "lora", str(path), run=run)
    if (path / PIPELINE_INDEX).is_file():
        # One that was saved without text encoders takes the base's.
        is_whole = (path / "text_encoder").is_dir()
        return Arm(name, "pipeline" if is_whole else "weights", str(path), run=run)
    return Arm(name, "weights", str(path)) if (path / "unet" / "config.json").is_file() else None


def _networks(models: Models, folder: Path) -> Networks:
    """Return the networks that a folder of weights has: the UNet, and text encoders if they were trained."""
    trained = all((folder / name).is_dir() for name in models.family.text_encoder_names)
    return Networks(models.unet, models.text_encoders if trained else (), models.family)


def _add_adapters(models: Models, path: Path) -> None:
    """Put the adapters of a file, or of a folder with one, into a model.

    Raises:
        RuntimeError: the file holds none for this model; diffusers would only log that.
    """
    path = path / LORA_FILE if path.is_dir() else path
    pipeline = build_pipeline(models)
    with quiet():
        pipeline.load_lora_weights(path.parent, weight_name=path.name)
    if not any(has_lora(module) for module in (models.unet, *models.text_encoders)):
        raise RuntimeError("the file holds no adapters for it")
