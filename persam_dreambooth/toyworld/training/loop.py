"""The loop that the embedded models share: AdamW, a moving average of the weights, checkpoints.

A training may be stopped at any time and goes on from its last checkpoint.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

WARMUP_STEPS = 200
CHECKPOINT_SECONDS = 180
CLIP_NORM = 1.0


class Trainee:
    """What is being trained, and everything needed to go on with it another day.

    Attributes:
        module: The weights in training.
        average: Their exponential moving average, which is what gets exported.
        step: Optimizer steps done.
    """

    def __init__(
        self, module: nn.Module, folder: Path, *, learning_rate: float, ema_decay: float = 0.999
    ) -> None:
        """Start, or go on from `folder`/checkpoint.pt where there is one."""
        self.module, self.folder = module, folder
        self.learning_rate, self.ema_decay = learning_rate, ema_decay
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.average = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self.step, self.seconds = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if (path := folder / "checkpoint.pt").exists():
            state = torch.load(path, weights_only=True)
            module.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint under a temporary name, then rename it."""
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }
        partial = self.folder / "checkpoint.pt.partial"
        torch.save({**state, "step": self.step, "seconds": self.seconds}, partial)
        os.replace(partial, self.folder / "checkpoint.pt")

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Go on from these weights, the average too; those that get no gradient then stay as they are."""
        self.module.load_state_dict(weights)
        self.average = {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def averaged(self) -> nn.Module:
        """The module with its averaged weights loaded, in evaluation mode."""
        self.module.load_state_dict(self.average)
        return self.module.eval()

    def update(self, loss: Tensor) -> None:
        """One step of AdamW on `loss`, and of the moving average."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * min(1.0, (self.step + 1) / WARMUP_STEPS)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.step += 1
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)


def train(
    trainee: Trainee,
    losses_of: Callable[[int], dict[str, Tensor]],
    *,
    steps: int,
    minutes: float | None = None,
    log_every: int = 50,
) -> None:
    """Train until `steps` steps are done or `minutes` are over, logging to log.jsonl beside the checkpoint.

    Args:
        trainee: What to train.
        losses_of: From a step number to its losses by name; their "loss" is minimised.
        steps: Where to stop, earlier calls counted in.
        minutes: Stop this call earlier.
        log_every: Steps between two lines of the log, which hold means over them.
    """
    started = saved = last = time.monotonic()
    sums: dict[str, float] = {}
    logged = trainee.step
    trainee.module.train()
    progress = tqdm(initial=trainee.step, total=steps, desc=trainee.folder.name, mininterval=20)
    while trainee.step < steps and (minutes is None or time.monotonic() - started < 60 * minutes):
        losses = losses_of(trainee.step)
        trainee.update(losses["loss"])
        progress.update()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        now = time.monotonic()
        trainee.seconds, last = trainee.seconds + now - last, now
        if trainee.step % log_every == 0:
            line = {"step": trainee.step, "seconds": round(trainee.seconds, 1)}
            # After a resume the first line may hold fewer steps than the others.
            line |= {name: round(value / (trainee.step - logged), 5) for name, value in sums.items()}
            with (trainee.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums, logged = {}, trainee.step
        if now - saved > CHECKPOINT_SECONDS:
            trainee.save()
            saved = now
    trainee.save()
