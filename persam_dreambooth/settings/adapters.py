"""Low-rank adapters."""

from dataclasses import dataclass

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import at_least, below_one, given

LORA_ONLY = ("rank", "lora_alpha", "lora_dropout", "use_dora", "lora_layers")
"""Settings that mean nothing without adapters: one of them on the command line implies --use_lora."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Low-rank adapters."""

    use_lora: bool = False
    """Train low-rank adapters instead of the whole UNet; --rank and the like imply it."""
    rank: int = 4
    """Rank of the adapters."""
    lora_alpha: int | None = None
    """Scale of the adapters times their rank; without it, the rank."""
    lora_dropout: float = 0.0
    """Share of an adapter's inputs that are dropped in training, at least 0 and below 1."""
    use_dora: bool = False
    """Adapters that train the length of each weight column apart from its direction (DoRA)."""
    lora_layers: str | None = None
    """UNet layers that get adapters, comma-separated ends of names; without it, to_q,to_k,to_v,to_out.0."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, value in given(self, ("rank", "lora_alpha")):
            at_least(name, value, 1)
        below_one("lora_dropout", self.lora_dropout)
        if self.lora_layers is not None and not self.layers:
            raise UserError(
                f"--lora_layers {self.lora_layers!r}: no layer; comma-separated names are needed. "
                'For example "to_q,to_k,to_v,to_out.0".'
            )

    @property
    def layers(self) -> tuple[str, ...] | None:
        """Layers of --lora_layers; None where the usual ones are meant."""
        if self.lora_layers is None:
            return None
        return tuple(name.strip() for name in self.lora_layers.split(",") if name.strip())
