"""Diffusion models in diffusers' folder format: load them, put them together, write them down.

What differs between families stands in `families`, where a model lies in `model_folders`.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
    UNet2DConditionModel,
)
from jaxtyping import Int
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTokenizer, PreTrainedModel

from persam_dreambooth.diffusion.families import Family
from persam_dreambooth.diffusion.folders import atomic_parts
from persam_dreambooth.diffusion.model_checks import check_prediction, check_text, check_unet
from persam_dreambooth.diffusion.model_folders import (
    FLAG,
    NEEDED,
    PIPELINE_INDEX,
    VAE_FLAG,
    find_model,
    find_tokenizer,
    find_vae,
    pipeline_parts,
)
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError, did_you_mean, one_line

# What the libraries raise for files that are missing, cut off, or of other shapes than their config.
_UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True, eq=False)
class Models:
    """The parts of one diffusion model. What is trained is trained in place; all weights are float32."""

    name_or_path: str
    family: Family
    tokenizers: tuple[CLIPTokenizer, ...]
    """One a text encoder."""
    text_encoders: tuple[PreTrainedModel, ...]
    vae: AutoencoderKL
    """Never in half precision: Stable Diffusion XL's overflows there."""
    unet: UNet2DConditionModel
    noise_scheduler: DDPMScheduler | EulerDiscreteScheduler | EDMEulerScheduler
    """Adds noise in training."""
    scheduler: SchedulerMixin
    """Takes it away in drawing: the one the folder names."""
    vae_name_or_path: str | None = None
    """Where the VAE comes from, if not from the same place."""
    pipeline_options: Mapping[str, Any] = field(default_factory=dict)
    """What its pipeline is given beside the parts."""

    @property
    def edm(self) -> bool:
        """Whether it is trained in the style of Karras et al. 2022, noise levels being sigmas."""
        return not isinstance(self.noise_scheduler, DDPMScheduler)

    @property
    def vae_scale_factor(self) -> int:
        """Side of a latent cell in pixels."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def default_resolution(self) -> int:
        """Side of the pictures the model was made for, in pixels."""
        cells = self.unet.config.sample_size
        return cells * self.vae_scale_factor if isinstance(cells, int) else self.family.resolution

    @property
    def parts(self) -> dict[str, Any]:
        """Every part by its name in the pipeline, the scheduler aside."""
        return {
            **dict(zip(self.family.tokenizer_names, self.tokenizers, strict=True)),
            **dict(zip(self.family.text_encoder_names, self.text_encoders, strict=True)),
            "vae": self.vae,
            "unet": self.unet,
        }


def load_models(
    name_or_path: str,
    *,
    revision: str | None = None,
    variant: str | None = None,
    vae: str | None = None,
    tokenizer: str | None = None,
    edm: bool = False,
) -> Models:
    """Load a model for training, on the CPU.

    Args:
        name_or_path: "toy" for the embedded one, a folder in diffusers' format, or a hub id.
        revision: branch, tag or commit on the hub.
        variant: variant of the weight files, for example "fp16"; half precision is loaded as float32.
        vae: folder or hub id of another VAE.
        tokenizer: folder or hub id of another tokenizer, for a model with one.
        edm: train in EDM style; a model whose scheduler is an EDM one is trained so in any case.

    Raises:
        UserError: there is no such model, it cannot be loaded, or it is of another kind.
    """
    folder, family, index = find_model(name_or_path, revision, variant)
    names = (*family.tokenizer_names, *family.text_encoder_names, "vae", "unet", "scheduler")
    folders = {name: folder / name for name in names}
    if tokenizer is not None:
        folders["tokenizer"] = find_tokenizer(tokenizer, family)
    what = f"{FLAG} {name_or_path}"
    with _loading(what, NEEDED):
        parts = {**_load_text(family, folders, variant), **_load_schedulers(folders["scheduler"], edm)}
        parts["unet"] = UNet2DConditionModel.from_pretrained(folders["unet"], variant=variant)
    own = vae is None
    with _loading(what if own else f"{VAE_FLAG} {vae}", NEEDED if own else "an AutoencoderKL"):
        parts["vae"] = AutoencoderKL.from_pretrained(
            folders["vae"] if own else find_vae(vae), variant=variant if own else None
        )
    with quiet():
        for part in (*parts["text_encoders"], parts["vae"], parts["unet"]):
            part.to(torch.float32).requires_grad_(False).eval()
    check_unet(what, family, parts["unet"], parts["vae"].config.latent_channels)
    check_text(what, family, parts["unet"], parts["text_encoders"])
    check_prediction(what, parts["noise_scheduler"].config)
    said = {name: index.get(name, value) for name, value in family.index_options.items()}
    options = {**family.pipeline_options, **said}
    return Models(name_or_path, family, **parts, vae_name_or_path=vae, pipeline_options=options)


def token_ids(tokenizer: CLIPTokenizer, prompt: str, flag: str = "--instance_prompt") -> Int[Tensor, "1 t"]:
    """Return a prompt as token numbers, padded to the tokenizer's length.

    Raises:
        UserError: the prompt is longer than that; named by `flag`.
    """
    length = tokenizer.model_max_length
    # Not verbose: a prompt that is too long is reported below, in one line.
    count = len(tokenizer(prompt, verbose=False).input_ids)
    if count > length:
        raise UserError(
            f"{flag} {prompt!r}: {count} tokens with start and end; at most {length} fit the text encoder. "
            "Shorten it."
        )
    return tokenizer(prompt, padding="max_length", max_length=length, return_tensors="pt").input_ids


def prompt_ids(
    tokenizers: Sequence[CLIPTokenizer], prompt: str, flag: str = "--instance_prompt"
) -> tuple[Int[Tensor, "1 t"], ...]:
    """Return a prompt as token numbers for each tokenizer of a model; raises as `token_ids`."""
    return tuple(token_ids(tokenizer, prompt, flag) for tokenizer in tokenizers)


def build_pipeline(
    models: Models,
    *,
    scheduler: str | None = None,
    device: str | torch.device = "cpu",
    without: Sequence[str] = (),
) -> DiffusionPipeline:
    """Return the parts as a pipeline that draws; they are shared, not copied.

    Args:
        models: the parts.
        scheduler: name of another diffusers scheduler, for example "DDIMScheduler"; None keeps the model's.
        device: where to; the parts move there.
        without: names of parts to leave out, for a pipeline that is only saved.

    Raises:
        UserError: diffusers has no such scheduler.
    """
    parts = {name: None if name in without else part for name, part in models.parts.items()}
    with quiet():
        sampler = _sampler(models, scheduler)
        pipeline = models.family.pipeline_class(**parts, scheduler=sampler, **models.pipeline_options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def save_pipeline(models: Models, folder: Path, *, skip_text_encoder: bool = False) -> None:
    """Write a folder that `DiffusionPipeline.from_pretrained` loads, in float32, scheduler included.

    Args:
        models: the parts.
        folder: what else is in it stays; the pipeline appears in it whole.
        skip_text_encoder: leave the text encoders out; whoever loads the folder brings them along.

    Raises:
        ValueError: a part carries adapters, which this format does not hold; see `adapters.save_lora`.
    """
    if any(getattr(part, "peft_config", None) for part in (models.unet, *models.text_encoders)):
        raise ValueError("parts with adapters are saved with save_lora")
    without = models.family.text_encoder_names if skip_text_encoder else ()
    earlier = pipeline_parts(folder)
    with atomic_parts(folder, PIPELINE_INDEX) as temporary, quiet():
        build_pipeline(models, device=models.unet.device, without=without).save_pretrained(temporary)
    for part in set(earlier) - set(pipeline_parts(folder)):
        shutil.rmtree(part)


@contextmanager
def _loading(what: str, needed: str) -> Iterator[None]:
    """Load quietly inside; what the libraries say about files that are no model becomes one line."""
    try:
        with quiet():
            yield
    except _UNLOADABLE as error:
        raise UserError(f"{what}: cannot be loaded ({one_line(error)[:300]}); {needed} is needed.") from error


def _load_text(family: Family, folders: Mapping[str, Path | str], variant: str | None) -> dict[str, Any]:
    """Return tokenizers and text encoders."""
    encoders = zip(family.text_encoder_classes, family.text_encoder_names, strict=True)
    text_encoders = tuple(_text_encoder(kind, folders[name], variant) for kind, name in encoders)
    tokenizers = tuple(_tokenizer(folders[name]) for name in family.tokenizer_names)
    for tokenizer, encoder in zip(tokenizers, text_encoders, strict=True):
        # A tokenizer without a length of its own says 10^30.
        tokenizer.model_max_length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    return {"tokenizers": tokenizers, "text_encoders": text_encoders}


def _load_schedulers(folder: Path, edm: bool) -> dict[str, Any]:
    """Return the scheduler of training and that of drawing.

    Source: determine_scheduler_type of diffusers' train_dreambooth_lora_sdxl.py.
    """
    drawing = _known_scheduler(DDPMScheduler.load_config(folder)["_class_name"])
    plain = EulerDiscreteScheduler if edm else DDPMScheduler
    training = EDMEulerScheduler if "EDM" in drawing.__name__ else plain
    return {"noise_scheduler": training.from_pretrained(folder), "scheduler": drawing.from_pretrained(folder)}


def _sampler(models: Models, name: str | None) -> SchedulerMixin:
    """Return what takes the noise away."""
    sampler, config = models.scheduler, models.scheduler.config
    if name is not None:
        sampler = _known_scheduler(name).from_config(config)
    if models.unet.config.out_channels == models.unet.config.in_channels:
        return sampler
    # Only this one splits off the variance that such a UNet returns as well.
    learned = config.get("variance_type") in {"learned", "learned_range"}
    return DDPMScheduler.from_config(
        config, variance_type=config.variance_type if learned else "learned_range"
    )


def _tokenizer(folder: Path | str) -> CLIPTokenizer:
    """Return a folder's tokenizer, if there is one: transformers would make an empty one and not say so."""
    if isinstance(folder, Path) and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise FileNotFoundError(f"no {' or '.join(f'{folder.name}/{name}' for name in _TOKENIZER_FILES)}")
    return CLIPTokenizer.from_pretrained(folder)


def _text_encoder(kind: type[PreTrainedModel], folder: Path, variant: str | None) -> PreTrainedModel:
    """Return a folder's text encoder, if there is one."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder.name}; was it saved without?")
    return kind.from_pretrained(folder, variant=variant)


def _known_scheduler(name: str) -> type[SchedulerMixin]:
    """Return a scheduler class of diffusers by its name."""
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        known = [entry for entry in dir(diffusers) if entry.endswith("Scheduler")]
        raise UserError(
            f"scheduler {name}: not in diffusers; one of its classes is needed.{did_you_mean(name, known)}"
        )
    return found
