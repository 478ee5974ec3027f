"""WeSAM: how a SAM is adapted to photos that are foreign to it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import FlagConversionOff
from tyro.constructors import PrimitiveConstructorSpec

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import above_zero, at_least, between

MIN_PHOTOS = 3
"""Fewer say nothing about a kind of photo."""

# As the training's flags take it: --teacher_grad false.
Switch = Annotated[
    bool,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="{true,false}",
        instance_from_str=lambda words: words[0].lower() == "true",
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
        choices=("true", "false"),
    ),
    FlagConversionOff,
]

_LOSSES = ("focal", "dice", "iou", "anchor", "contrast")
_FEW, _MANY = 200, 2000
"""Iterations, at least and at most, where the number of photos decides."""


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """How a SAM is adapted; what is left open, the preset and the number of photos decide."""

    preset: Literal["few", "paper"] = "few"
    """few suits 3 photos or more of one subject; paper repeats the published settings (docs/wesam.md)."""
    iterations: int | None = None
    """Steps; without it, 10 for each photo, 200 to 2000 (paper: 5 for each photo)."""
    learning_rate: float | None = None
    """Of Adam; without it, 3e-4 below 1000 steps and 1e-4 from there on (paper: 1e-4)."""
    rank: int = 4
    """Of the adapters on queries and values of the image encoder."""
    batch_size: int = 1
    """Photos in a step, over all processes; their losses are added."""
    loss_weights: tuple[float, ...] | None = None
    """Weights of focal, dice, IoU head, anchor and contrast; without it, 20 1 1 1 1."""
    teacher: Literal["shared", "ema"] = "shared"
    """shared: the student's own weights, as published; ema: their running mean."""
    ema_momentum: float = 0.999
    """Share of its old weights that the teacher of --teacher ema keeps in a step."""
    teacher_grad: Switch = True
    """Gradients through the teacher too; false halves the work, and anchor and contrast hold the student."""
    input: Literal["sam", "wesam"] | None = None
    """sam: as the model was trained; wesam: 0 to 1, centred, as the authors' program feeds it; without it, as
    the preset says. Only adapters made with sam can be used elsewhere."""
    coarse: Literal["mask", "box"] | None = None
    """What SAM is told by a coarse mask: the mask and its box, or the box; without it, as the preset says."""
    max_masks: int = 40
    """Masks of a photo in a step, at most; of more, others each time."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """bf16 halves the image encoder's memory on GPUs that have it; adapters and masks stay in float32."""
    gradient_checkpointing: Switch = False
    """Compute each block of the encoder twice, and keep a quarter of the memory."""
    evaluation_steps: int = 25
    """Steps between two looks at how well the masks keep to the weak labels."""
    checkpointing_steps: int = 50
    """Steps between two checkpoints; the same command again goes on from the last, to the bit."""
    seed: int = 0
    """Of views, order of photos and adapters."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("rank", "batch_size", "max_masks", "evaluation_steps", "checkpointing_steps"):
            at_least(name, getattr(self, name), 1)
        if self.iterations is not None:
            at_least("iterations", self.iterations, 1)
        if self.learning_rate is not None:
            above_zero("learning_rate", self.learning_rate)
        at_least("seed", self.seed, 0)
        between("ema_momentum", self.ema_momentum, 0, 1)
        for weight in self.loss_weights or ():
            at_least("loss_weights", weight, 0)
        if self.loss_weights is not None and len(self.loss_weights) != len(_LOSSES):
            raise UserError(
                f"--loss_weights: {len(self.loss_weights)} numbers; one each for {', '.join(_LOSSES)} is "
                "needed."
            )
        if self.loss_weights is not None and not any(self.loss_weights):
            raise UserError("--loss_weights: all are 0; at least one above 0 is needed. Drop the flag.")


@dataclass(frozen=True, kw_only=True)
class AdaptPlan:
    """What a preset comes to for a number of photos."""

    iterations: int
    learning_rate: float
    warmup: int
    """Steps until the learning rate is whole."""
    starts_at_zero: bool
    """The first step's learning rate is 0, and it falls at steps 60000 and 86666: the published schedule."""
    background: bool
    """What no mask covers is one more row of the contrast loss."""
    input: Literal["sam", "wesam"]
    coarse: Literal["mask", "box"]
    flips: str
    """How weak views may be mirrored: "h", "v", "hv" or ""."""
    point_jitter: float
    """How far points move in a step, at most, as a share of the photo's longer side."""
    automatic: Literal["box", "point"]
    """What an automatic mask becomes as a prompt."""
    selects: bool
    """Keep the best weights by the weak labels, stop early, and go back to the source where it is better."""


def plan_of(config: AdaptConfig, num_photos: int) -> AdaptPlan:
    """Return what is done for this many photos.

    Raises:
        UserError: they are too few.
    """
    if num_photos < MIN_PHOTOS:
        raise UserError(
            f"--photos: {num_photos} to adapt to; at least {MIN_PHOTOS} are needed. Add photos of the same "
            "kind, or segment these without an adapter."
        )
    paper = config.preset == "paper"
    steps = config.iterations or (5 * num_photos if paper else min(_MANY, max(_FEW, 10 * num_photos)))
    return AdaptPlan(
        iterations=steps,
        learning_rate=config.learning_rate or (1e-4 if paper or steps >= 1000 else 3e-4),
        warmup=250 if paper else min(250, max(1, steps // 10)),
        starts_at_zero=paper,
        background=not paper,
        input=config.input or ("wesam" if paper else "sam"),
        coarse=config.coarse or ("box" if paper else "mask"),
        flips="hv" if paper else "h",
        point_jitter=0.0 if paper else 0.02,
        automatic="point" if paper else "box",
        selects=not paper,
    )


def rate_factor(plan: AdaptPlan, step: int) -> float:
    """Return what the learning rate is multiplied with in a step, the first of which is 0."""
    if not plan.starts_at_zero:
        return min(1.0, (step + 1) / plan.warmup)
    if step < plan.warmup:
        return step / plan.warmup
    return 1.0 if step < 60_000 else 0.1 if step < 86_666 else 0.01
