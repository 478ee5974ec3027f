"""The run: steps, looks at the weak labels, checkpoints, and at the end the adapter or the way back.

Everything random follows from (seed, step, photo), so that a run that was stopped goes on to the bit, and the
number of processes changes no more than the order of sums.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import array_digest
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.sam.adaptation import checkpoint
from persam_dreambooth.sam.adaptation.adapter_file import base_digest
from persam_dreambooth.sam.adaptation.branches import Branches, Terms, step_on
from persam_dreambooth.sam.adaptation.checkpoint import Progress
from persam_dreambooth.sam.adaptation.lora import (
    LoraLinear,
    add_lora,
    follow,
    lora_mode,
    lora_weights,
    set_lora_weights,
    start_teacher,
    trained_parameters,
)
from persam_dreambooth.sam.adaptation.losses import LossWeights
from persam_dreambooth.sam.adaptation.processes import add_gradients, asked_to_stop, mean_losses, of_main
from persam_dreambooth.sam.adaptation.views import consistencies, photos_of_step, step_view
from persam_dreambooth.sam.adaptation.weak_labels import Labelled
from persam_dreambooth.settings.adaptation import AdaptConfig, AdaptPlan, plan_of, rate_factor
from persam_dreambooth.signals import held_back

WEIGHT_DECAY = 1e-4

REVERT_MARGIN = 0.01
"""The source model is taken back where it keeps to the weak labels better than the adapted by more."""

DRIFT = 0.05
"""A run stops where the anchor's loss has risen by more than this over its start."""

PATIENCE = 50
"""A run stops where this many steps, and two looks, have brought nothing better."""

# A mean over a few looks' worth of photos says as much as one over a thousand.
_LOOKED_AT = 64


@dataclass(frozen=True, eq=False)
class Adapted:
    """What came of a run."""

    weights: dict[str, torch.Tensor]
    """Of the adapter; B is 0 where the run has gone back to the source model."""
    source: list[float]
    """Consistency of each photo's masks with its weak labels, by the source model."""
    adapted: list[float]
    """The same by the adapted model, as it would be without going back."""
    reverted: bool
    progress: Progress


@dataclass(frozen=True, eq=False)
class Adaptation:
    """A run that stays loaded: the model with its adapters, and everything that its steps read."""

    accelerator: Accelerator
    branches: Branches
    photos: Sequence[Labelled]
    config: AdaptConfig
    plan: AdaptPlan
    terms: Terms
    optimizer: torch.optim.Optimizer
    inputs: str
    """Digest of everything that the result depends on."""
    source_digest: str
    """Of the base."""

    @property
    def adapters(self) -> dict[str, LoraLinear]:
        """The adapters by their layers' names."""
        return self.branches.adapters


def begin(
    model: PreTrainedModel, photos: Sequence[Labelled], config: AdaptConfig, accelerator: Accelerator
) -> Adaptation:
    """Return a run before its first step.

    Args:
        model: the source; it gets adapters.
        photos: with their prompts.
        config: of the run.
        accelerator: of this process.

    Raises:
        UserError: there are too few photos, or the model can have no adapters.
    """
    plan = plan_of(config, len(photos))
    source_digest, inputs = base_digest(model), inputs_digest(model, photos, config)
    model.eval().requires_grad_(False).to(device=accelerator.device, dtype=torch.float32)
    adapters = add_lora(model, config.rank, config.seed)
    if config.teacher == "ema":
        start_teacher(adapters)
    if config.gradient_checkpointing:
        checkpoint_blocks(model)
    optimizer = torch.optim.Adam(
        trained_parameters(adapters), lr=plan.learning_rate, weight_decay=WEIGHT_DECAY
    )
    weights = LossWeights(*config.loss_weights) if config.loss_weights else LossWeights()
    learns = config.teacher == "shared" and config.teacher_grad
    branches = Branches(model, adapters, accelerator.backward, accelerator.autocast)
    terms = Terms(weights, background=plan.background, teacher_learns=learns)
    return Adaptation(accelerator, branches, photos, config, plan, terms, optimizer, inputs, source_digest)


def inputs_digest(model: PreTrainedModel, photos: Sequence[Labelled], config: AdaptConfig) -> str:
    """Return a digest of the base, the photos with their prompts, and every setting."""
    prompts = [
        [
            (one.box, *(_digest(array) for array in (one.points, one.labels, one.mask)))
            for one in photo.read_prompts()
        ]
        for photo in photos
    ]
    # How often a checkpoint is written changes nothing.
    settings = asdict(config) | {"checkpointing_steps": None}
    return digest_of(base_digest(model), [photo.digest for photo in photos], prompts, settings)


def checkpoint_blocks(model: PreTrainedModel) -> None:
    """Let every block of the image encoder be computed again in the backward pass, not kept."""
    for module in model.vision_encoder.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = _checkpointed
            # The block alone: its parts stay as they are for use, without dropout.
            module.training = True


