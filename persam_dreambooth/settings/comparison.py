"""What `compare` and `score` are told: which models, which photos, how pictures are drawn and measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import at_least

PresetName = Literal["quick", "default", "full"]


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which models, and what they are asked for."""

    base: str
    """The model before training: a folder in diffusers' format, a hub id, or "toy"."""
    model: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """A trained model as name=RUN, once for each; RUN is a run's --output_dir, a diffusers folder, a hub id
    or a LoRA file."""
    class_noun: str
    """What the subject is: cat, backpack, stuffed animal."""
    token: str
    """The rare word that the models were trained with: sks."""
    minus: str | None = None
    """Name of the model that the others are compared with; without it, `plain`, or the first."""

    def __post_init__(self) -> None:
        """Check that there is something to ask for."""
        for flag in ("class_noun", "token"):
            if not getattr(self, flag).strip():
                raise UserError(f"--{flag}: empty; a word is needed.")


@dataclass(frozen=True, kw_only=True)
class Material:
    """The photos, and what they are held against."""

    photos: Path
    """Folder with the training photos."""
    masks: Path
    """Folder with a mask for each, as `segment` and runs write them: <photo>.png."""
    held_out: Path | None = None
    """Folder with photos of the subject that were not trained on, each with its <photo>.mask.png."""
    decoys: Path | None = None
    """Folder with pictures of other places without the subject; without it, the base model draws some."""
    num_banks: int = 19
    """Banks of decoys K; chance is 1 in K + 1."""
    features: str = "auto"
    """What describes a background: auto, ct, efficientnet, dift, sam, dinov2:MODEL or clip:MODEL."""
    sam: str | None = None
    """SAM that finds the subject in the pictures; without it, the one that found the masks, else "toy"."""
    sam_adapter: Path | None = None
    """File that adapt-sam made for --sam; without --sam, the one that the masks were found with."""

    def __post_init__(self) -> None:
        """Check ranges."""
        at_least("num_banks", self.num_banks, 1)


@dataclass(frozen=True, kw_only=True)
class DrawingChoice:
    """How many pictures are drawn, and how."""

    preset: PresetName = "default"
    """Prompts x seeds of the headline: quick 4 x 2, default 10 x 4, full 20 x 4."""
    prompts: str | None = None
    """File with a prompt a line, each with the token or {subject}, or "dreambooth" for the published ones."""
    num_inference_steps: int = 25
    """Denoising steps of a picture."""
    guidance_scale: float = 7.5
    """Classifier-free guidance; 1 switches it off."""
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    """Of the drawing; without it, fp16 on an accelerator and fp32 on a CPU."""
    batch_size: int = 4
    """Pictures at a time."""
    checkpoints: bool = False
    """Draw and measure every checkpoint of the runs as well: the path of leakage against likeness."""
    scene_judge: str = "classifier"
    """Who recognises the prompted scenes: classifier (the base model), clip:MODEL or none."""
    vae_round_trip: bool = True
    """Send the photos once through the base's VAE, whose signature all drawn pictures carry."""
    drop_conflicting: bool = False
    """Leave prompts that ask for a scene like the photos' own out of the headline."""
    validate: bool = True
    """Plant leaks of known size in the base's pictures, and report how well they are seen."""
    base_pictures: Path | None = None
    """Folder for the base model's pictures and decoys, to share them between comparisons."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for flag in ("num_inference_steps", "guidance_scale", "batch_size"):
            at_least(flag, getattr(self, flag), 1)
        if (
            self.scene_judge not in ("classifier", "none")
            and not self.scene_judge.removeprefix("clip:").strip()
        ):
            raise UserError(
                "--scene_judge clip: no model is named; a folder or a hub id is needed behind it."
            )
        kind, _, model = self.scene_judge.partition(":")
        if self.scene_judge not in ("classifier", "none") and not (kind == "clip" and model.strip()):
            raise UserError(
                f"--scene_judge {self.scene_judge}: out of range; classifier, none or clip:MODEL is needed, "
                "where MODEL is a folder or a hub id."
            )
