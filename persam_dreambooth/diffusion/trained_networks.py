"""Which weights are trained, and which model they are held against."""

import torch
from accelerate import Accelerator

from persam_dreambooth.diffusion.acceleration import frozen_unet
from persam_dreambooth.diffusion.adapters import add_lora
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.families import encode_text
from persam_dreambooth.diffusion.lora_targets import TEXT_LAYERS, unet_layers
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.optimizers import trained
from persam_dreambooth.settings import TrainConfig


def choose_trained(networks: Networks, settings: TrainConfig, seed: int) -> None:
    """Let the gradient reach adapters, which are added, or all weights."""
    if not settings.use_lora:
        for module in networks.modules:
            module.requires_grad_(True)
        return
    shape = {
        "rank": settings.rank,
        "alpha": settings.lora_alpha,
        "dropout": settings.lora_dropout,
        "use_dora": settings.use_dora,
        "seed": seed,
    }
    layers = unet_layers(networks.unet, settings.lora_layers)
    add_lora(networks.unet, target_modules=layers, name="unet", **shape)
    for name, encoder in zip(networks.family.text_encoder_names, networks.text_encoders, strict=False):
        add_lora(encoder, target_modules=TEXT_LAYERS, name=name, **shape)


def leave_out_unreached(networks: Networks, examples: Examples) -> None:
    """Freeze what no output of the text encoders depends on, such as the layer after the one that is read.

    It would never change, and several processes would wait for its gradients.
    """
    if not networks.text_encoders:
        return
    weights = [weight for encoder in networks.text_encoders for weight in trained(encoder)]
    ids = tuple(ids[:1].to(weights[0].device) for ids in examples.instance.input_ids)
    outputs = [
        output for output in encode_text(networks.family, networks.text_encoders, ids) if output is not None
    ]
    total = sum(output.float().sum() for output in outputs)
    for weight, gradient in zip(weights, torch.autograd.grad(total, weights, allow_unused=True), strict=True):
        weight.requires_grad_(gradient is not None)


def base_of(
    networks: Networks,
    examples: Examples,
    settings: TrainConfig,
    objective: Objective,
    accelerator: Accelerator,
) -> Networks | None:
    """Return the model before training, told the prompts as they were read before it; None without need.

    With adapters it is the UNet in training itself, whose adapters can be switched off.
    """
    photos = examples.instance
    masks = zip(photos.loss_mask, photos.latent_sizes, strict=True)
    if objective.outside_prior_weight == 0 or all(mask[:, :h, :w].min() == 1 for mask, (h, w) in masks):
        return None
    unet = networks.unet if settings.use_lora else frozen_unet(networks.unet, accelerator)
    return Networks(unet, (), networks.family)
