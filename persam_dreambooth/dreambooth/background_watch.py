"""What is measured of the background beside the steps of a training, without drawing a picture.

    log.jsonl          background_advantage and what it is held against, every so many steps
    background.json    the influence on the update before the first step, and what both were measured on

The training is the same, to the bit, with it and without.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, UInt8

from persam_dreambooth.diffusion import background_advantage
from persam_dreambooth.diffusion.background_advantage import Advantage, Probe
from persam_dreambooth.diffusion.background_influence import Influence, background_influence
from persam_dreambooth.diffusion.background_probes import build_probe
from persam_dreambooth.diffusion.background_swaps import elsewhere
from persam_dreambooth.diffusion.captions import Album
from persam_dreambooth.diffusion.encode import Encoded
from persam_dreambooth.diffusion.geometry import Geometry
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.pictures import prepare
from persam_dreambooth.diffusion.training import TrainingState, drawing
from persam_dreambooth.dreambooth.measuring import Masks, given_masks
from persam_dreambooth.dreambooth.stages import encode_photos, preparation_of
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.stage import SubjectMask
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.run import RunFolder
from persam_dreambooth.settings import Config

RECORD_FILE = "background.json"

Errors = tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]
"""On the backgrounds of each photo, the true one first, and on its subject."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What the background of a training is measured on."""

    models: Models
    """In training."""
    album: Album
    """Photos that are trained on."""
    trained_on: Masks | None
    """With these masks; None without."""
    known: Masks
    """Masks that say what is background; of some photos at least."""
    class_images: Sequence[Photo] | None
    """That backgrounds are cut from, if any."""
    places: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    """Decoys."""
    geometry: Geometry
    config: Config

    def probes(self, state: TrainingState) -> list[Probe]:
        """Return what is asked of every photo whose mask is known.

        Raises:
            UserError: none of their crops shows any background.
        """
        preparation = preparation_of(self.config, self.geometry)
        vae = self.models.vae.to(state.accelerator.device)
        found = []
        for photo in self.album.photos:
            if photo.stem not in self.known:
                continue
            picture = prepare(photo, self.trained_on, preparation, self.models.vae_scale_factor)
            probe = build_probe(
                vae,
                photo,
                self.known[photo.stem],
                self.places,
                placement=picture.placement,
                geometry=self.geometry,
                instance=state.examples.instance,
                num_train_timesteps=state.noise_scheduler.config.num_train_timesteps,
            )
            found += [probe] if probe is not None else []
        if not found:
            raise UserError(
                "--background_advantage_steps: the masks leave no background in any photo's crop; some "
                "latent cells without subject are needed. Look at the masks, or drop it."
            )
        return found

    def influence(self, state: TrainingState) -> Influence:
        """Return how much the update changes where every photo has another background, each a decoy."""
        instance = self.instance(album_elsewhere(self.album, self.known, self.places), state)
        return background_influence(state, dataclasses.replace(state.examples, instance=instance))

    def instance(self, album: Album, state: TrainingState) -> Encoded:
        """Return photos, prepared as the training's own; never cached."""
        return encode_photos(
            self.models,
            album,
            self.trained_on,
            self.class_images,
            geometry=self.geometry,
            config=self.config,
            device=str(state.accelerator.device),
        )

    @property
    def facts(self) -> dict[str, object]:
        """What is measured on, as values that JSON holds."""
        return {
            "photos": [photo.path.name for photo in self.album.photos if photo.stem in self.known],
            "masks": "of the training" if self.config.measures.measure_masks is None else "measure_masks",
            "decoys": [array_digest(place) for place in self.places],
            "levels": list(background_advantage.LEVELS),
            "draws": background_advantage.DRAWS,
        }


