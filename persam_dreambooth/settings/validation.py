"""Pictures drawn during and after the training."""

from dataclasses import dataclass

from persam_dreambooth.settings.checks import at_least, given


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Pictures drawn during and after the training."""

    validation_prompt: str | None = None
    """Prompt of the pictures drawn during and after the training; without it, none are drawn."""
    num_validation_images: int = 4
    """Pictures of the prompt, seeds 0, 1, 2, ..."""
    validation_steps: int | None = None
    """Draw every so many steps; 0 only at the end; without it, 100, with LoRA by --validation_epochs."""
    validation_epochs: int | None = None
    """Draw every so many passes over the photos; 0 only at the end; without it, with LoRA 50."""
    validation_scheduler: str | None = "DPMSolverMultistepScheduler"
    """Sampler of the pictures: the name of a scheduler in diffusers; None is the model's own."""
    num_inference_steps: int = 25
    """Denoising steps of a picture."""
    guidance_scale: float = 7.5
    """Classifier-free guidance; 1 switches it off."""
    final_validation_prompt: str | None = None
    """Prompt of the pictures at the end; without it, --validation_prompt."""
    skip_final_inference: bool = False
    """Draw no pictures at the end."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least("num_validation_images", self.num_validation_images, 1)
        at_least("num_inference_steps", self.num_inference_steps, 1)
        at_least("guidance_scale", self.guidance_scale, 0)
        for name, value in given(self, ("validation_steps", "validation_epochs")):
            at_least(name, value, 0)

    @property
    def final_prompt(self) -> str | None:
        """Prompt of the pictures at the end; None where there are none."""
        return None if self.skip_final_inference else self.final_validation_prompt or self.validation_prompt
