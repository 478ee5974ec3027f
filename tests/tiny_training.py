"""Trainings of tiny pipelines on a few discs, ready to take steps."""

import torch
from tiny_albums import encode_album
from tiny_pipelines import tiny_models

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.dataset import Examples, batch_at
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.settings import TrainConfig, resolve_train

SETTINGS = TrainConfig(learning_rate=1e-3, train_batch_size=2, lr_warmup_steps=0)


def begin(
    settings=SETTINGS,
    objective=None,
    *,
    kind="sd",
    mixed_precision="no",
    steps=3,
    with_masks=True,
    with_class=False,
    seed=0,
    count=3,
):
    models = tiny_models(kind)
    examples = Examples(
        encode_album(models, count, with_masks=with_masks),
        encode_album(models, 4, with_masks=False) if with_class else None,
        seed,
    )
    return training.start(
        models,
        examples,
        resolve_train(settings, models.family.name),
        objective or Objective(),
        accelerator=training.build_accelerator(mixed_precision),
        max_train_steps=steps,
    )


def weights(state):
    """All weights of the networks in training, by name; the UNet's first."""
    modules = enumerate(state.trained.modules)
    return {f"{n}.{name}": v.clone() for n, module in modules for name, v in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def first_batch(state):
    return batch_at(state.examples, 0, range(2), examples_per_step=2, num_train_timesteps=1000)
