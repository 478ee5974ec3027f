"""What takes the steps: AdamW in one pass over the memory, AdamW with moments of 8 bits, or Prodigy.

    groups = parameter_groups(networks, settings, examples_per_step=8)
    optimizer = build_optimizer(groups, settings)

The UNet is one group and each text encoder in training another, with a rate and a weight decay of its own.
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.settings import TrainConfig

PRODIGY = "prodigy"

_EIGHT_BITS = {"bitsandbytes": "bitsandbytes.optim", "torchao": "torchao.optim"}
"""Packages with an AdamW8bit, the preferred one first, and where it is."""

_PROBE_SIZE = 4096
"""Parameters below this size keep moments of 32 bits in both packages."""


def parameter_groups(
    networks: Networks, settings: TrainConfig, *, examples_per_step: int
) -> list[dict[str, Any]]:
    """Return what is trained as an optimizer takes it: a group for each network, the UNet's first.

    Args:
        networks: those in training.
        settings: rates and weight decays.
        examples_per_step: by which --scale_lr multiplies the learning rate. As in diffusers' scripts, a rate
            of the text encoders' own is not scaled.
    """
    rate, text_rate = settings.learning_rate, settings.text_encoder_lr
    if settings.scale_lr:
        rate *= examples_per_step
    if text_rate in (None, settings.learning_rate) or settings.optimizer == PRODIGY:
        # Prodigy finds one step size for all: it takes no two rates.
        text_rate = rate
    decay, text_decay = settings.adam_weight_decay, settings.adam_weight_decay_text_encoder
    groups = [{"params": trained(networks.unet), "lr": rate, "weight_decay": decay}]
    for encoder in networks.text_encoders:
        own = decay if text_decay is None else text_decay
        groups.append({"params": trained(encoder), "lr": text_rate, "weight_decay": own})
    return groups


def trained(module: nn.Module) -> list[nn.Parameter]:
    """Return a module's parameters in training."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def build_optimizer(groups: Sequence[dict[str, Any]], settings: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name.

    Args:
        groups: from `parameter_groups`; the parameters lie on the device where they are trained.
        settings: which optimizer, and its numbers.

    Raises:
        UserError: the package it needs is not installed, or does not work on this device.
    """
    options = {"betas": (settings.adam_beta1, settings.adam_beta2), "eps": settings.adam_epsilon}
    if settings.optimizer == PRODIGY:
        return _prodigy(groups, settings, options)
    if settings.use_8bit_adam:
        return _adamw_8bit(groups[0]["params"][0].device)(list(groups), **options)
    # Fused: one pass over the memory. Half the time of the loop over tensors on a CPU, and on a GPU no copies
    # of all gradients, which the default makes.
    return torch.optim.AdamW(groups, fused=True, **options)


def set_learning_rate(group: dict[str, Any], rate: float) -> None:
    """Set the rate of an optimizer's group; torchao keeps it in a tensor that compiled code reads."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _prodigy(
    groups: Sequence[dict[str, Any]], settings: TrainConfig, options: dict[str, Any]
) -> torch.optim.Optimizer:
    """Return Prodigy. Source: Mishchenko and Defazio 2023, Prodigy; its authors' package."""
    try:
        from prodigyopt import Prodigy
    except ImportError as error:
        raise UserError(
            "--optimizer prodigy: the package prodigyopt is not installed; it is needed. "
            "Run `pip install prodigyopt`, or use --optimizer AdamW."
        ) from error
    if settings.learning_rate <= 0.1:
        warnings.warn(
            f"--learning_rate {settings.learning_rate} with --optimizer prodigy: it multiplies the rate that "
            "prodigy finds by itself, so hardly anything will be learnt; 1 is usual",
            stacklevel=2,
        )
    # It prints a line when it is made.
    with contextlib.redirect_stdout(io.StringIO()):
        return Prodigy(
            list(groups),
            beta3=settings.prodigy_beta3,
            decouple=settings.prodigy_decouple,
            use_bias_correction=settings.prodigy_use_bias_correction,
            safeguard_warmup=settings.prodigy_safeguard_warmup,
            **options,
        )


def _adamw_8bit(device: torch.device) -> type[torch.optim.Optimizer]:
    """Return the first AdamW8bit that is installed and takes a step on the device."""
    failures = []
    for package, module in _EIGHT_BITS.items():
        try:
            importlib.import_module(package)
            kind = importlib.import_module(module).AdamW8bit
            _probe(kind, device)
        except ModuleNotFoundError as error:
            failures.append(f"{package} is not installed" if error.name == package else one_line(error)[:120])
        except (ImportError, AttributeError, NotImplementedError, RuntimeError, TypeError, OSError) as error:
            failures.append(f"{package} does not work on this {device.type} ({one_line(error)[:120]})")
        else:
            return kind
    raise UserError(
        f"--use_8bit_adam: {' and '.join(failures)}; one of the two is needed. "
        "Run `pip install bitsandbytes`, or leave the flag out."
    )


def _probe(kind: type[torch.optim.Optimizer], device: torch.device) -> None:
    """Take one step, so that an optimizer without code for this device fails before the training."""
    parameter = nn.Parameter(torch.zeros(_PROBE_SIZE, device=device))
    parameter.grad = torch.ones_like(parameter)
    kind([parameter], lr=1e-3).step()
