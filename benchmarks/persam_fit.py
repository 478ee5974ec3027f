"""How much faster PerSAM-F's two numbers are fitted than by decoding 1000 times, and that they are the same.

    python benchmarks/persam_fit.py                            # about 2 minutes on one core
    python benchmarks/persam_fit.py --photo_size 2048 --out fit.json

Two cases. The first is a photo of 1024 px under a decoder of SAM's own size (all SAMs have the same). Its
weights are random, for time does not depend on them, so the masks to fit come from the embedded SAM. Some of
the loop's steps are timed (decode, enlarge, loss, AdamW) and taken times 1000. The second is the embedded SAM
with every one of the 1000 steps run. Times are CPU seconds on one thread. The one decoding that our fit needs
is the loop's first; it is not counted, and printed below.

The weights are compared with those of the authors' loop over all pixels in float64, which runs on cached
logits: the decoder returns the same tensor each time, which is checked.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import SamConfig, SamModel

from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.cells import Reference, pixel_of
from persam_dreambooth.masks.mask_fit import NUM_STEPS, fit_mask_weights
from persam_dreambooth.masks.mask_fit_loss import loss_and_gradient, pixels_of
from persam_dreambooth.sam.segmenter import Embedding, Segmenter
from persam_dreambooth.toyworld.scene import render

SCENE = ("cat", "kitchen", 20031, 1)
TINY_ENCODER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 32}
CLICK = {"point_coords": torch.tensor([[500.0, 400.0]]), "point_labels": torch.tensor([1])}


class Loop:
    """The authors' fit: AdamW on two numbers, with autograd through all pixels."""

    def __init__(self, mask: torch.Tensor, dtype: torch.dtype) -> None:
        self.truth = mask.flatten().to(dtype)
        self.free = torch.nn.Parameter(torch.ones(2, 1, dtype=dtype) / 3)
        self.optimizer = torch.optim.AdamW([self.free], lr=1e-3, eps=1e-4)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, NUM_STEPS)

    def step(self, mask_logits: torch.Tensor) -> None:
        """Take one step on logits [3 H W]."""
        z = (mask_logits.flatten(1).to(self.truth) * self.weights).sum(0)
        p, g = z.sigmoid(), self.truth
        dice = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
        cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(z, g, reduction="none")
        p_true = p * g + (1 - p) * (1 - g)
        focal = (0.25 * g + 0.75 * (1 - g)) * (1 - p_true) ** 2 * cross_entropy
        self.optimizer.zero_grad()
        (dice + focal.mean()).backward()
        self.optimizer.step()
        self.schedule.step()

    @property
    def weights(self) -> torch.Tensor:
        """The three weights [3 1]."""
        return torch.cat([1 - self.free.sum(0, keepdim=True), self.free])


def seconds_of(function: object, *args: object, **options: object) -> tuple[float, object]:
    """Return the CPU seconds of a call, and what it returned."""
    started = time.process_time()
    result = function(*args, **options)
    return time.process_time() - started, result


def large_decoder() -> Segmenter:
    """Return a SAM whose decoder has the published size, and random weights; its encoder is not used."""
    torch.manual_seed(0)
    return Segmenter(SamModel(SamConfig(vision_config={**TINY_ENCODER, "global_attn_indexes": [0]})))


def reference_masks(photo_size: int) -> tuple[Segmenter, Reference, dict]:
    """Return the embedded SAM, a drawn reference, and the click that PerSAM-F would make on it."""
    segmenter, scene = Segmenter.load("toy"), render(*SCENE, size=photo_size)
    reference = Reference(segmenter.encode(scene.image), scene.mask, "reference")
    target = persam_f.fit(segmenter, [reference])
    similarity = persam.similarity_map(segmenter, reference.embedding, target.direction)
    coords = pixel_of(similarity.argmax(), similarity)[None]
    return segmenter, reference, {"point_coords": coords, "point_labels": torch.tensor([1])}


def fits(mask_logits: torch.Tensor, mask: torch.Tensor, loop_seconds: float) -> dict[str, dict]:
    """Return time, ratio, weights and loss of both solvers."""
    pixels, rows = pixels_of(mask_logits, mask), {}
    for solver in ("adamw", "lbfgs"):
        times, weights = [], None
        for _ in range(3):
            seconds, weights = seconds_of(fit_mask_weights, mask_logits, mask, solver=solver)
            times.append(seconds)
        loss, gradient = loss_and_gradient(pixels, *weights[1:].tolist())
        seconds = sorted(times)[1]
        rows[solver] = {
            "seconds": seconds,
            "ratio": loop_seconds / seconds,
            "weights": weights.tolist(),
            "loss": loss,
            "slope": float(gradient.abs().max()),
        }
    return rows


