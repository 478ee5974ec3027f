"""What a model's files say without loading it: a digest of its weights, and whether it came from a base."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from persam_dreambooth.diffusion.model_folders import FLAG, find_model
from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.photos import file_digest

# What decides what a model draws, apart from the scheduler, which is the base's for all.
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_SUFFIXES = (".safetensors", ".bin", ".json", ".txt")

_SHAPE = (
    "in_channels",
    "out_channels",
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "up_block_types",
    "attention_head_dim",
    "cross_attention_dim",
    "addition_embed_type",
)
"""What of a UNet's config its weights must agree on."""

UNRELATED = 0.5
"""A UNet that is further than this from the base's, relative to the size of the weights, came from another.

The toy's trainings at 2e-4 end 0.09 away after 800 steps, two models that share nothing are 1.4 apart.
"""
_ADVICE = "Give the base that it was trained from."
_KOHYA = "lora_unet_"
_DOWN = re.compile(r"\.(lora\.down|lora_down|lora_A)(\.default)?\.weight$")
"""End of the name of an adapter's first matrix, in every layout."""
_NUM_COMPARED = 8
"""Weight matrices that are compared, spread over the network: enough to tell 0.1 from 1.4."""


@dataclass(frozen=True)
class ModelFolder:
    """A model in diffusers' format, on this disk."""

    name: str
    """As it was given."""
    path: Path
    family: str

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the files that decide what it draws."""
        return files_digest(
            self.path, [path for part in _PARTS for path in sorted((self.path / part).glob("*"))]
        )

    @property
    def unet_config(self) -> dict[str, Any]:
        """The UNet's config.json."""
        return _read(self.path / "unet" / "config.json")

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The scheduler's config."""
        return _read(self.path / "scheduler" / "scheduler_config.json")

    @property
    def sampling(self) -> dict[str, Any]:
        """How it takes the noise away: the scheduler's config without the version that wrote it."""
        return {name: value for name, value in self.scheduler_config.items() if name != "_diffusers_version"}

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of the noise that drawing starts from."""
        config = self.unet_config
        # Written down, configs leave out nothing; by hand they may.
        cells = config.get("sample_size", 64)
        return config.get("in_channels", 4), cells, cells

    @property
    def side(self) -> int:
        """Side of the pictures that it draws, in pixels."""
        blocks = _read(self.path / "vae" / "config.json").get("block_out_channels", (0,) * 4)
        return self.noise_shape[1] * 2 ** (len(blocks) - 1)


def find_folder(name_or_path: str, flag: str) -> ModelFolder:
    """Return where a model lies, fetched from the hub if need be.

    Args:
        name_or_path: "toy", a folder in diffusers' format, or a hub id.
        flag: what named it, for the error text.

    Raises:
        UserError: there is no such model, or it is of a kind that this program does not know.
    """
    with told_as(flag):
        path, family, _ = find_model(name_or_path, None, None)
    return ModelFolder(name_or_path, path, family.name)


@contextmanager
def told_as(flag: str) -> Iterator[None]:
    """Let errors about a model name the flag that it was given by, not that of training."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(FLAG, flag)) from error


def files_digest(root: Path, paths: list[Path]) -> str:
    """Return the sha256 (hex) over names and contents of the weights, configs and vocabularies."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file() and path.suffix in _SUFFIXES:
            digest.update(f"{path.relative_to(root)} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def check_same_base(base: ModelFolder, own: ModelFolder, flag: str) -> None:
    """Raise UserError where a model cannot have come from a base.

    Args:
        base: the model before fine-tuning.
        own: the model after it.
        flag: what named the second.
    """
    if own.family != base.family:
        raise UserError(
            f"{flag}: of the family {own.family}, --base {base.name} of {base.family}; a model that was "
            f"trained from the base is needed. {_ADVICE}"
        )
    first, second = (folder.scheduler_config.get("prediction_type") for folder in (own, base))
    if first != second:
        raise UserError(
            f"{flag}: predicts something else than --base {base.name} (prediction_type {first} and "
            f"{second}); a model that was trained from the base is needed. {_ADVICE}"
        )
    check_unet(base, own.path / "unet", flag)


def check_unet(base: ModelFolder, folder: Path, flag: str) -> None:
    """Raise UserError where the UNet in a folder cannot have come from a base's; arguments as above."""
    mine, theirs = _read(folder / "config.json"), base.unet_config
    for name in _SHAPE:
        if mine.get(name) != theirs.get(name):
            raise UserError(
                f"{flag}: its UNet has {name} {mine.get(name)}, that of --base {base.name} "
                f"{theirs.get(name)}; a model that was trained from the base is needed. {_ADVICE}"
            )
    if mine.get("sample_size") != theirs.get("sample_size"):
        raise UserError(
            f"{flag}: draws pictures of another size than --base {base.name} (sample_size "
            f"{mine.get('sample_size')} and {theirs.get('sample_size')}); pictures are compared at one size. "
            f"{_ADVICE}"
        )
    distance = weight_distance(base.path / "unet", folder)
    if distance is not None and distance > UNRELATED:
        raise UserError(
            f"{flag}: its UNet has nothing in common with that of --base {base.name} (relative distance of "
            f"the weights {distance:.2f}, below {UNRELATED} after fine-tuning); a model that was trained "
            f"from the base is needed. {_ADVICE}"
        )


