"""The subject: how it is marked and found, and what its masks do in the loss."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import at_least, between


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How the subject is marked, and how it is found in the other photos."""

    reference_photo: str | None = None
    """The photo that the hint is about; without it, the one that a mask is named after, or the first."""
    reference_mask: tuple[Path, ...] | None = None
    """Masks of the subject, each in one photo; without any, files like 00.mask.png beside 00.jpg."""
    reference_box: tuple[float, float, float, float] | None = None
    """Box around the subject in the reference photo: left, top, right, bottom in pixels."""
    reference_points: tuple[float, ...] | None = None
    """Points in the reference photo: x y of the first, x y of the second, ... in pixels."""
    reference_labels: tuple[int, ...] | None = None
    """For each point: 1 on the subject, 0 beside it; without it, all are on the subject."""
    reference_scribble: Path | None = None
    """Picture of the reference photo's size on which strokes mark the subject."""
    reference_choice: int | None = None
    """Where nothing marks the subject: which proposal it is, 1 is the best; without it, the best if clear."""
    fit_solver: Literal["adamw", "lbfgs"] = "adamw"
    """persam_f's weights: where the authors' 1000 steps of AdamW end, or the minimum of their loss."""
    persam_compat: bool = False
    """Repeat the authors' programs to the letter, also where they are plainly wrong."""
    min_confidence: float = 0.2
    """Leave out photos whose mask is less sure than this, 0 to 1; 0 keeps every mask that is found."""
    save_intermediates: bool = False
    """Write what the method computed for each photo beside its mask, as .npz."""

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        if self.reference_choice is not None:
            at_least("reference_choice", self.reference_choice, 1)
        between("min_confidence", self.min_confidence, 0, 1)
        points, labels = self.reference_points, self.reference_labels
        if points is not None and (not points or len(points) % 2):
            raise UserError(
                f"--reference_points: {len(points)} numbers; an even number is needed, x and y of each point."
            )
        if labels is not None and len(labels) != len(points or ()) // 2:
            raise UserError(
                f"--reference_labels: {len(labels)} for {len(points or ()) // 2} of --reference_points; "
                "one for each point is needed."
            )
        wrong = [label for label in labels or () if label not in (0, 1)]
        if wrong:
            raise UserError(f"--reference_labels {wrong[0]}: out of range; 0 or 1 is needed.")
        given = [name for name in _HINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"--{given[0]} and --{given[1]}: both given; one hint is needed. Drop the other.")

    @property
    def has_hint(self) -> bool:
        """Whether a flag says where the subject is."""
        names = (*_HINTS, "reference_photo", "reference_choice")
        return any(getattr(self, name) is not None for name in names)


# Ways to mark the subject; one run takes one of them.
_HINTS = ("reference_mask", "reference_box", "reference_points", "reference_scribble")


@dataclass(frozen=True, kw_only=True)
class MaskConfig(SearchConfig):
    """The subject's masks."""

    use_persam: bool = False
    """Find the subject in every photo and keep the rest out of the loss; a hint implies it, and so does
    --mask_method diffseg."""
    mask_method: Literal["persam_f", "persam", "diffseg"] = "persam_f"
    """persam_f fits how to combine SAM's three masks on the reference; persam takes SAM's best; diffseg asks
    the diffusion model instead, by the subject's word."""
    mask_mode: Literal["area", "strict", "any"] = "area"
    """Weight of a latent cell: the subject's share of it, 1 where all of it is subject, or where any is."""
    mask_dilate: int = 0
    """Grow the mask by so many latent cells, after --mask_mode."""
    mask_erode: int = 0
    """Shrink the mask by so many latent cells, after --mask_dilate."""
    outside_weight: float = 0.0
    """Weight of the photo's own background in the loss, 0 to 1; 0 keeps it out."""
    mask_normalization: Literal["area", "none"] = "area"
    """Divide each photo's loss by its mask's area, or by the whole picture's."""
    outside_prior_weight: float | None = None
    """Weight of the base model's own prediction as target outside the mask; 0 lets the outside drift. By
    default 1 where there are masks, and 0 where class pictures hold the model."""
    background: Literal["keep", "fill", "noise", "blur", "random", "class"] = "keep"
    """What the pixels outside the mask become before the VAE sees them; random is a new one each step."""
    background_fill: tuple[int, int, int] = (128, 128, 128)
    """Colour of --background fill: red, green, blue, 0 to 255."""
    attention_mask_weight: float = 0.0
    """Weight of the loss that keeps the cross-attention of --identifier on the mask (Break-A-Scene)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        for name in ("mask_dilate", "mask_erode", "outside_prior_weight", "attention_mask_weight"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 0)
        between("outside_weight", self.outside_weight, 0, 1)
        for value in self.background_fill:
            between("background_fill", value, 0, 255)
        if self.outside_weight == 1 and self.outside_prior_weight:
            raise UserError(
                "--outside_weight 1.0: leaves nothing to --outside_prior_weight, whose weight is the rest of "
                "it; a value below 1 is needed. Drop one of them."
            )
        for name in _MASK_ONLY:
            value = getattr(self, name)
            if value not in (0, "keep") and not self.wanted:
                raise UserError(
                    f"--{name} {value}: there are no masks; it needs them. Add --use_persam, or drop it."
                )

    @property
    def wanted(self) -> bool:
        """Whether the run uses masks: a hint that changed nothing would be a trap."""
        return self.use_persam or self.has_hint or self.mask_method == "diffseg"


# Settings that would change nothing without masks. (--outside_prior_weight is none of them: the settings of
# a run serve its comparison without masks as well.)
_MASK_ONLY = ("mask_dilate", "mask_erode", "outside_weight", "background", "attention_mask_weight")
