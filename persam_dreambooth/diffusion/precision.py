"""Drawing in half precision with weights that stay float32: cast for a while, and put back to the bit."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def drawing_dtype(precision: str | None, device: torch.device | str) -> torch.dtype:
    """Return the precision of class pictures.

    Args:
        precision: "fp32", "fp16" or "bf16"; "no" or None is fp16 on an accelerator that has it, else fp32.
        device: where they are drawn.

    Source: --prior_generation_precision of diffusers' train_dreambooth.py.
    """
    if precision in DTYPES:
        return DTYPES[precision]
    return torch.float16 if torch.device(device).type in {"cuda", "xpu", "mps"} else torch.float32


@contextmanager
def cast(pipeline: DiffusionPipeline, device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Let a pipeline draw inside on a device in a precision; afterwards its parts are as and where they were.

    The float32 weights wait where they are: never a second copy of them, and never rounded.

    Args:
        pipeline: whose networks.
        device: where it draws.
        dtype: of its weights and latents.
    """
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    before = [_tensors(module) for module in modules]
    try:
        for module in modules:
            # nn.Module's own: diffusers' and transformers' say a word about it, which is no use here.
            nn.Module.to(module, device=device, dtype=dtype)
        yield
    finally:
        for parameters, buffers in before:
            for parameter, value in parameters:
                parameter.data = value
            for owner, name, value in buffers:
                # Set by name, a buffer stays a buffer.
                setattr(owner, name, value)


def _tensors(
    module: nn.Module,
) -> tuple[list[tuple[nn.Parameter, Tensor]], list[tuple[nn.Module, str, Tensor]]]:
    """Return a module's parameters with their values, and its buffers with their owners and names."""
    parameters = [(parameter, parameter.data) for parameter in module.parameters()]
    buffers = [
        (owner, name, value)
        for owner in module.modules()
        for name, value in owner.named_buffers(recurse=False)
    ]
    return parameters, buffers