def check_adapters(base: ModelFolder, path: Path, flag: str) -> None:
    """Raise UserError where adapters are for layers that the base's UNet has not, or has in another size.

    Files whose layers are named otherwise, such as kohya's for Stable Diffusion XL, are judged when loaded.

    Args:
        base: the model that they are to be put into.
        path: the file.
        flag: what named it.
    """
    try:
        wanted = _adapted_layers(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{flag}: cannot be read ({one_line(error)[:200]}); a LoRA file is needed. Save it again."
        ) from error
    files = _tensor_files(base.path / "unet")
    known = {name.removesuffix(".weight").replace(".", "_"): name for name in files}
    for layer, width in wanted.items():
        name = known.get(layer.removeprefix(_KOHYA))
        if name is None and layer.startswith(_KOHYA):
            continue
        own = None if name is None else _shape(files[name], name)[1]
        if own != width:
            found = "no such layer" if own is None else f"{own} inputs there"
            raise UserError(
                f"{flag}: its adapter of {layer} is for {width} inputs, the UNet of --base {base.name} has "
                f"{found}; adapters that were trained on the base are needed. Give the base that they were "
                "trained on."
            )


def weight_distance(base: Path, own: Path) -> float | None:
    """Return |own - base| / |base| over some weight matrices of two networks' folders, 0 for equal ones.

    None where they have no safetensors files in common, or where these cannot be read (then loading the model
    says so, in better words).
    """
    first, second = _tensor_files(base), _tensor_files(own)
    names = sorted(name for name in first.keys() & second.keys() if name.endswith("weight"))
    if not names:
        return None
    chosen = names[:: math.ceil(len(names) / _NUM_COMPARED)]
    change = size = 0.0
    for name in chosen:
        try:
            before, after = (_tensor(files[name], name) for files in (first, second))
        except SafetensorError:
            return None
        if before.shape != after.shape:
            return None
        change += (after - before).square().sum().item()
        size += before.square().sum().item()
    return math.sqrt(change / size) if size else None


def _tensor_files(folder: Path) -> dict[str, Path]:
    """Return which file of a folder holds each tensor."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        except (SafetensorError, OSError):
            continue
    return found


def _adapted_layers(path: Path) -> dict[str, int]:
    """Return the inputs of every UNet layer that a file has an adapter for; dots in names are underscores."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if _DOWN.search(name)]  # noqa: SIM118 -- no dictionary
    found = {}
    for name in names:
        layer = _DOWN.sub("", name)
        if layer.startswith(("unet.", _KOHYA)):
            found[layer.removeprefix("unet.").replace(".", "_")] = _shape(path, name)[1]
    return found


def _shape(path: Path, name: str) -> list[int]:
    """Return the shape of one tensor of a file."""
    with safe_open(path, "pt") as file:
        return file.get_slice(name).get_shape()


def _tensor(path: Path, name: str) -> Any:  # noqa: ANN401 -- a tensor; torch is not needed to read headers
    """Return one tensor of a file as float32."""
    with safe_open(path, "pt") as file:
        return file.get_tensor(name).float()


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON file's content, or an empty one; a model without it is refused when it is loaded."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
