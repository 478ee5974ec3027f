"""How much of a background has been learnt, told by the denoising error: no picture is drawn.

    l(x)   = mean of |answer - target|^2 over the background cells of x, the noise levels and the draws
    gain_k = 1 - l_now(x_k) / l_before(x_k)        x_0: the photo, x_k: its subject in front of decoy k
    A      = gain_0 - mean over the decoys of gain_k

asked with the prompt that the photo is trained with. Levels and noise are the same for every picture of a
photo and at every time, so that nothing but the weights differs. What training does to any picture alike
falls out of A: it is above 0 where the weights know these backgrounds, and not backgrounds. A decoy's own
advantage is gain_k - mean over the decoys, too: the true one's is told beside the least and the greatest of
those. The error before training needs no copy of the model: it is computed before the first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persam_dreambooth.diffusion import randomness
from persam_dreambooth.diffusion.conditioning import Conditions
from persam_dreambooth.diffusion.edm import edm_question, is_edm
from persam_dreambooth.diffusion.networks import Networks, current_conditions, predict
from persam_dreambooth.diffusion.targets import NoiseScheduler, question

LEVELS = (0.05, 0.19, 0.33, 0.47, 0.61, 0.75)
"""Noise levels that are asked, as shares of the schedule: 50 to 750 of 1000."""

DRAWS = 2
"""Times that each level is asked, with other noise."""

_BATCH_SIZE = 16
"""Pictures in a forward pass; without gradients each takes a fraction of what it takes in training."""


@dataclass(frozen=True, eq=False)
class Probe:
    """One photo, its subject on decoys, and the noise with which it is asked about."""

    latents: Float[Tensor, "k c h w"]
    """Means of the latents: of the photo itself first, then of its subject in front of each decoy."""
    is_background: Bool[Tensor, "h w"]
    """Cells that hold nothing of the subject; at least one."""
    conditions: Conditions
    """The photo's prompt, as one row."""
    input_ids: tuple[Int[Tensor, "1 t"], ...]
    """The same as token numbers, for text encoders in training."""
    noise: Float[Tensor, "q c h w"]
    """Of each question."""
    timesteps: Int[Tensor, " q"]
    """Of each question, 0 to num_train_timesteps - 1."""


@dataclass(frozen=True)
class Advantage:
    """What was learnt of the true backgrounds, against what was learnt of decoys."""

    value: float
    """A: 0 is nothing, 1 would be an error of 0 on the true backgrounds and none learnt of decoys."""
    low: float
    """The least of the decoys' own advantages."""
    high: float
    """The greatest: where `value` is above it, the true backgrounds are the most learnt of all."""
    rank: int
    """Of the true ones among all, 1 is the most learnt; of equals, and of what is no number, the last."""
    count: int
    """Backgrounds compared, the true ones counted as one."""
    background_gain: float
    """By which share the error fell on the photos' backgrounds."""
    subject_gain: float
    """By which share it fell on their subjects."""


def questions(
    shape: tuple[int, int, int], num_train_timesteps: int, *key: int | str
) -> tuple[Float[Tensor, "q c h w"], Int[Tensor, " q"]]:
    """Return noise and timestep of each question: every level, with as many draws.

    Args:
        shape: channels, height and width of the latents.
        num_train_timesteps: of the noise scheduler.
        key: what the noise follows from.
    """
    timesteps = torch.tensor([round(level * num_train_timesteps) for level in LEVELS for _ in range(DRAWS)])
    noise = torch.randn(len(timesteps), *shape, generator=randomness.generator(*key, "background advantage"))
    return noise, timesteps


@torch.no_grad()
def denoising_errors(
    networks: Networks, noise_scheduler: NoiseScheduler, probe: Probe, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, " k"], Float[Tensor, ""]]:
    """Return the error on the background cells of every picture, and that on the photo's other cells.

    Args:
        networks: in evaluation mode, on the device.
        noise_scheduler: one that trains in EDM style has its own weights of the levels.
        probe: what is asked.
        device: where the networks are.
    """
    conditions = current_conditions(
        networks, probe.conditions.to(device), tuple(ids.to(device) for ids in probe.input_ids)
    )
    count, num_questions = len(probe.latents), len(probe.noise)
    background, subject = probe.is_background.double(), (~probe.is_background).double()
    on_background, on_subject = torch.zeros(count, dtype=torch.double), torch.zeros(1, dtype=torch.double)
    for pairs in torch.arange(count * num_questions).split(_BATCH_SIZE):
        pictures, asked = pairs // num_questions, pairs % num_questions
        errors = _errors(
            networks,
            noise_scheduler,
            (probe.latents[pictures].to(device), probe.noise[asked].to(device)),
            probe.timesteps[asked].to(device),
            conditions.expand(len(pairs)),
        )
        on_background.index_add_(0, pictures, (errors * background).sum(dim=(1, 2)))
        on_subject += (errors * subject)[pictures == 0].sum()
    cells = num_questions * background.sum(), num_questions * subject.sum().clamp(min=1)
    return on_background / cells[0], on_subject[0] / cells[1]


def advantage(
    before: Float[np.ndarray, "n k"],
    now: Float[np.ndarray, "n k"],
    subject_before: Float[np.ndarray, " n"],
    subject_now: Float[np.ndarray, " n"],
) -> Advantage:
    """Return what was learnt of the true backgrounds, each of n photos counting alike.

    Args:
        before: errors of the untrained model on each photo's backgrounds; column 0 is the photo itself.
        now: those of the model in training.
        subject_before: errors of the untrained model on the photos' subjects.
        subject_now: those of the model in training.
    """
    gains = (1 - now / before).mean(axis=0)
    own = gains - gains[1:].mean()
    return Advantage(
        value=float(own[0]),
        low=float(own[1:].min()),
        high=float(own[1:].max()),
        rank=1 + int((~(own[1:] < own[0])).sum()),
        count=len(own),
        background_gain=float(gains[0]),
        subject_gain=float((1 - subject_now / subject_before).mean()),
    )


def all_errors(
    networks: Networks,
    noise_scheduler: NoiseScheduler,
    probes: Sequence[Probe],
    device: torch.device | str = "cpu",
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
    """Return `denoising_errors` of every photo, as arrays."""
    found = [denoising_errors(networks, noise_scheduler, probe, device) for probe in probes]
    return torch.stack([on for on, _ in found]).numpy(), torch.stack([of for _, of in found]).numpy()


def _errors(
    networks: Networks,
    noise_scheduler: NoiseScheduler,
    latents_and_noise: tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]],
    timesteps: Int[Tensor, " b"],
    conditions: Conditions,
) -> Float[Tensor, "b h w"]:
    """Return the squared error of every cell, on the CPU in double precision."""
    ask = edm_question if is_edm(noise_scheduler) else question
    asked = ask(noise_scheduler, *latents_and_noise, timesteps)
    answer = asked.answer(predict(networks, asked.noisy_latents, asked.timesteps, conditions))
    squares = (answer.double() - asked.target.double()).square().mean(dim=1)
    if asked.weights is not None:
        squares = squares * asked.weights.double()[:, None, None]
    return squares.cpu()