def steps(run: Adaptation, progress: Progress) -> Iterator[dict[str, float]]:
    """Do one step after the other from where the run is; yield the losses of each.

    Raises:
        UserError: losses or gradients are no numbers any more.
    """
    config, plan, accelerator = run.config, run.plan, run.accelerator
    parameters = trained_parameters(run.adapters)
    while progress.step < plan.iterations:
        step = progress.step
        for group in run.optimizer.param_groups:
            group["lr"] = plan.learning_rate * rate_factor(plan, step)
        chosen = photos_of_step(config.seed, step, config.batch_size, len(run.photos))
        losses: list[dict[str, float]] = []
        for place, index in enumerate(chosen):
            if place % accelerator.num_processes == accelerator.process_index:
                view = step_view(run.branches, run.photos, index, step, config, plan)
                losses.append(step_on(run.branches, view, run.terms))
        add_gradients(accelerator, parameters)
        told = mean_losses(accelerator, losses)
        _check_numbers(run, step, told, parameters)
        run.optimizer.step()
        run.optimizer.zero_grad()
        if config.teacher == "ema":
            follow(run.adapters, config.ema_momentum)
        progress.step += 1
        progress.anchor_losses.append(told["anchor"])
        yield told


def adapt(run: Adaptation, folder: RunFolder, on_step: Callable[[int], object]) -> Adapted:
    """Do what is left of a run, and return what came of it.

    Args:
        run: from `begin`.
        folder: of checkpoints and log.
        on_step: told how many steps are done.

    Raises:
        Interrupted: a signal asked the run to stop; a checkpoint was written.
        UserError: a checkpoint is damaged, or the losses are no numbers any more.
    """
    looked_at = run.photos[:: -(-len(run.photos) // _LOOKED_AT)]
    progress = checkpoint.resume(folder.path, run.adapters, run.optimizer, run.inputs) or Progress()
    folder.forget_log_after(progress.step)
    on_step(progress.step)
    main = run.accelerator.is_main_process
    with held_back() as request:
        for told in steps(run, progress) if progress.stopped is None else ():
            done, last = progress.step, progress.step == run.plan.iterations
            if run.plan.selects and (last or done % run.config.evaluation_steps == 0):
                _look(run, progress, looked_at)
                progress.stopped = None if last else why_stop(progress, run.config.evaluation_steps)
            if main:
                folder.log({"step": done, **told})
            stops = asked_to_stop(run.accelerator, request)
            if main and (stops or progress.stopped or done % run.config.checkpointing_steps == 0 or last):
                _save(run, progress, folder.path)
            if stops:
                raise request.interrupt(f"step {done} is saved. Run the same command again to go on.")
            on_step(done)
            if progress.stopped:
                break
    return _result(run, progress)


def why_stop(progress: Progress, evaluation_steps: int) -> str | None:
    """Return why a run should stop here, or None: masks drift from the source's, or nothing gets better."""
    losses = progress.anchor_losses
    if len(losses) >= 2 * evaluation_steps:
        start, now = losses[:evaluation_steps], losses[-evaluation_steps:]
        risen = sum(now) / len(now) - sum(start) / len(start)
        if risen > DRIFT:
            return f"the anchor's loss has risen by {risen:.2f}"
    waited = progress.step - progress.best_step
    if waited >= max(PATIENCE, 2 * evaluation_steps):
        return f"the last {waited} steps brought nothing better"
    return None


def _look(run: Adaptation, progress: Progress, photos: Sequence[Labelled]) -> None:
    """Measure how well the masks keep to the weak labels, and remember the adapters if they are the best."""
    values = consistencies(run.branches, photos, run.plan)
    mean = of_main(run.accelerator, sum(values) / len(values))
    progress.looks.append([progress.step, mean])
    if mean > progress.best:
        progress.best, progress.best_step = mean, progress.step
        progress.best_weights = lora_weights(run.adapters)


def _result(run: Adaptation, progress: Progress) -> Adapted:
    """Return the best weights and both models' consistency; B is 0 where the source's is better."""
    if run.plan.selects:
        set_lora_weights(run.adapters, progress.best_weights)
    with lora_mode(run.adapters, "off"):
        source = consistencies(run.branches, run.photos, run.plan)
    adapted = consistencies(run.branches, run.photos, run.plan)
    reverted = run.plan.selects and should_revert(source, adapted)
    weights = lora_weights(run.adapters)
    if reverted:
        weights = {
            name: torch.zeros_like(value) if name.endswith(".b") else value for name, value in weights.items()
        }
        set_lora_weights(run.adapters, weights)
    return Adapted(weights, source, adapted, reverted, progress)


def should_revert(source: Sequence[float], adapted: Sequence[float]) -> bool:
    """Return whether the source model keeps to the weak labels better, by more than chance would have it."""
    return sum(adapted) / len(adapted) < sum(source) / len(source) - REVERT_MARGIN


def _save(run: Adaptation, progress: Progress, folder: Path) -> None:
    """Write a checkpoint of the run."""
    teacher = run.config.teacher == "ema"
    checkpoint.save(folder, progress, run.adapters, run.optimizer, run.inputs, teacher=teacher)


def _checkpointed(function: Callable, *args: object, **kwargs: object) -> object:
    """Call a block so that it is computed again in the backward pass."""
    return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False, **kwargs)


def _check_numbers(
    run: Adaptation, step: int, told: dict[str, float], parameters: Sequence[torch.nn.Parameter]
) -> None:
    """Raise UserError where a step's losses or gradients are no numbers; the adapters are not touched yet."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if all(map(math.isfinite, told.values())) and all(bool(one.isfinite().all()) for one in gradients):
        return
    raise UserError(
        f"--learning_rate {run.plan.learning_rate:g}: losses or gradients of step {step + 1} are no numbers "
        "any more; finite ones are needed. Use a lower rate, or --mixed_precision no."
    )


def _digest(array: np.ndarray | None) -> str | None:
    """Return the digest of an array, or None where there is none."""
    return None if array is None else array_digest(array)
