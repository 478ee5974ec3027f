"""What was encoded before, by content: one small file for each photo and each prompt.

    <digest of everything that the tensors follow from>.safetensors

A photo, a mask, a prompt, a setting or a model that changes has another digest; nothing is ever stale.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from persam_dreambooth.diffusion.weights_digest import weights_digest
from persam_dreambooth.files import atomic_path
from persam_dreambooth.run import digest_of

FORMAT = 1
"""To be raised when the same inputs give other tensors."""


class EncodeCache:
    """A folder of tensors by the digest of what they were made from.

    Attributes:
        folder: where; None keeps nothing.
        num_read: how many entries were read and not made.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.num_read = 0
        self._weights: dict[int, str] = {}

    def weights_of(self, module: nn.Module) -> str | None:
        """Return a digest of a network's weights, computed once; None where nothing is kept.

        They must not change as long as this cache is used.
        """
        if self.folder is None:
            return None
        if id(module) not in self._weights:
            self._weights[id(module)] = weights_digest(module)
        return self._weights[id(module)]

    def get(self, make: Callable[[], dict[str, Tensor]], *inputs: object) -> dict[str, Tensor]:
        """Return the tensors that follow from the inputs: read, or else made and kept.

        Args:
            make: makes them.
            inputs: all that they follow from, as values that JSON holds.
        """
        if self.folder is None:
            return make()
        path = self.folder / f"{digest_of(FORMAT, *inputs)}.safetensors"
        found = _read(path)
        if found is not None:
            self.num_read += 1
            return found
        made = make()
        with atomic_path(path) as temporary:
            save_file({name: value.contiguous() for name, value in made.items()}, temporary)
        return made


def device_kind(device: str | torch.device) -> str:
    """Return the kind of a device: another kind may round otherwise."""
    return torch.device(device).type


def _read(path: Path) -> dict[str, Tensor] | None:
    """Return what a file holds; None where there is none, or a damaged one, which is made again."""
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None
