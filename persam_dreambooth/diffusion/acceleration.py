"""How a step is computed: precision, attention, memory layout, compilation. Not what it computes.

Attention is PyTorch's own (scaled_dot_product_attention) unless xformers is asked for.
"""

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from torch import nn

from persam_dreambooth.diffusion.adapters import frozen_copy
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.zero import process_group
from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.settings import TrainConfig

_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}

_NORMS = (nn.GroupNorm, nn.LayerNorm)


def build_accelerator(
    mixed_precision: str | None, *, log_with: str | list[str] | None = None, project_dir: str | None = None
) -> Accelerator:
    """Return accelerate's view of device, precision and processes.

    Args:
        mixed_precision: "no", "fp16" or "bf16"; None is what accelerate's own settings say.
        log_with: trackers, as accelerate names them.
        project_dir: where trackers write.

    Raises:
        UserError: the precision does not suit the device.
    """
    # Gradients live in the buffers that processes exchange, not beside them.
    processes = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    try:
        return Accelerator(
            mixed_precision=mixed_precision,
            log_with=log_with,
            project_dir=project_dir,
            kwargs_handlers=[processes, *process_group()],
            # Passes are averaged in training.py. accelerate would divide by its own number as well, which a
            # setting of `accelerate launch` may change and which is one for all accelerators of a process.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )
    except ValueError as error:
        raise UserError(f"--mixed_precision {mixed_precision}: {one_line(error)} Use bf16 or no.") from error


def weight_dtype(accelerator: Accelerator) -> torch.dtype:
    """Return the type of weights that are not trained."""
    return _HALF.get(accelerator.mixed_precision, torch.float32)


def cast_weights(module: nn.Module, frozen: torch.dtype) -> None:
    """Keep what is trained in float32, and what is frozen in the type that the products are taken in.

    Normalisation stays in float32 as well: it is computed so, and its few weights need not be cast each time.
    """
    kept = {
        id(weight) for part in module.modules() if isinstance(part, _NORMS) for weight in part.parameters()
    }
    for weight in module.parameters():
        wanted = torch.float32 if weight.requires_grad or id(weight) in kept else frozen
        weight.data = weight.data.to(wanted)


def frozen_unet(unet: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Return a copy of a UNet that is not trained, on the device and in the type of frozen weights."""
    twin = frozen_copy(unet)
    cast_weights(twin, weight_dtype(accelerator))
    return accelerator.prepare_model(twin, evaluation_mode=True)


def accelerate_networks(networks: Networks, settings: TrainConfig) -> None:
    """Let the networks compute in the way that the settings ask for, before they are wrapped.

    Raises:
        UserError: xformers is asked for and not installed, or has no code for this device.
    """
    if settings.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    if settings.enable_xformers_memory_efficient_attention:
        _use_xformers(networks.unet)
    if settings.channels_last:
        networks.unet.to(memory_format=torch.channels_last)
    if settings.gradient_checkpointing:
        set_checkpointing(networks, on=True)
    if settings.compile:
        # Only the blocks that repeat: one is compiled, and the others are the same code.
        networks.unet.compile_repeated_blocks()


def set_checkpointing(networks: Networks, *, on: bool) -> None:
    """Compute the inside of blocks again in the backward pass instead of keeping it, or stop doing so."""
    if on:
        networks.unet.enable_gradient_checkpointing()
    else:
        networks.unet.disable_gradient_checkpointing()
    for encoder in networks.text_encoders:
        # What transformers calls it now; older releases of version 5 have only the other name.
        name = "activation_checkpointing"
        if not hasattr(encoder, f"{name}_enable"):
            name = "gradient_checkpointing"
        if on:
            # The other kind gives no gradient to adapters behind a frozen embedding.
            getattr(encoder, f"{name}_enable")(**{f"{name}_kwargs": {"use_reentrant": False}})
        else:
            getattr(encoder, f"{name}_disable")()


def _use_xformers(unet: nn.Module) -> None:
    """Switch the UNet's attention to xformers, or raise UserError."""
    try:
        unet.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"--enable_xformers_memory_efficient_attention: cannot be used ({one_line(error)[:160]}); "
            "xformers and a GPU are needed. Leave the flag out: PyTorch's own attention needs no more memory."
        ) from error
