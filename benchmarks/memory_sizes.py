"""Memory of a training step of models of published sizes, worked out without weights, GPU or network.

    python benchmarks/memory_sizes.py

The UNet of each row has sizes and no contents, and goes through what `diffusion/memory.py` does before a
training. One square picture a step; text encoders frozen and off the device.
"""

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from random_models import SIZES, TOKENS

from persam_dreambooth.diffusion.acceleration import build_accelerator, cast_weights, set_checkpointing
from persam_dreambooth.diffusion.adapters import add_lora
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.dataset import Batch
from persam_dreambooth.diffusion.lora_targets import UNET_LAYERS
from persam_dreambooth.diffusion.memory import Contents, MemoryEstimate, estimate
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.settings import TrainConfig

RANK = 16


@dataclass(frozen=True)
class Row:
    """One training in bf16."""

    model: str
    resolution: int
    use_lora: bool
    gradient_checkpointing: bool = False
    use_8bit_adam: bool = False


ROWS = (
    Row("sd15", 512, use_lora=True),
    Row("sd15", 512, use_lora=True, gradient_checkpointing=True),
    Row("sd15", 512, use_lora=False),
    Row("sd15", 512, use_lora=False, gradient_checkpointing=True, use_8bit_adam=True),
    Row("sdxl", 1024, use_lora=True),
    Row("sdxl", 1024, use_lora=True, gradient_checkpointing=True),
)


def empty_networks(row: Row) -> Networks:
    """A UNet whose memory is reserved and never touched."""
    size = SIZES[row.model]
    with torch.device("meta"):
        unet = UNet2DConditionModel(**size.unet)
    if row.use_lora:
        add_lora(unet, rank=RANK, target_modules=UNET_LAYERS, seed=0, name="unet")
    cast_weights(unet.train(), torch.bfloat16)
    unet = build_accelerator("bf16").prepare_model(unet.to_empty(device="cpu"), evaluation_mode=True)
    networks = Networks(unet, (), size.family)
    set_checkpointing(networks, on=row.gradient_checkpointing)
    return networks


def empty_batch(row: Row) -> Batch:
    """One example of the right sizes."""
    size, side = SIZES[row.model], row.resolution // 8
    told = {}
    if size.family.name == "sdxl":
        told = {"pooled_prompt_embeds": torch.zeros(1, 1280), "time_ids": torch.zeros(1, 6)}
    latents, cells = torch.zeros(1, 4, side, side), torch.ones(1, 1, side, side)
    return Batch(
        latents=latents,
        loss_mask=cells,
        subject_share=cells,
        conditions=Conditions(torch.zeros(1, TOKENS, size.unet["cross_attention_dim"]), **told),
        input_ids=tuple(torch.zeros(1, TOKENS, dtype=torch.long) for _ in size.text),
        noise=latents,
        timesteps=torch.zeros(1, dtype=torch.long),
        names=("0.png",),
        num_instance=1,
    )


def worked_out(row: Row) -> MemoryEstimate:
    """What a row takes."""
    settings = TrainConfig(use_lora=row.use_lora, use_8bit_adam=row.use_8bit_adam)
    return estimate(Contents(empty_networks(row), None, (), empty_batch(row), settings))


def main() -> None:
    """Print a line a row."""
    for row in ROWS:
        print(f"{row}: {worked_out(row)}", flush=True)


if __name__ == "__main__":
    main()
