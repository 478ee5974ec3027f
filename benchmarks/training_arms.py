"""The two sides of the benchmark of training: the steps of this trainer, and those of diffusers' scripts."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.adapters import add_lora
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.encode import encode
from persam_dreambooth.diffusion.families import encode_text, time_ids
from persam_dreambooth.diffusion.geometry import Geometry
from persam_dreambooth.diffusion.lora_targets import UNET_LAYERS
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.models import Models, prompt_ids
from persam_dreambooth.diffusion.networks import Networks, predict
from persam_dreambooth.diffusion.pictures import Preparation
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.settings import TrainConfig
from persam_dreambooth.settings.defaults import resolve_train

PROMPT = "a photo of sks cat"
NUM_PHOTOS = 4
TYPES = {"no": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Workload:
    """What both sides do."""

    model: str
    device: str
    resolution: int
    batch_size: int
    mode: str
    rank: int
    precision: str
    threads: int

    @property
    def settings(self) -> TrainConfig:
        """Of this trainer."""
        settings = TrainConfig(
            use_lora=self.mode == "lora", rank=self.rank, train_batch_size=self.batch_size, lr_warmup_steps=0
        )
        return resolve_train(settings)


def album(side: int) -> tuple[list[Photo], dict[str, np.ndarray]]:
    """Photos of noise, and the mask of a disc in each."""
    rows, columns = np.ogrid[:side, :side]
    mask = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 3) ** 2
    photos = []
    for number in range(NUM_PHOTOS):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        photos.append(Photo(Path(f"{number}.png"), pixels, array_digest(pixels)))
    return photos, {photo.stem: mask for photo in photos}


def plain_steps(models: Models, work: Workload) -> Iterator[None]:
    """Steps as diffusers' train_dreambooth(_lora)(_sdxl).py takes them."""
    device, dtype, settings = torch.device(work.device), TYPES[work.precision], work.settings
    unet, vae = models.unet, models.vae
    if work.mode == "lora":
        cast(unet, dtype)
        add_lora(unet, rank=work.rank, target_modules=UNET_LAYERS, seed=0, name="unet")
    else:
        unet.requires_grad_(True)
    unet.to(device).train()
    # Stable Diffusion XL's VAE overflows in half precision.
    cast(vae, torch.float32 if models.family.name == "sdxl" else dtype).to(device)
    for encoder in models.text_encoders:
        cast(encoder, dtype).to(device)
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.adam_weight_decay)
    networks = Networks(unet, (), models.family)
    for latents, conditions in plain_inputs(models, work):
        noise = torch.randn_like(latents)
        timesteps = torch.randint(1000, (work.batch_size,), device=device)
        noisy_latents = models.noise_scheduler.add_noise(latents, noise, timesteps)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            model_pred = predict(networks, noisy_latents, timesteps, conditions)
        loss = mse_loss(model_pred.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        # For the progress bar, as there.
        loss.item()
        yield


@torch.no_grad()
def plain_inputs(models: Models, work: Workload) -> Iterator[tuple[Tensor, Conditions]]:
    """Latents and conditions of each step, encoded in that step."""
    device, vae, family = torch.device(work.device), models.vae, models.family
    photos, _ = album(work.resolution)
    pixels = torch.stack([torch.from_numpy(photo.pixels).permute(2, 0, 1) / 127.5 - 1 for photo in photos])
    ids = tuple(row.expand(work.batch_size, -1) for row in prompt_ids(models.tokenizers, PROMPT))
    sizes = time_ids(family, (work.resolution,) * 2, (0, 0), (work.resolution,) * 2)
    if sizes is not None:
        sizes = sizes.expand(work.batch_size, -1).to(device)
    for step in itertools.count():
        rows = [(step * work.batch_size + row) % NUM_PHOTOS for row in range(work.batch_size)]
        latents = vae.encode(pixels[rows].to(device, vae.dtype)).latent_dist.sample()
        prompt_embeds, pooled = encode_text(family, models.text_encoders, [row.to(device) for row in ids])
        latents = (latents * vae.config.scaling_factor).to(TYPES[work.precision])
        yield latents, Conditions(prompt_embeds, pooled, sizes)


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module, its weights of another type."""
    for weight in module.parameters():
        weight.data = weight.data.to(dtype)
    return module


def our_steps(models: Models, work: Workload, arm: str) -> Iterator[None]:
    """Steps of this trainer; the first says how much memory it expects to take."""
    photos, masks = album(work.resolution)
    instance = encode(
        models,
        photos,
        None if arm == "ours, no masks" else masks,
        prompts=[PROMPT] * len(photos),
        preparation=Preparation(geometry=Geometry(resolution=work.resolution)),
        device=work.device,
    )
    state = training.start(
        models,
        Examples(instance, None, seed=0),
        replace(
            work.settings,
            gradient_checkpointing=arm == "ours, checkpointed",
            compile=arm == "ours, compiled",
        ),
        Objective(),
        accelerator=training.build_accelerator(work.precision),
        max_train_steps=10**6,
    )
    yield training.memory_of(state).total
    for _ in training.train(state):
        yield None