@dataclass(eq=False)
class BackgroundWatch:
    """Measures between the steps of one training; begun before it, with the untrained model."""

    scene: Scene
    every: int
    """Steps between two measures."""
    last: Advantage | None = None
    """The newest measure of this run."""
    _probes: list[Probe] = field(default_factory=list)
    _before: Errors | None = None

    def begin(self, state: TrainingState, run: RunFolder) -> str:
        """Measure before the first step; return in words what was found, and what will be logged.

        Every process calls this; the main one measures.
        """
        text = ""
        if state.accelerator.is_main_process:
            self.ask(state)
            found = self.scene.influence(state)
            told = {"background_influence": found.mean, "by_timestep": found.by_timestep}
            run.write_json(RECORD_FILE, {**told, **self.scene.facts})
            num_photos, num_pictures = self._before[0].shape
            text = (
                f"{influence_text(found)} Every {self.every} steps the background learning advantage of "
                f"{num_photos} photos over {num_pictures - 1} other places goes into the log."
            )
        state.accelerator.wait_for_everyone()
        return text

    def ask(self, state: TrainingState) -> None:
        """Measure the untrained model: what is measured later is held against that."""
        self._probes = self.scene.probes(state)
        self._before = self._errors(state)

    def is_due(self, step: int, max_train_steps: int) -> bool:
        """Return whether something is measured after a step: every so many, and after the last."""
        return step % self.every == 0 or step == max_train_steps

    def measure(self, state: TrainingState) -> dict[str, float]:
        """Return what is logged of the background after a step; training goes on as if it had not been.

        Every process calls this; the main one measures, the others get nothing.
        """
        values: dict[str, float] = {}
        if state.accelerator.is_main_process:
            on_background, on_subject = self._errors(state)
            self.last = background_advantage.advantage(
                self._before[0], on_background, self._before[1], on_subject
            )
            values = logged(self.last)
        state.accelerator.wait_for_everyone()
        return values

    def _errors(self, state: TrainingState) -> Errors:
        """Return the errors of the model as it is now."""
        with drawing(state):
            return background_advantage.all_errors(
                state.trained, state.noise_scheduler, self._probes, state.accelerator.device
            )


def watch_background(
    models: Models,
    album: Album,
    masks: Mapping[str, SubjectMask] | None,
    class_images: Sequence[Photo] | None,
    places: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    *,
    geometry: Geometry,
    config: Config,
) -> BackgroundWatch | None:
    """Return what measures the background between the steps, or None where nothing is to be measured.

    Args:
        models: in training.
        album: the photos that are trained on.
        masks: with which they are; None without.
        class_images: that backgrounds are cut from, if any.
        places: decoys.
        geometry: of the training.
        config: of the run, resolved.

    Raises:
        UserError: the masks for measuring cannot be used.
    """
    if not config.measures.wanted:
        return None
    trained_on = None if masks is None else {stem: subject.mask for stem, subject in masks.items()}
    known = given_masks(album.photos, config.measures) or trained_on
    scene = Scene(models, album, trained_on, known, class_images, places, geometry, config)
    return BackgroundWatch(scene, config.measures.background_advantage_steps)


def album_elsewhere(album: Album, masks: Masks, places: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Album:
    """Return an album with every photo whose mask is known in front of another place, each in its turn."""
    moved = [
        elsewhere(photo, masks[photo.stem], places[number % len(places)]) if photo.stem in masks else photo
        for number, photo in enumerate(album.photos)
    ]
    return dataclasses.replace(album, photos=tuple(moved))


def logged(found: Advantage) -> dict[str, float]:
    """Return a measure as it stands in the log."""
    return {
        "background_advantage": found.value,
        "background_advantage_low": found.low,
        "background_advantage_high": found.high,
        "background_advantage_rank": found.rank,
        "background_gain": found.background_gain,
        "subject_gain": found.subject_gain,
    }


def advantage_text(found: Advantage) -> str:
    """Return a measure in words."""
    return (
        f"background learning advantage {found.value:+.3f} (other places {found.low:+.3f} to "
        f"{found.high:+.3f}; rank {found.rank} of {found.count}): the error changed by "
        f"{-found.background_gain:+.1%} on the photos' backgrounds, by {-found.subject_gain:+.1%} on the "
        "subject"
    )


def influence_text(found: Influence) -> str:
    """Return in words how much of the update comes from the background."""
    values = found.by_timestep.values()
    if not any(values):
        return "Background influence on the update: 0, to the bit."
    return (
        "Background influence on the update: with other backgrounds the gradient changes by "
        f"{found.mean:.0%} ({min(values):.0%} to {max(values):.0%} over the noise levels)."
    )
