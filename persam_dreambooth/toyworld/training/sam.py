"""Train the toy world's SAM the way SAM was trained: promptable, ambiguous, on things of every kind.

    python -m persam_dreambooth.toyworld.training.sam --data output/toyworld/data --out output/toyworld/sam

Targets are whole subjects, single parts, sets of parts, and the things of the place. A prompt is a click, a
loose box or both; a second round adds a click where the first answer was wrong, and its logits. Three masks
are scored by the best of them (so that a click may mean the whole or a part) or, in the other steps, the
single mask by itself. Loss: focal and dice 20:1, plus the squared error of the predicted IoU.

Source: Kirillov et al. 2023, Segment Anything, section 3 and appendix A.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, interpolate, mse_loss
from transformers import SamConfig, SamModel

from persam_dreambooth.toyworld.training.data import Shards, read_shards
from persam_dreambooth.toyworld.training.loop import Trainee, train

TARGETS_PER_PHOTO = 4
MINIMUM_AREA = 64
"""Pixels; smaller things are no targets."""
FOCAL_WEIGHT, FOCAL_ALPHA, FOCAL_GAMMA = 20.0, 0.5, 2.0
RELOAD_STEPS = 400
PADDED_FRACTION = 0.25
"""Share of batches that are not square, as most photos are: their rest is padding, as SAM pads."""
PADDING = 255
"""The owner of a pixel that is padding."""


def build_sam() -> SamModel:
    """The untrained model: 128 px in, a 16 x 16 grid, 64 x 64 masks, about 1.3 million parameters."""
    torch.manual_seed(0)
    width = 64
    vision = {
        "hidden_size": 128,
        "output_channels": width,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "image_size": 128,
        "patch_size": 8,
        "window_size": 8,
        "global_attn_indexes": [1, 3, 5],
        "num_pos_feats": width // 2,
        "mlp_ratio": 3.0,
        "initializer_range": 0.02,
    }
    prompt = {"hidden_size": width, "image_size": 128, "patch_size": 8, "mask_input_channels": 16}
    decoder = {"hidden_size": width, "mlp_dim": 256, "num_attention_heads": 4, "iou_head_hidden_dim": 64}
    sam = SamModel(
        SamConfig(
            vision_config=vision,
            prompt_encoder_config=prompt,
            mask_decoder_config=decoder,
            initializer_range=0.02,
        )
    )
    # For a few tokens a fifth faster than fused attention on a CPU.
    sam.mask_decoder.config._attn_implementation = "eager"
    # transformers scales the random Fourier features by half the encoder's width, which suits loading but not
    # training; SAM's own scale is 1.
    features = torch.randn_like(sam.shared_image_embedding.positional_embedding)
    for embedding in (sam.shared_image_embedding, sam.prompt_encoder.shared_embedding):
        embedding.positional_embedding.data.copy_(features)
        embedding.positional_embedding.requires_grad_(False)
    return sam


def preprocess(images: np.ndarray) -> Tensor:
    """Pictures uint8 [b H W 3] as SAM wants them: less the ImageNet mean, over its deviation, [b 3 H W]."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    return (pixels - mean[:, None, None]) / std[:, None, None]


def random_targets(owner: np.ndarray, layers: list[dict], rng: np.random.Generator) -> list[np.ndarray]:
    """TARGETS_PER_PHOTO masks bool [H W]: the subject twice, its parts or some of them, things of the place.

    Args:
        owner: Which layer is seen at each pixel, [H W]; 0 is the backdrop.
        layers: Name of each layer, the first has number 1, and whether it is of the subject.
        rng: Draws them.
    """
    own = [number for number, layer in enumerate(layers, 1) if layer["of_subject"]]
    subject = np.isin(owner, own)
    parts = [mask for number in own if (mask := owner == number).sum() >= MINIMUM_AREA]
    things = [
        mask
        for number in range(1, len(layers) + 1)
        if number not in own and (mask := owner == number).sum() >= MINIMUM_AREA
    ]
    if len(parts) > 2:
        some = rng.choice(len(parts), size=int(rng.integers(2, len(parts))), replace=False)
        parts.append(np.any([parts[k] for k in some], axis=0))
    whole = [subject] if subject.sum() >= MINIMUM_AREA else []
    groups = [group for group in (whole, parts, things, whole) if group] or [[owner == 0]]
    chosen = [groups[k % len(groups)] for k in range(TARGETS_PER_PHOTO)]
    return [group[rng.integers(len(group))] for group in chosen]


