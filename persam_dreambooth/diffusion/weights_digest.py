"""A digest of a module's weights: the same for equal weights, whatever files and names they came from."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn


def weights_digest(module: nn.Module) -> str:
    """Return the sha256 (hex) over name, dtype, shape and bytes of every parameter and buffer.

    Tensors are hashed side by side (hashlib lets go of the interpreter's lock): about a second a gigabyte
    and core.
    """
    state = module.state_dict()
    with ThreadPoolExecutor() as threads:
        digests = threads.map(_tensor_digest, state.values())
        whole = hashlib.sha256()
        for name, digest in zip(state, digests, strict=True):
            whole.update(f"{name} {digest}\n".encode())
    return whole.hexdigest()


def _tensor_digest(tensor: Tensor) -> str:
    """Return the sha256 of a tensor with its dtype and shape."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
    # As bytes: numpy knows no bfloat16.
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
