"""How much of the loss weight lies on background: what a mask at latent size lets through.

A cell that is half subject weighs on its background half as well, and `outside_weight` weighs on all of the
background. The share says how much of a training's pull comes from there, whatever the settings are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from persam_dreambooth.diffusion.losses import Normalization

_FEW = 10
"""Photos listed one by one; of more only the worst."""


@dataclass(frozen=True)
class BackgroundShare:
    """Of the loss weight, 0 to 1."""

    of_photos: tuple[float, ...]
    """Of each photo's."""
    overall: float
    """Of the whole training's; with normalisation by area each photo counts the same in it."""


def background_share(
    loss_mask: Float[Tensor, "n 1 h w"],
    subject_share: Float[Tensor, "n 1 h w"],
    normalization: Normalization = "area",
) -> BackgroundShare:
    """Return the share of the loss weight that lies on background: sum w (1 - s) / sum w.

    Args:
        loss_mask: w, the weight of each latent cell; some of each photo's is above 0.
        subject_share: s, the share of each latent cell's pixels that is subject, 0 to 1.
        normalization: of the loss.
    """
    weight = loss_mask.double().sum(dim=(1, 2, 3))
    on_background = (loss_mask.double() * (1 - subject_share.double())).sum(dim=(1, 2, 3))
    of_photos = on_background / weight
    overall = of_photos.mean() if normalization == "area" else on_background.sum() / weight.sum()
    return BackgroundShare(tuple(of_photos.tolist()), float(overall))


def describe(share: BackgroundShare, names: Sequence[str]) -> str:
    """Return the shares in words, in all and by photo, as one sentence.

    Args:
        share: of the photos.
        names: their file names.
    """
    pairs = sorted(zip(share.of_photos, names, strict=True), key=lambda pair: -pair[0])
    shown = [f"{name} {value:.1%}" for value, name in pairs[:_FEW]]
    rest = f" and {len(pairs) - _FEW} with less" if len(pairs) > _FEW else ""
    return f"{share.overall:.1%} of the loss weight lies on background ({', '.join(shown)}{rest})"