def large_case(photo_size: int, timed_steps: int) -> dict:
    """Time a few steps of the loop under SAM's own decoder, and the fits."""
    segmenter, side = large_decoder(), photo_size
    embedding = Embedding(torch.randn(1, 256, 64, 64) * 0.5, (side, side), (1024, 1024))
    toy, reference, click = reference_masks(photo_size)
    decoded = toy.decode(reference.embedding, **click)
    mask_logits, mask = toy.mask_logits(decoded.low_res_logits, reference.embedding), reference.mask
    mask = torch.from_numpy(mask)
    loop, parts = Loop(mask, torch.float32), []
    for step in range(timed_steps + 1):
        decoding, decoded = seconds_of(segmenter.decode, embedding, **CLICK)
        enlarging, _ = seconds_of(segmenter.mask_logits, decoded.low_res_logits, embedding)
        stepping, _ = seconds_of(loop.step, mask_logits)
        if step:  # the first one warms up
            parts.append((decoding, enlarging, stepping))
    decode, enlarge, step = (sum(part) / len(parts) for part in zip(*parts, strict=True))
    loop_seconds = NUM_STEPS * (decode + enlarge + step)
    exact = Loop(mask, torch.float64)
    for _ in range(NUM_STEPS):
        exact.step(mask_logits)
    rows = fits(mask_logits, mask, loop_seconds)
    return summary(loop_seconds, rows, exact) | {"decode": decode, "enlarge": enlarge, "loss_step": step}


def toy_case(photo_size: int) -> dict:
    """Run the whole loop under the embedded SAM, decoding each time, and the fits."""
    segmenter, reference, click = reference_masks(photo_size)
    mask = torch.from_numpy(reference.mask)
    first = segmenter.decode(reference.embedding, **click).low_res_logits
    loop, exact = Loop(mask, torch.float32), Loop(mask, torch.float64)
    started = time.process_time()
    for _ in range(NUM_STEPS):
        decoded = segmenter.decode(reference.embedding, **click)
        loop.step(segmenter.mask_logits(decoded.low_res_logits, reference.embedding))
        assert torch.equal(decoded.low_res_logits, first)
    loop_seconds = time.process_time() - started
    mask_logits = segmenter.mask_logits(first, reference.embedding)
    for _ in range(NUM_STEPS):
        exact.step(mask_logits)
    return summary(loop_seconds, fits(mask_logits, mask, loop_seconds), exact)


def summary(loop_seconds: float, rows: dict[str, dict], exact: Loop) -> dict:
    """Return a case's numbers, with the distance of AdamW's weights from the loop's."""
    apart = (torch.tensor(rows["adamw"]["weights"]) - exact.weights.detach().flatten()).abs().max()
    return {"loop_seconds": loop_seconds, "apart": float(apart), **rows}


def show(title: str, case: dict) -> None:
    """Print a case."""
    print(f"\n{title}\n| | CPU s | times faster | weights | loss | slope |\n|---|---|---|---|---|---|")
    print(f"| loop, 1000 steps | {case['loop_seconds']:.1f} | 1 | | | |")
    for solver in ("adamw", "lbfgs"):
        row = case[solver]
        weights = ", ".join(f"{weight:.4f}" for weight in row["weights"])
        print(
            f"| {solver} | {row['seconds']:.3f} | {row['ratio']:.0f} | {weights} | {row['loss']:.5f} | "
            f"{row['slope']:.1e} |"
        )
    print(f"the weights of adamw and of the loop in float64 differ by at most {case['apart']:.1e}")
    if "decode" in case:
        print(
            f"a step of the loop: decode {case['decode']:.3f} s, enlarge {case['enlarge']:.3f} s, "
            f"loss and AdamW {case['loss_step']:.3f} s"
        )


def main() -> None:
    """Run both cases and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo_size", type=int, default=1024, help="pixels, of the first case")
    parser.add_argument("--timed_steps", type=int, default=10, help="of the first case's loop")
    parser.add_argument("--out", type=Path, help="write the numbers as json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = {
        f"photo of {args.photo_size} px, SAM's decoder ({args.timed_steps} steps timed)": large_case(
            args.photo_size, args.timed_steps
        ),
        "photo of 256 px, the embedded SAM (all 1000 steps run)": toy_case(256),
    }
    for title, case in cases.items():
        show(title, case)
    if args.out:
        args.out.write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
