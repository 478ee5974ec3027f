"""Stable Diffusion 1.x in diffusers' folder format: load it, add adapters, put it together, write it down.

This file and `adapters` are those that know diffusers and peft; the others are given what they load.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    SchedulerMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.optimization import get_scheduler
from jaxtyping import Int
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from persam_dreambooth.diffusion.folders import atomic_folder
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError, did_you_mean, one_line

TOY_MODEL = Path(__file__).parents[1] / "toyworld" / "models" / "stable_diffusion"

PIPELINE = "StableDiffusionPipeline"
PREDICTION_TYPES = ("epsilon", "v_prediction")

_FLAG = "--pretrained_model_name_or_path"
_NEEDED = "a Stable Diffusion 1.x folder in diffusers' format, its hub id or `toy`"

# What the libraries raise for files that are missing, cut off, or of other shapes than their config.
_UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)


@dataclass(frozen=True, eq=False)
class Models:
    """The parts of one Stable Diffusion. Only the UNet is trained, in place; all weights are float32."""

    name_or_path: str
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    noise_scheduler: DDPMScheduler
    """Adds noise in training."""
    scheduler: SchedulerMixin
    """Takes it away in drawing: the one the folder names."""

    @property
    def vae_scale_factor(self) -> int:
        """Side of a latent cell in pixels."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def default_resolution(self) -> int:
        """Side of the pictures the model was made for, in pixels."""
        return self.unet.config.sample_size * self.vae_scale_factor


def load_models(name_or_path: str, *, revision: str | None = None, variant: str | None = None) -> Models:
    """Load a Stable Diffusion 1.x for training, on the CPU.

    Args:
        name_or_path: "toy" for the embedded one, a folder in diffusers' format, or a hub id.
        revision: branch, tag or commit on the hub.
        variant: variant of the weight files, for example "fp16"; half precision is loaded as float32.

    Raises:
        UserError: there is no such model, it cannot be loaded, or it is of another kind.
    """
    folder = _folder(name_or_path, revision, variant)
    try:
        with quiet():
            tokenizer = _tokenizer(folder)
            text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", variant=variant)
            vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", variant=variant)
            unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", variant=variant)
            noise_scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
            scheduler = _scheduler_class(folder).from_pretrained(folder, subfolder="scheduler")
            for part in (text_encoder, vae, unet):
                part.to(torch.float32)
    except _UNLOADABLE as error:
        raise UserError(
            f"{_FLAG} {name_or_path}: cannot be loaded ({one_line(error)[:300]}); {_NEEDED} is needed."
        ) from error
    _check_kind(name_or_path, unet, noise_scheduler)
    for part in (text_encoder, vae, unet):
        part.requires_grad_(False).eval()
    return Models(name_or_path, tokenizer, text_encoder, vae, unet, noise_scheduler, scheduler)


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


def build_pipeline(
    models: Models, *, scheduler: str | None = None, device: str | torch.device = "cpu"
) -> StableDiffusionPipeline:
    """Return the parts as a pipeline that draws; they are shared, not copied.

    Args:
        models: the parts.
        scheduler: name of another diffusers scheduler, for example "DDIMScheduler"; None keeps the model's.
        device: where to; the parts move there.

    Raises:
        UserError: diffusers has no such scheduler.
    """
    with quiet():
        sampler = models.scheduler
        if scheduler is not None:
            sampler = _known_scheduler(scheduler).from_config(models.scheduler.config)
        pipeline = StableDiffusionPipeline(
            vae=models.vae,
            text_encoder=models.text_encoder,
            tokenizer=models.tokenizer,
            unet=models.unet,
            scheduler=sampler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def save_pipeline(models: Models, folder: Path) -> None:
    """Write a folder that `StableDiffusionPipeline.from_pretrained` loads, in float32, scheduler included.

    Raises:
        ValueError: the UNet carries adapters, which this format does not hold; see `adapters.save_lora`.
    """
    if getattr(models.unet, "peft_config", None):
        raise ValueError("a UNet with adapters is saved with save_lora")
    with atomic_folder(folder) as temporary, quiet():
        build_pipeline(models, device=models.unet.device).save_pretrained(temporary)


def learning_rates(
    name: str,
    learning_rate: float,
    *,
    warmup_steps: int,
    num_steps: int,
    num_cycles: int = 1,
    power: float = 1.0,
) -> Callable[[int], float]:
    """Return diffusers' learning rate schedule as a function of the steps done, without a state to restore.

    Args:
        name: a schedule of diffusers: constant, constant_with_warmup, linear, cosine, ...
        learning_rate: after the warm-up.
        warmup_steps: over which it grows from 0.
        num_steps: of the whole run.
        num_cycles: of cosine_with_restarts.
        power: of polynomial.

    Source: diffusers.optimization.get_scheduler.
    """
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=learning_rate)
    schedule = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=warmup_steps,
        num_training_steps=num_steps,
        num_cycles=num_cycles,
        power=power,
    )
    factor = schedule.lr_lambdas[0]
    return lambda step: learning_rate * factor(step)


