"""What is measured of the background while a model is trained."""

from dataclasses import dataclass
from pathlib import Path

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import at_least


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What is measured of the background during the training."""

    background_advantage_steps: int = 0
    """Measure every so many steps, without drawing, how much of the background is learnt; 0 never does."""
    background_decoys: Path | None = None
    """Folder of pictures of other places to measure it against; without it, the base model draws some."""
    measure_masks: Path | None = None
    """Masks for this measure alone, as `segment` writes them: for a run that trains without any."""

    def __post_init__(self) -> None:
        """Check ranges and pairs."""
        at_least("background_advantage_steps", self.background_advantage_steps, 0)
        if self.measure_masks is not None and not self.wanted:
            raise UserError(
                f"--measure_masks {self.measure_masks}: given without --background_advantage_steps, which it "
                "needs. Add that, or drop it."
            )

    @property
    def wanted(self) -> bool:
        """Whether anything is measured during the training."""
        return self.background_advantage_steps > 0
