"""Features by their name, with everything they need.

Each kind is imported when it is asked for: `ct` needs neither torch nor a model library.
"""

from typing import TYPE_CHECKING

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.leakage.features import colour
from persam_dreambooth.leakage.features.cells import Features
from persam_dreambooth.leakage.features.encoding import EncoderFeatures
from persam_dreambooth.leakage.features.weights_package import is_installed

if TYPE_CHECKING:
    import torch

    from persam_dreambooth.diffusion.models import Models
    from persam_dreambooth.sam.segmenter import Segmenter

_EXAMPLES = {"dinov2": "facebook/dinov2-small", "clip": "openai/clip-vit-large-patch14"}
NAMES = ("auto", colour.NAME, "efficientnet", "dift", "sam", *(f"{name}:MODEL" for name in _EXAMPLES))
"""What `load_features` takes; MODEL is a folder or a hub id."""


def ct_features() -> EncoderFeatures:
    """Return the features that need nothing: colour and gradients."""
    return EncoderFeatures(
        colour.NAME, colour.VERSION, colour.NUM_FEATURES, colour.encode, weights=str, mixes_cells=False
    )


def load_features(
    name: str,
    *,
    models: "Models | None" = None,
    segmenter: "Segmenter | None" = None,
    device: "torch.device | str" = "cpu",
) -> Features:
    """Return features by name.

    Args:
        name: one of NAMES; `auto` is `efficientnet` where its package is installed, else `ct`.
        models: the base model, for `dift`; it moves to the device.
        segmenter: for `sam`; it stays where it is.
        device: where encoders compute.

    Raises:
        UserError: there are no such features, or what they need is missing.
    """
    kind, _, model = name.partition(":")
    _check(name, kind, model)
    if kind == colour.NAME or (kind == "auto" and not is_installed()):
        return ct_features()
    if kind in ("auto", "efficientnet"):
        from persam_dreambooth.leakage.features.efficientnet import efficientnet_features

        return efficientnet_features(device)
    if kind in _EXAMPLES:
        return _of_transformer(kind, model, device)
    return _of_given(kind, models, segmenter, device)


def _of_transformer(kind: str, model: str, device: "torch.device | str") -> Features:
    """Return features of a vision transformer by its folder or hub id."""
    if kind == "dinov2":
        from persam_dreambooth.leakage.features.dinov2 import dinov2_features

        return dinov2_features(model, device, example=_EXAMPLES[kind])
    from persam_dreambooth.leakage.features.clip import clip_features

    return clip_features(model, device, example=_EXAMPLES[kind])


def _of_given(
    kind: str, models: "Models | None", segmenter: "Segmenter | None", device: "torch.device | str"
) -> Features:
    """Return features of a network that the caller has loaded."""
    if kind == "dift":
        if models is None:
            raise UserError(
                "--features dift: there is no base model to read them from; they are its UNet's. "
                "Give --base MODEL, or take other features."
            )
        from persam_dreambooth.leakage.features.dift import dift_features

        return dift_features(models, device)
    if segmenter is None:
        raise UserError(
            "--features sam: there is no SAM to read them from; they are its image encoder's. "
            "Give --sam MODEL, or take other features."
        )
    from persam_dreambooth.leakage.features.sam import sam_features

    return sam_features(segmenter)


def _check(name: str, kind: str, model: str) -> None:
    """Raise UserError for features that do not exist, or that are named with too little or too much."""
    kinds = [known.partition(":")[0] for known in NAMES]
    if kind not in kinds:
        raise UserError(
            f"--features {name}: there are no such features; one of {', '.join(NAMES)} is needed."
            f"{did_you_mean(kind, kinds)}"
        )
    if kind in _EXAMPLES and not model:
        raise UserError(
            f"--features {name}: no model is named; a folder or a hub id is needed behind a colon. "
            f"For example {kind}:{_EXAMPLES[kind]}."
        )
    if kind not in _EXAMPLES and name != kind:
        raise UserError(
            f"--features {name}: {kind} takes no model; {kind} alone is needed. Leave out :{model}."
        )
