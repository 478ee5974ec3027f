"""Vision transformers that never see the subject: its tokens are dropped before the first block.

Every patch becomes a token by itself, with its position. Those of the subject are deleted, then the blocks
run: no background token can have attended to the subject, which leaving it out of a pool afterwards would not
ensure. Class and register tokens stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from transformers import PreTrainedModel

from persam_dreambooth.diffusion.weights_digest import weights_digest
from persam_dreambooth.leakage.features.encoding import EncoderFeatures
from persam_dreambooth.leakage.features.pixel_values import pixel_values

VERSION = 1


@dataclass(frozen=True, eq=False)
class Tower:
    """A vision transformer in two parts."""

    model: PreTrainedModel
    """Whose it is; tells width, patches, weights and device."""
    embed: Callable[[Float[Tensor, "1 3 h w"]], Float[Tensor, "1 t d"]]
    """Patches as tokens, with positions, after `num_prefix` tokens that belong to no patch."""
    run_blocks: Callable[[Float[Tensor, "1 n d"]], Float[Tensor, "1 n d"]]
    num_prefix: int
    mean: tuple[float, float, float]
    """Of red, green and blue, 0 to 255."""
    std: tuple[float, float, float]


def tower_features(name: str, tower: Tower) -> EncoderFeatures:
    """Return a tower as features."""
    weights = partial(weights_digest, tower.model)
    return EncoderFeatures(name, VERSION, tower.model.config.hidden_size, partial(encode, tower), weights)


@torch.no_grad()
def encode(
    tower: Tower, pixels: UInt8[np.ndarray, "H W 3"], wanted: Bool[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns d"]:
    """Return what the tower says of the wanted cells, one a patch, as if the others were not there."""
    values = pixel_values(pixels, wanted.shape, tower.model.config.patch_size, tower.mean, tower.std)
    tokens = tower.embed(values.to(tower.model.device))
    kept = torch.cat([torch.ones(tower.num_prefix, dtype=torch.bool), torch.from_numpy(wanted.flatten())]).to(
        tower.model.device
    )
    said = tower.run_blocks(tokens[:, kept])[0, tower.num_prefix :].float().cpu().numpy()
    vectors = np.zeros((*wanted.shape, said.shape[-1]))
    vectors[wanted] = said
    return vectors
