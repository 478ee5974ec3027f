"""Which layers carry adapters, by the ends of their names."""

from torch import nn

from persam_dreambooth.errors import UserError, did_you_mean

UNET_LAYERS = ("to_k", "to_q", "to_v", "to_out.0")
"""Of a UNet: the attention's four projections, as in diffusers' DreamBooth scripts."""
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Of a text encoder: the same four, by the names that transformers gives them."""

_ADAPTABLE = (nn.Linear, nn.Conv2d)


def unet_layers(unet: nn.Module, lora_layers: str | None) -> tuple[str, ...]:
    """Return the ends of names of the UNet's layers that are adapted.

    Args:
        unet: the one in question, without adapters.
        lora_layers: what --lora_layers says: ends of names, separated by commas; None is the attention.

    Raises:
        UserError: an end fits no layer that can be adapted, or none is given.
    """
    if lora_layers is None:
        return UNET_LAYERS
    wanted = tuple(dict.fromkeys(part.strip() for part in lora_layers.split(",") if part.strip()))
    names = [name for name, module in unet.named_modules() if isinstance(module, _ADAPTABLE)]
    for end in wanted or ("",):
        if not any(name == end or name.endswith(f".{end}") for name in names):
            raise UserError(
                f"--lora_layers {end or repr(lora_layers)}: no such layer; the ends of names of linear or "
                f"convolution layers of the UNet are needed, for example {','.join(UNET_LAYERS)}."
                + did_you_mean(end, _ends(names))
            )
    return wanted


def _ends(names: list[str]) -> list[str]:
    """Return every last part of the names, and every last two."""
    parts = [name.split(".") for name in names]
    return list(dict.fromkeys(".".join(part[-count:]) for count in (1, 2) for part in parts))
