"""Speed and memory: none of these changes what is learnt by more than rounding."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """Speed and memory."""

    gradient_checkpointing: bool = False
    """Save memory by computing forward passes twice."""
    cache_latents: bool = True
    """Encode every photo once, before training; otherwise anew in every step."""
    allow_tf32: bool = False
    """Multiply matrices in TF32 on GPUs that have it: faster, ten bits of mantissa."""
    enable_xformers_memory_efficient_attention: bool = False
    """Attention by xformers instead of PyTorch's own."""
    channels_last: bool = False
    """Lay pictures out channels last in memory: faster convolutions on GPUs with tensor cores."""
    compile: bool = False
    """Compile the UNet: minutes before the first step, faster steps."""
