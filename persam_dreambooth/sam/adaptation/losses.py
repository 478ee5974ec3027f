"""WeSAM's losses: self-training (focal, dice, IoU head), anchor, contrast, each a formula over logits.

Masks that serve as targets are hard (0 or 1) and carry no gradient. N masks of one photo make one sample.

Source: WeSAM (arXiv 2312.03502), section 3, and its program, losses.py and adaptation.py. Two of its
positional arguments land elsewhere than named: the number of masks becomes focal's weight and dice's
smoothing. That is the published method, and what is here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, normalize

FOCAL_GAMMA = 2.0
TEMPERATURE = 0.3
IOU_THRESHOLD = 0.5
"""Of the logit, not of its sigmoid: what the IoU head is asked about in the authors' program."""


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts; the defaults are the paper's."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    anchor: float = 1.0
    contrast: float = 1.0


def focal_loss(mask_logits: Float[Tensor, "n h w"], target: Float[Tensor, "n h w"]) -> Float[Tensor, ""]:
    """Return the sum over masks of each mask's mean focal loss, at least 0.

    (1 - p)^2 (-log p), where p is the probability given to the target's own value.

    Args:
        mask_logits: unthresholded.
        target: 0 or 1.
    """
    cross_entropy = binary_cross_entropy_with_logits(mask_logits, target, reduction="none")
    return ((1 - torch.exp(-cross_entropy)) ** FOCAL_GAMMA * cross_entropy).mean(dim=(1, 2)).sum()


def dice_loss(
    mask_logits: Float[Tensor, "n h w"], target: Float[Tensor, "n h w"], smoothing: float
) -> Float[Tensor, ""]:
    """Return 1 - (2 sum pt + e) / (sum p + sum t + e), over all masks together: 0 to 1.

    Args:
        mask_logits: unthresholded; p is their sigmoid.
        target: t, 0 or 1.
        smoothing: e; the number of masks in self-training, 1 in the anchor's loss.
    """
    p = torch.sigmoid(mask_logits)
    return 1 - (2 * (p * target).sum() + smoothing) / (p.sum() + target.sum() + smoothing)


def iou_loss(
    iou_predictions: Float[Tensor, " n"],
    mask_logits: Float[Tensor, "n h w"],
    target: Float[Tensor, "n h w"],
) -> Float[Tensor, ""]:
    """Return the mean squared error of the model's own guess of each mask's IoU with the target.

    Args:
        iou_predictions: the guesses; only they get a gradient.
        mask_logits: unthresholded; the mask is where they reach IOU_THRESHOLD.
        target: 0 or 1.
    """
    mask = (mask_logits >= IOU_THRESHOLD).to(target.dtype)
    shared, either = (mask * target).sum(dim=(1, 2)), torch.maximum(mask, target).sum(dim=(1, 2))
    # Two empty masks agree about nothing: 0, and no division by 0.
    return ((iou_predictions - shared / either.clamp(min=1)) ** 2).mean()


def self_training_loss(
    mask_logits: Float[Tensor, "n h w"],
    iou_predictions: Float[Tensor, " n"],
    target: Float[Tensor, "n h w"],
    weights: LossWeights,
) -> Float[Tensor, ""]:
    """Return the student's loss against the teacher's masks: focal, dice and IoU head, weighted."""
    return (
        weights.focal * focal_loss(mask_logits, target)
        + weights.dice * dice_loss(mask_logits, target, smoothing=len(target))
        + weights.iou * iou_loss(iou_predictions, mask_logits, target)
    )


def mask_features(
    features: Float[Tensor, "c gh gw"], masks: Float[Tensor, "n gh gw"]
) -> Float[Tensor, "n c"]:
    """Return the mean of unit feature vectors over each mask; zeros for an empty one."""
    units = normalize(features, dim=0)
    sums = torch.einsum("chw,nhw->nc", units, masks)
    return sums / masks.sum(dim=(1, 2)).clamp(min=1)[:, None]


def grid_masks(
    low_res_logits: Float[Tensor, "n h w"], size: tuple[int, int], *, background: bool
) -> Float[Tensor, "m gh gw"]:
    """Return hard masks on the features' grid, without gradient.

    Args:
        low_res_logits: unthresholded, over the same square as the features.
        size: (rows, columns) of the grid.
        background: append what no mask covers as one more. With one subject to a photo there is nothing to
            contrast without it: the loss is 0 whatever the features.
    """
    logits = low_res_logits.detach().float()[:, None]
    masks = (interpolate(logits, size, mode="bilinear", align_corners=False)[:, 0] > 0).float()
    if not background:
        return masks
    return torch.cat([masks, 1 - masks.amax(dim=0, keepdim=True)])


def contrast_loss(
    features: Float[Tensor, "n c"], anchor_features: Float[Tensor, "n c"], temperature: float = TEMPERATURE
) -> Float[Tensor, ""]:
    """Return -log(sum_i e^S_ii / sum_ij e^S_ij), where S_ij is the cosine of i and j over the temperature.

    One logarithm of two sums over the whole matrix, not a mean over rows: at least 0, log n where all are
    alike, 0 for a single mask.

    Args:
        features: of each mask, by the model that is adapted.
        anchor_features: of the same masks, by the source model.
        temperature: above 0.
    """
    cosines = normalize(features, dim=1) @ normalize(anchor_features, dim=1).T
    similarity = cosines / temperature
    return torch.logsumexp(similarity.flatten(), 0) - torch.logsumexp(similarity.diagonal(), 0)