def _folder(name_or_path: str, revision: str | None, variant: str | None) -> Path:
    """Return the folder of a model, fetched from the hub if need be, when it is one that can be trained."""
    path = TOY_MODEL if name_or_path == "toy" else Path(name_or_path)
    if not path.is_dir() and _looks_like_a_path(name_or_path):
        siblings = map(str, path.parent.iterdir()) if path.parent.is_dir() else ()
        raise UserError(
            f"{_FLAG} {name_or_path}: no such folder; {_NEEDED} is needed.{did_you_mean(str(path), siblings)}"
        )
    source = path if path.is_dir() else name_or_path
    try:
        with quiet():
            # The index first: a model of another kind is refused before gigabytes of it are fetched.
            index = DiffusionPipeline.load_config(source, revision=revision)
        _check_pipeline(name_or_path, index)
        if path.is_dir():
            return path
        # safety_checker=None: parts that are given are not fetched.
        return Path(
            DiffusionPipeline.download(
                name_or_path, revision=revision, variant=variant, safety_checker=None, feature_extractor=None
            )
        )
    except (OSError, ValueError) as error:
        where = "no model_index.json" if path.is_dir() else "neither a folder nor reachable on the hub"
        raise UserError(
            f"{_FLAG} {name_or_path}: {where} ({one_line(error)[:200]}); {_NEEDED} is needed. "
            "Check the name, or the network."
        ) from error


def _looks_like_a_path(name: str) -> bool:
    """Return whether a name can be no hub id, which is `owner/name` or `name`."""
    return name == "toy" or name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).exists()


def _check_pipeline(name_or_path: str, index: dict) -> None:
    """Raise UserError unless a model index is that of a plain Stable Diffusion."""
    kind = index.get("_class_name")
    if kind != PIPELINE:
        raise UserError(
            f"{_FLAG} {name_or_path}: a {kind}; only Stable Diffusion 1.x ({PIPELINE}) can be trained now. "
            "Name one, for example stable-diffusion-v1-5/stable-diffusion-v1-5."
        )


def _check_kind(name_or_path: str, unet: UNet2DConditionModel, noise_scheduler: DDPMScheduler) -> None:
    """Raise UserError for a UNet that takes more than latents, or a prediction that has no target here."""
    channels = unet.config.in_channels
    if channels != unet.config.out_channels:
        kind = "inpainting" if channels == 9 else "unknown"
        raise UserError(
            f"{_FLAG} {name_or_path}: its UNet takes {channels} channels and returns "
            f"{unet.config.out_channels} ({kind}); only plain Stable Diffusion 1.x can be trained now."
        )
    prediction = noise_scheduler.config.prediction_type
    if prediction not in PREDICTION_TYPES:
        raise UserError(
            f"{_FLAG} {name_or_path}: predicts {prediction!r}; only {' and '.join(PREDICTION_TYPES)} can be "
            "trained now."
        )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a folder's tokenizer, if there is one: transformers would make an empty one and not say so."""
    if not any((folder / "tokenizer" / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise FileNotFoundError("no tokenizer/tokenizer.json or tokenizer/vocab.json")
    return CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")


def _scheduler_class(folder: Path) -> type[SchedulerMixin]:
    """Return the class of the scheduler that a folder was saved with."""
    return _known_scheduler(DDPMScheduler.load_config(folder, subfolder="scheduler")["_class_name"])


def _known_scheduler(name: str) -> type[SchedulerMixin]:
    """Return a scheduler class of diffusers by its name."""
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        known = [entry for entry in dir(diffusers) if entry.endswith("Scheduler")]
        raise UserError(
            f"scheduler {name}: not in diffusers; one of its classes is needed.{did_you_mean(name, known)}"
        )
    return found
