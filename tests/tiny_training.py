"""Trainings of a tiny pipeline on a few discs, ready to take steps."""

import torch
from tiny_pipelines import encode_album, tiny_models

from persam_dreambooth.diffusion import training
from persam_dreambooth.diffusion.dataset import Examples, batch_at
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.settings import TrainConfig

SETTINGS = TrainConfig(learning_rate=1e-3, train_batch_size=2, lr_warmup_steps=0)


def begin(settings=SETTINGS, objective=None, *, steps=3, with_masks=True, with_class=False, seed=0, count=3):
    models = tiny_models()
    examples = Examples(
        encode_album(models, count, with_masks=with_masks),
        encode_album(models, 4, with_masks=False) if with_class else None,
        seed,
    )
    accelerator = training.build_accelerator("no")
    return training.start(
        models, examples, settings, objective or Objective(), accelerator=accelerator, max_train_steps=steps
    )


def weights(state):
    return {name: value.clone() for name, value in state.unet.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def first_batch(state):
    return batch_at(state.examples, 0, range(2), examples_per_step=2, num_train_timesteps=1000)
