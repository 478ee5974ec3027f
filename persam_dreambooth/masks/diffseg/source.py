"""What segments an album: a diffusion model, loaded when it is asked, and what the subject is called."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property

from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.weights_digest import weights_digest
from persam_dreambooth.masks.diffseg.attention import check_attention
from persam_dreambooth.masks.diffseg.nouns import columns_of, prompt_for
from persam_dreambooth.masks.diffseg.segmentation import DiffSeg
from persam_dreambooth.masks.diffseg.things import DiffSegThings
from persam_dreambooth.settings import DiffSegConfig

# Raise it when the same photos, settings and model give other segments than before.
_ALGORITHM = 1


@dataclass(frozen=True, eq=False)
class Source:
    """The model that segments, and what the subject is called."""

    load: Callable[[], Models]
    """Called at most once."""
    noun: str | None
    """Without one, the middle and the border decide."""
    settings: DiffSegConfig

    @cached_property
    def models(self) -> Models:
        """The model; on the CPU while no `DiffSeg` uses it."""
        return self.load()

    @cached_property
    def inputs(self) -> str:
        """Everything that segments depend on beside the photo, as text."""
        parts = (self.models.unet, self.models.vae, *self.models.text_encoders)
        weights = " ".join(weights_digest(part) for part in parts)
        return f"diffseg {_ALGORITHM} {asdict(self.settings)} {self.noun} {weights}"

    def segmenter(self, device: str) -> DiffSeg:
        """Return the model ready to segment.

        Raises:
            UserError: it cannot be loaded or used, or its tokenizer has nothing for the noun.
        """
        check_attention(self.models, at_tokens=self.noun is not None)
        if self.noun is not None:
            columns_of(self.models, prompt_for(self.noun), self.noun)
        return DiffSeg(self.models, self.settings, device)

    def things(self, device: str) -> DiffSegThings:
        """Return what the model sees in photos as candidates for the subject; raises as `segmenter`."""
        return DiffSegThings(self.segmenter(device), self.noun, with_sam=self.settings.proposals == "both")
