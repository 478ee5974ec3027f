"""What the authors' video programs compute on the first frame of a clip, and their photo programs do not.

Source: Personalize-SAM, persam_video.py and persam_video_f.py.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from persam_dreambooth.masks.cells import MEAN_RED
from persam_dreambooth.sam.preprocessing import bilinear
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

VIDEO_RED = 215
"""Red value of an object in the masks that they make of DAVIS' label maps."""

# Fewer and smaller steps than on photos: the learning rates sum to 0.16, so that no weight gets far from ⅓.
NUM_STEPS, LEARNING_RATE = 800, 4e-4


def authors_cells(
    segmenter: Segmenter, embedding: Embedding, mask: Bool[np.ndarray, "H W"]
) -> Bool[Tensor, "gh gw"]:
    """Return which cells of the grid are the object: three of the four pixels around the cell's middle are.

    The mask goes the way of a photo, as with `cells.subject_cells`, but with the red value 215, of which
    three quarters are above the mean red that is subtracted, and a half is not.

    Args:
        segmenter: the model that made the embedding.
        embedding: the encoded frame.
        mask: True on the object, at the frame's size.
    """
    height, width = embedding.input_size
    grey = Image.fromarray(np.where(mask, VIDEO_RED, 0).astype(np.uint8))
    resized = np.array(grey.resize((width, height), Image.Resampling.BILINEAR))
    missing = (0, segmenter.input_length - width, 0, segmenter.input_length - height)
    red = pad(torch.from_numpy(resized).float()[None] - MEAN_RED, missing)
    return bilinear(red, tuple(embedding.features.shape[2:]))[0] > 0


def authors_weights(mask_logits: Float[Tensor, "3 H W"], mask: Bool[Tensor, "H W"]) -> Float[Tensor, " 3"]:
    """Return the weights of three masks after the authors' steps, taken literally, with autograd.

    Args:
        mask_logits: SAM's three masks of the first frame at its size, unthresholded.
        mask: True on the object.
    """
    logits, truth = mask_logits.flatten(1), mask.flatten().float()
    free = torch.nn.Parameter(torch.ones(2) / 3)
    optimizer = torch.optim.AdamW([free], lr=LEARNING_RATE, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NUM_STEPS)
    for _ in range(NUM_STEPS):
        blend = (1 - free.sum()) * logits[0] + free[0] * logits[1] + free[1] * logits[2]
        optimizer.zero_grad()
        (dice_loss(blend, truth) + focal_loss(blend, truth)).backward()
        optimizer.step()
        schedule.step()
    found = free.detach()
    return torch.stack([1 - found.sum(), found[0], found[1]])


def dice_loss(logits: Float[Tensor, " n"], truth: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return 1 − (2 Σ p g + 1) / (Σ p + Σ g + 1), p = σ(logits) and g the truth."""
    p = logits.sigmoid()
    return 1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)


def focal_loss(logits: Float[Tensor, " n"], truth: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return the mean of α (1 − p)² (−log p): p the truth's probability, α 0.25 on the object, else 0.75."""
    p = logits.sigmoid()
    miss = p + truth - 2 * p * truth
    alpha = 0.75 - 0.5 * truth
    return (alpha * miss**2 * binary_cross_entropy_with_logits(logits, truth, reduction="none")).mean()
