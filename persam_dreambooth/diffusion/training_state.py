"""What a training is between two steps, and what is told of each step."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.networks import Networks
from persam_dreambooth.diffusion.schedules import FALLING
from persam_dreambooth.diffusion.targets import NoiseScheduler
from persam_dreambooth.settings import TrainConfig
from persam_dreambooth.settings.speed import SpeedConfig

_HOW = (
    "max_train_steps",
    "num_train_epochs",
    "train_batch_size",
    "gradient_accumulation_steps",
    *(item.name for item in dataclasses.fields(SpeedConfig)),
)
"""Settings that say how a step is computed or how many there are, not what it computes."""


@dataclass(frozen=True)
class Progress:
    """One step, as it is logged."""

    step: int
    """Steps done, this one included."""
    loss: float
    """What was minimised."""
    instance_loss: float
    """Error on the subject."""
    prior_loss: float
    """Error on class pictures; 0 without."""
    outside_loss: float
    """Distance to the base model outside the masks; 0 where it is not held."""
    attention_loss: float
    """How far the attention of the subject's words is from its masks; 0 where it is not asked for."""
    lr: float
    """Learning rate of the UNet in this step."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    seconds: float
    """Wall time of this step."""


@dataclass(eq=False)
class TrainingState:
    """A training between two steps. Only `step` and what the networks hold inside change."""

    accelerator: Accelerator
    networks: Networks
    """In training, wrapped for several processes and mixed precision."""
    base: Networks | None
    """Predicts as before training, for the prior outside the mask; None where that is not used."""
    resting: tuple[nn.Module, ...]
    """Parts of the model that no step needs; they are off the device."""
    optimizer: AcceleratedOptimizer
    learning_rates: tuple[float, ...]
    """Of each of the optimizer's groups, before the schedule."""
    schedule: Callable[[int], float]
    """What the rates are multiplied with, by steps done."""
    noise_scheduler: NoiseScheduler
    examples: Examples
    objective: Objective
    settings: TrainConfig
    max_train_steps: int
    caption_dropout: float = 0.0
    """Share of the subject's examples whose prompt is dropped."""
    step: int = 0
    """Optimizer steps done."""

    @property
    def trained(self) -> Networks:
        """The networks in training themselves, out of their wrapping."""
        unet, *text_encoders = map(self.accelerator.unwrap_model, self.networks.modules)
        return dataclasses.replace(self.networks, unet=unet, text_encoders=tuple(text_encoders))

    @property
    def examples_per_step(self) -> int:
        """Examples of the subject in an optimizer step, over all processes."""
        return examples_per_step(self.settings, self.accelerator)

    @property
    def what_matters(self) -> dict[str, object]:
        """Everything that the weights after a given step follow from, as values that JSON holds."""
        values = dataclasses.asdict(self.settings)
        values = {name: value for name, value in values.items() if name not in _HOW}
        if self.settings.lr_scheduler in FALLING:
            values["max_train_steps"] = self.max_train_steps
        class_images = self.examples.class_images
        return {
            **values,
            **dataclasses.asdict(self.objective),
            "seed": self.examples.seed,
            "caption_dropout": self.caption_dropout,
            "mixed_precision": self.accelerator.mixed_precision,
            "examples_per_step": self.examples_per_step,
            "instance_data": self.examples.instance.digest,
            "class_data": class_images.digest if class_images is not None else None,
        }


def examples_per_step(settings: TrainConfig, accelerator: Accelerator) -> int:
    """Return the number of examples of the subject in an optimizer step, over all processes."""
    passes = settings.gradient_accumulation_steps * accelerator.num_processes
    return settings.train_batch_size * passes
