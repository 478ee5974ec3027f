"""What is written, and where it goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from persam_dreambooth.errors import UserError

Tracker = Literal[
    *("tensorboard", "wandb", "comet_ml", "aim", "mlflow", "clearml", "dvclive", "swanlab", "trackio"),
    *("all", "none"),
]
"""What accelerate can report to."""


@dataclass(frozen=True, kw_only=True)
class ResultConfig:
    """What is written, and where it goes."""

    skip_save_text_encoder: bool = False
    """Leave the text encoder out of the saved pipeline: smaller, but it has to be named when loading."""
    report_to: Tracker | None = None
    """Tracker of losses and pictures; without it, tensorboard where it is installed."""
    logging_dir: Path = Path("logs")
    """Folder of the tracker's files, inside --output_dir."""
    push_to_hub: bool = False
    """Upload the results to the hub at the end."""
    hub_token: str | None = None
    """Token for the upload; without it, the one of `hf auth login`. It is written nowhere."""
    hub_model_id: str | None = None
    """Repository to upload to; without it, the name of --output_dir."""

    def __post_init__(self) -> None:
        """Check pairs."""
        if self.hub_token is not None and self.report_to in ("wandb", "all"):
            raise UserError(
                f"--hub_token: not with --report_to {self.report_to}, whose record of the settings would "
                "show it; a login is needed. Run `hf auth login` once and drop --hub_token."
            )
        for name in ("hub_token", "hub_model_id"):
            if getattr(self, name) is not None and not self.push_to_hub:
                raise UserError(
                    f"--{name}: given without --push_to_hub, which it needs. Add that, or drop it."
                )
