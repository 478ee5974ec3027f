"""The trained weights: low-rank adapters in the UNet or the whole of it, on and off, to files and back.

pytorch_lora_weights.safetensors    adapters, as `load_lora_weights` of diffusers reads them
unet/                               the whole UNet, as `UNet2DConditionModel.from_pretrained` reads it
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.files import atomic_path

LORA_FILE = "pytorch_lora_weights.safetensors"
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"

ATTENTION_PROJECTIONS = ("to_k", "to_q", "to_v", "to_out.0")
"""The layers that diffusers' DreamBooth script adapts."""


def has_lora(unet: UNet2DConditionModel) -> bool:
    """Return whether the UNet carries adapters."""
    return bool(getattr(unet, "peft_config", None))


def add_lora(unet: UNet2DConditionModel, *, rank: int, alpha: int | None, seed: int) -> None:
    """Freeze the UNet and add trainable float32 adapters to its attention; it predicts what it did before.

    Args:
        unet: changed in place.
        rank: of the adapters.
        alpha: scale of the adapters times their rank; None is the rank.
        seed: of their first values.

    Source: Hu et al. 2021, LoRA; targets and initialisation of diffusers' train_dreambooth_lora.py.
    """
    unet.requires_grad_(False)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        init_lora_weights="gaussian",
        target_modules=list(ATTENTION_PROJECTIONS),
    )
    with randomness.seeded(seed, "lora"):
        unet.add_adapter(config)


def frozen_copy(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a copy of the UNet that is not trained."""
    return copy.deepcopy(unet).requires_grad_(False).eval()


@contextmanager
def without_lora(unet: UNet2DConditionModel) -> Iterator[None]:
    """Let a UNet with adapters predict as the base model inside."""
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()


def save_lora(unet: UNet2DConditionModel, folder: Path) -> Path:
    """Write the adapters, with rank and scale, as one file in a folder; return its path."""
    path = Path(folder) / LORA_FILE
    # The metadata keeps a scale other than the rank, which the tensors alone do not show.
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    with atomic_path(path) as temporary:
        StableDiffusionPipeline.save_lora_weights(
            temporary.parent,
            unet_lora_layers=layers,
            weight_name=temporary.name,
            unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
        )
    return path


def save_weights(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write what is trained, the adapters or the UNet, into a folder."""
    if has_lora(unet):
        save_lora(unet, folder)
        return
    with quiet():
        unet.save_pretrained(Path(folder) / "unet", max_shard_size="100GB")


def load_weights(unet: UNet2DConditionModel, folder: Path) -> None:
    """Read what `save_weights` wrote of an equal UNet, to the bit.

    Raises:
        OSError, SafetensorError: a file is missing or damaged.
        RuntimeError: the file is another UNet's.
    """
    if not has_lora(unet):
        unet.load_state_dict(load_file(Path(folder) / UNET_FILE))
        return
    stored = load_file(Path(folder) / LORA_FILE)
    layers = {name.removeprefix("unet."): value for name, value in stored.items()}
    result = set_peft_model_state_dict(unet, convert_unet_state_dict_to_peft(layers))
    adapters = len(get_peft_model_state_dict(unet))
    if result.unexpected_keys or len(layers) != adapters:
        raise RuntimeError(f"{len(layers)} tensors for {adapters} adapters")