def random_click(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """A random pixel (x, y) of a mask; anywhere if the mask is empty."""
    ys, xs = np.nonzero(mask) if mask.any() else np.nonzero(np.ones_like(mask))
    k = rng.integers(len(ys))
    return float(xs[k]), float(ys[k])


def loose_box(mask: np.ndarray, rng: np.random.Generator) -> list[float]:
    """The mask's bounding box XYXY; half with edges off by noise of a tenth of the side, at most 8 px."""
    ys, xs = np.nonzero(mask)
    box = np.array([xs.min(), ys.min(), xs.max(), ys.max()], float)
    sides = np.tile(box[2:] - box[:2], 2)
    noise = np.clip(rng.normal(0, 0.1, 4) * sides, -8, 8) * rng.choice([0.0, 1.0])
    return (box + noise).clip(0, mask.shape[0] - 1).tolist()


@dataclass(frozen=True)
class Prompts:
    """Prompts of n targets, each [n 1 ...] as transformers' prompt encoder has it; None where not given."""

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None


def decode(sam: SamModel, features: Tensor, prompts: Prompts, *, multimask: bool) -> tuple[Tensor, Tensor]:
    """Mask logits [n k h w] and predicted IoUs [n k] for n prompts on n feature maps."""
    sparse, dense = sam.prompt_encoder(prompts.points, prompts.labels, prompts.boxes, prompts.masks)
    positions = sam.get_image_wide_positional_embeddings().repeat(len(features), 1, 1, 1)
    logits, ious = sam.mask_decoder(features, positions, sparse, dense, multimask)
    return logits[:, 0], ious[:, 0]


def mask_losses(logits: Tensor, ious: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Losses of the best of k masks, and of all their IoU predictions.

    Args:
        logits: [n k h w]; enlarged to the target's size.
        ious: Predicted IoU, [n k].
        target: Share of each pixel that is of the target, 0 to 1, [n H W].
    """
    logits = interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)
    truth = target[:, None].expand_as(logits)
    probability = logits.sigmoid()
    cross_entropy = binary_cross_entropy_with_logits(logits, truth, reduction="none")
    p_true = probability * truth + (1 - probability) * (1 - truth)
    alpha = FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)
    focal = (alpha * (1 - p_true) ** FOCAL_GAMMA * cross_entropy).mean((-1, -2))
    overlap = (probability * truth).sum((-1, -2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((-1, -2)) + truth.sum((-1, -2)) + 1)
    found, solid = logits > 0, truth > 0.5
    measured = (found & solid).sum((-1, -2)) / (found | solid).sum((-1, -2)).clamp(min=1)
    best = (FOCAL_WEIGHT * focal + dice).min(1).values.mean()
    error = mse_loss(ious, measured)
    return {
        "loss": best + error,
        "masks": best,
        "iou_error": error,
        "best_iou": measured.max(1).values.mean(),
    }


def corrections(
    logits: Tensor, ious: Tensor, target: Tensor, scale: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A click [n 1 1 2] where the likeliest mask is wrong, its label [n 1 1], the mask's logits [n 1 h w].

    Args:
        logits: [n k h w].
        ious: Predicted IoU, [n k].
        target: Share of each pixel that is of the target, [n h w].
        scale: Photo pixels to a pixel of the logits.
        rng: Draws the clicks.
    """
    likeliest = logits[torch.arange(len(ious)), ious.argmax(1)].detach()
    solid = (target > 0.5).cpu().numpy()
    wrong = (likeliest > 0).cpu().numpy() ^ solid
    clicks = [random_click(w if w.any() else t, rng) for w, t in zip(wrong, solid, strict=True)]
    labels = [float(t[int(y), int(x)]) for (x, y), t in zip(clicks, solid, strict=True)]
    points = (torch.tensor(clicks, device=logits.device) + 0.5) * scale - 0.5
    points, labels = points[:, None, None], torch.tensor(labels, device=logits.device)[:, None, None]
    return points, labels, likeliest[:, None]


def cut_to_side(
    images: np.ndarray, owners: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Photos [b H W 3] and owners [b H W] cut to a random part of one side, which moves to the top left.

    The rest has the owner PADDING.
    """
    side, axis = owners.shape[1], int(rng.integers(1, 3))
    kept = int(rng.integers(side // 2, side))
    shift = -int(rng.integers(0, side - kept + 1))
    images, owners = np.roll(images, shift, axis), np.roll(owners, shift, axis)
    owners[(slice(None),) * axis + (slice(kept, None),)] = PADDING
    return images, owners


def losses(sam: SamModel, shards: Shards, step: int, *, photos: int, device: str) -> dict[str, Tensor]:
    """The losses of a step: two rounds of prompts on `photos` photos; a function of the step."""
    rng = np.random.default_rng(step)
    chosen = rng.integers(len(shards.records), size=photos)
    images, owners = shards.images[chosen], shards.owners[chosen]
    if rng.random() < 0.5:
        images, owners = images[:, :, ::-1].copy(), owners[:, :, ::-1]
    if rng.random() < PADDED_FRACTION:
        images, owners = cut_to_side(images, owners, rng)
    padding = torch.from_numpy(owners == PADDING)[:, None].to(device)
    targets = [
        mask
        for k, index in enumerate(chosen)
        for mask in random_targets(owners[k], shards.records[index]["layers"], rng)
    ]
    truth = torch.from_numpy(np.stack(targets)).float().to(device)
    scale = sam.config.vision_config.patch_size // 4  # masks have four times the grid's resolution
    target = avg_pool2d(truth, scale)
    clicks = torch.tensor([random_click(mask, rng) for mask in targets], device=device)[:, None, None]
    ones = torch.ones(len(targets), 1, 1, device=device)
    boxes = torch.tensor([loose_box(mask, rng) for mask in targets], device=device)[:, None]
    kind = rng.choice(["click", "box", "both"], p=[0.4, 0.45, 0.15])
    # A click is ambiguous, a box hardly: it seldom needs three masks.
    multimask = rng.random() < (0.5 if kind == "click" else 0.3)
    first = Prompts(
        clicks if kind != "box" else None, ones if kind != "box" else None, boxes if kind != "click" else None
    )
    with torch.autocast(device, torch.bfloat16):
        pixel_values = preprocess(images).to(device).masked_fill(padding, 0.0)
        features = sam.vision_encoder(pixel_values).last_hidden_state
        features = features.repeat_interleave(TARGETS_PER_PHOTO, 0)
        logits, ious = decode(sam, features, first, multimask=multimask)
        logits, ious = logits.float(), ious.float()
        points, labels, likeliest = corrections(logits, ious, target, scale, rng)
        again = Prompts(torch.cat([clicks, points], 2), torch.cat([ones, labels], 2), first.boxes, likeliest)
        logits_again, ious_again = decode(sam, features, again, multimask=rng.random() < 0.6)
    one = mask_losses(logits, ious, truth)
    two = mask_losses(logits_again.float(), ious_again.float(), truth)
    name = f"{kind}_{'best_of_3' if multimask else 'single'}"
    return {
        "loss": one["loss"] + two["loss"],
        "masks": one["masks"],
        "iou_error": one["iou_error"],
        f"iou_{name}": one["best_iou"],
        f"n_{name}": torch.ones(()),
        "iou_second_round": two["best_iou"],
    }


def main() -> None:
    """Train, then export the averaged weights in fp32 as a transformers folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("output/toyworld/data"))
    parser.add_argument("--out", type=Path, default=Path("output/toyworld/sam"))
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--photos", type=int, default=8, help="per step; each gives four targets")
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainee = Trainee(build_sam().to(device), args.out, learning_rate=args.learning_rate)
    shards = read_shards(args.data)

    def losses_of(step: int) -> dict[str, Tensor]:
        nonlocal shards
        if step % RELOAD_STEPS == 0:
            shards = read_shards(args.data)
        return losses(trainee.module, shards, step, photos=args.photos, device=device)

    train(trainee, losses_of, steps=args.steps, minutes=args.minutes)
    trainee.averaged().cpu().save_pretrained(args.out / "model")


if __name__ == "__main__":
    main()
