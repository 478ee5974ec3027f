"""DiffSeg: the subject from the diffusion model's own attention."""

from dataclasses import dataclass
from typing import Literal

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import above_zero, at_least


@dataclass(frozen=True, kw_only=True)
class DiffSegConfig:
    """DiffSeg: the subject from the diffusion model's own attention."""

    proposals: Literal["sam", "diffseg", "both"] = "sam"
    """Where nothing marks the subject: what sees the things of which one is it, SAM, DiffSeg, or both."""
    diffseg_noun: str | None = None
    """What the subject is called, for DiffSeg; in a run, without it, the words of the prompt that say so."""
    diffseg_tau: tuple[float, ...] | None = None
    """Places and segments nearer than this are merged (nats), a number a round; without it, 0.9 0.9 0.9."""
    diffseg_auto_tau: bool = False
    """Choose a threshold for each photo that leaves 4 to 8 segments; done anyway where 0.9 leaves one."""
    diffseg_anchors: int = 16
    """Anchors along each side; at most as many as the finest attention has places."""
    diffseg_timestep: int = 300
    """Timestep at which the UNet looks at the photo, of usually 1000."""
    diffseg_noise: bool = False
    """Add the noise of that timestep; without it the UNet sees the clean photo."""
    diffseg_size: int | None = None
    """Side in pixels at which the UNet sees photos; without it, the model's own."""
    diffseg_fit: Literal["pad", "crop", "stretch"] = "pad"
    """How a photo becomes a square: by repeating its edges, by cutting off its longer sides, or squeezed."""
    diffseg_weights: tuple[float, ...] | None = None
    """Weight of each resolution of attention, the finest first; without it, by their sides."""
    diffseg_nms: Literal["argmax", "peak"] = "argmax"
    """Which segment takes a pixel: the likeliest, or (peak) so after bringing each to the same peak."""
    diffseg_exclusive: bool = False
    """Merge each proposal once a round; the paper's program merges some several times."""
    diffseg_refine: Literal["none", "kmeans"] = "none"
    """Refine the segments with k-means."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for tau in self.diffseg_tau or ():
            above_zero("diffseg_tau", tau)
        if self.diffseg_tau is not None and self.diffseg_auto_tau:
            raise UserError("--diffseg_tau and --diffseg_auto_tau: both given; one is needed. Drop one.")
        at_least("diffseg_anchors", self.diffseg_anchors, 1)
        at_least("diffseg_timestep", self.diffseg_timestep, 0)
        if self.diffseg_size is not None:
            at_least("diffseg_size", self.diffseg_size, 8)
        if self.diffseg_noun is not None and not self.diffseg_noun.strip():
            raise UserError(
                f"--diffseg_noun {self.diffseg_noun!r}: no word; what the subject is called is needed. "
                "For example --diffseg_noun cat, or leave the flag out."
            )
        for weight in self.diffseg_weights or ():
            at_least("diffseg_weights", weight, 0)
        if self.diffseg_weights is not None and not sum(self.diffseg_weights):
            raise UserError("--diffseg_weights: all are 0; at least one above 0 is needed. Drop the flag.")
