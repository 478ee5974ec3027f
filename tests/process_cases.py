"""Trainings that one process and two take alike; run as a script, by each of the processes.

    ACCELERATE_USE_CPU=true torchrun --standalone --nproc_per_node 2 tests/process_cases.py FOLDER 2

The folder holds the models; the main process writes what each case came to beside them.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from tiny_albums import encode_album
from tiny_training import SETTINGS, weights

from persam_dreambooth.diffusion import checkpoint, training
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.settings.defaults import resolve_train

# AdamW's own epsilon turns the last bits of a gradient near 0 into a good part of a step.
BASE = replace(SETTINGS, train_batch_size=4, learning_rate=2e-4, adam_epsilon=1e-5)
HELD = Objective(outside_prior_weight=0.5, prior_loss_weight=0.7)

CASES = {
    "full": ("sd", replace(BASE, lr_scheduler="cosine", lr_warmup_steps=1), HELD),
    "lora": ("sd", replace(BASE, use_lora=True, rank=2, train_text_encoder=True), HELD),
    "full_sdxl_with_text": (
        "sdxl",
        replace(BASE, train_text_encoder=True, text_encoder_lr=1e-4),
        Objective(),
    ),
    "lora_sdxl_checkpointed": (
        "sdxl",
        replace(BASE, use_lora=True, gradient_checkpointing=True, train_text_encoder=True),
        Objective(snr_gamma=5.0),
    ),
}
"""By name: the model, the settings of one process, the loss."""
STEPS = 3


def begin(folder: Path, name: str, num_processes: int, passes: int = 1) -> training.TrainingState:
    """A case before its first step, of which this process takes its share."""
    kind, settings, objective = CASES[name]
    models = load_models(str(folder / kind))
    settings = resolve_train(settings, models.family.name)
    state = training.start(
        models,
        Examples(encode_album(models, 3), encode_album(models, 4, with_masks=False), seed=0),
        replace(
            settings,
            train_batch_size=settings.train_batch_size // num_processes // passes,
            gradient_accumulation_steps=passes,
        ),
        objective,
        accelerator=training.build_accelerator("no"),
        max_train_steps=STEPS,
    )
    assert state.accelerator.num_processes == num_processes
    return state


def finish(state: training.TrainingState) -> dict:
    """Losses and weights after the remaining steps."""
    progress = [vars(replace(step, seconds=0.0)) for step in training.train(state)]
    return {"progress": progress, "weights": weights(state), "what_matters": state.what_matters}


def main() -> None:
    """Run all cases with the processes that were launched; with a third argument, each in two halves."""
    folder, num_processes, in_halves = Path(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3
    accelerator = training.build_accelerator("no")
    torch.set_num_threads(1)
    for name in CASES:
        state = begin(folder, name, num_processes, passes=2)
        if in_halves:
            for _ in range(STEPS - 1):
                next(training.train(state))
            saved = checkpoint.save(state, folder / "halves" / name)
            state = begin(folder, name, num_processes, passes=2)
            checkpoint.resume(state, saved)
        result = finish(state)
        if accelerator.is_main_process:
            torch.save(result, folder / f"{name}.pt")
    accelerator.end_training()


if __name__ == "__main__":
    main()
