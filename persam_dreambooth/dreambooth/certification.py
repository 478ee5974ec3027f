"""Does the background have any influence on what is trained? Trained twice, compared bit by bit.

    photos, masks ----------------------------------> N steps -> latents, gradients, weights
    the same photos with other backgrounds, masks --> N steps -> latents, gradients, weights

Masks are found once, on the photos as they are: what is shown is that given the masks nothing outside them
counts. Where the two differ, the first is trained again, to tell the background's influence from that of
chance on this machine.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator
from jaxtyping import Bool

from persam_dreambooth import dreambooth
from persam_dreambooth.config import public_settings
from persam_dreambooth.diffusion.backgrounds import INVARIANT_MODES
from persam_dreambooth.diffusion.captions import Album
from persam_dreambooth.diffusion.evidence import (
    Evidence,
    deterministic,
    differences,
    equal_parts,
    train_and_record,
)
from persam_dreambooth.diffusion.geometry import Geometry
from persam_dreambooth.diffusion.randomness import stable_number
from persam_dreambooth.diffusion.training import build_accelerator, start
from persam_dreambooth.dreambooth.environment import environment, inputs
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.stage import SubjectMask
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.run import RunFolder
from persam_dreambooth.settings import Config, resolve_defaults

CERTIFICATE_FILE = "certificate.json"
TEXT_FILE = "certificate.txt"

_GIVEN = "the masks, the captions, the settings and the class pictures, which are the same in both trainings"
_NOT_COVERED = (
    "how the masks were found (by looking at the background too)",
    "the outline of the masks, and where they are in the picture",
    "light, shadow and reflections of the background on the subject, inside the mask",
    "background that a mask covers by mistake",
    "what captions and prompts say",
    "the look of what replaces the background",
    "other numbers of steps, and machines on which arithmetic is not repeatable",
)


@dataclass(frozen=True, eq=False)
class Certificate:
    """The outcome of a comparison."""

    background: str
    """What --background was."""
    is_expected: bool
    """Whether this kind of background should keep all influence out."""
    equal: dict[str, bool]
    """Of each thing compared whether it was the same, bit by bit, in both trainings."""
    difference: dict[str, float | None]
    """How far the two are apart, as shares of the first's norm."""
    is_repeatable: bool
    """Whether training twice on the same photos gave the same bits."""
    has_moved: bool
    """Whether training changed any weight."""
    record: dict[str, object]
    """Everything else that goes into the file."""

    @property
    def holds(self) -> bool:
        """Whether the background had no influence."""
        return all(self.equal.values()) and self.has_moved

    @property
    def is_as_it_should_be(self) -> bool:
        """Whether nothing contradicts what the documentation promises."""
        return self.holds if self.is_expected else self.is_repeatable

    def as_json(self) -> dict[str, object]:
        """Return the certificate as values that JSON holds."""
        return {
            "background_has_no_influence": self.holds,
            "promised": self.is_expected,
            "as_it_should_be": self.is_as_it_should_be,
            "text": self.text(),
            "equal": self.equal,
            "difference": self.difference,
            "repeatable": self.is_repeatable,
            "weights_moved": self.has_moved,
            "given": _GIVEN,
            "not_covered": list(_NOT_COVERED),
            **self.record,
        }

    def text(self) -> str:
        """Return the outcome in words, one line a fact."""
        lines = [f"--background {self.background}: {self._verdict()}"]
        lines += [f"  {name.replace('_', ' ')}: {_same(same)}" for name, same in self.equal.items()]
        if not all(self.equal.values()):
            lines += [f"  {_DIFFERENCES[name]}: {_share(value)}" for name, value in self.difference.items()]
            lines += [f"  the same photos again: {_same(self.is_repeatable)}"]
        return "\n".join([*lines, f"given {_GIVEN}"])

    def _verdict(self) -> str:
        """Return the outcome in one sentence."""
        if self.holds:
            return "the background had no influence at all, bit by bit"
        if not self.has_moved:
            return "the weights did not move, so nothing is shown; more steps or a larger rate are needed"
        if not self.is_repeatable:
            return "training is not repeatable on this machine, so nothing is shown"
        return "the background had influence" + (", which it must not" if self.is_expected else "")


_DIFFERENCES = {
    "latents_inside": "latents of cells that are all subject differ by",
    "gradient": "the first gradient differs by",
    "update": "what training did to the weights differs by",
}


@dataclass(frozen=True, eq=False)
class _Training:
    """All that both trainings share."""

    config: Config
    album: Album
    masks: dict[str, SubjectMask]
    class_images: list[Photo] | None
    geometry: Geometry
    accelerator: Accelerator
    steps: int


def certify(config: Config, run: RunFolder, *, steps: int) -> Certificate:
    """Train twice, the second time on other backgrounds, and write down what was the same.

    Args:
        config: of the training that is in question.
        run: its folder, with masks and class pictures if there are any; the certificate goes there.
        steps: of each training.

    Raises:
        UserError: as training does; also where there are no masks, or no background outside them.
    """
    if not config.masks.wanted:
        raise UserError(
            "--use_persam: missing; what lies outside the masks is compared, so masks are needed. Add it."
        )
    training, record = _prepare(config, run, steps)
    pixels = {stem: mask.mask for stem, mask in training.masks.items()}
    if all(mask.all() for mask in pixels.values()):
        raise UserError(
            f"{run.path}: the masks cover every photo whole; background is needed for the comparison. "
            "Look at the masks."
        )
    photos = training.album.photos
    moved = tuple(scrambled(photo, pixels[photo.stem], config.seed) for photo in photos)
    with deterministic():
        one, other = _train(training, photos), _train(training, moved)
        equal = equal_parts(one, other)
        # Only where they differ is there anything that chance could have done.
        again = one if all(equal.values()) else _train(training, photos)
    certificate = Certificate(
        background=config.masks.background,
        is_expected=config.masks.background in INVARIANT_MODES,
        equal=equal,
        difference=differences(one, other),
        is_repeatable=all(equal_parts(one, again).values()),
        has_moved=one.has_moved,
        record={
            "steps": steps,
            "trainings": {"as_they_are": one.digests, "on_other_backgrounds": other.digests},
            "photos_on_other_backgrounds": {photo.path.name: photo.digest for photo in moved},
            **record,
        },
    )
    run.write_json(CERTIFICATE_FILE, certificate.as_json())
    run.write_text(TEXT_FILE, certificate.text() + "\n")
    return certificate


def _prepare(config: Config, run: RunFolder, steps: int) -> tuple[_Training, dict[str, object]]:
    """Return what both trainings share, made as a training makes it, and its digests, settings, versions."""
    album = dreambooth.read_album(config.data)
    accelerator = build_accelerator(config.mixed_precision)
    device = str(accelerator.device)
    models = dreambooth.load(config)
    config = resolve_defaults(config, models.family.name)
    # A warm-up starts at a rate of 0, with which weights are equal because they stay what they were.
    train = dataclasses.replace(config.train, max_train_steps=steps, lr_warmup_steps=0)
    config = dataclasses.replace(config, train=train)
    geometry = dreambooth.check(models, config, album)
    masks = dreambooth.find_subject(
        album.photos,
        config,
        run,
        models,
        latent_side=geometry.resolution // models.vae_scale_factor,
        device=device,
    )
    class_images = dreambooth.draw_class_images(models, config, run, device=device)
    album = dreambooth.with_masks(album, masks)
    record = {
        "settings": public_settings(config),
        "inputs": inputs(models, album.photos, masks, class_images),
        "environment": environment(accelerator),
    }
    return _Training(config, album, masks, class_images, geometry, accelerator, steps), record


def _train(training: _Training, photos: tuple[Photo, ...]) -> Evidence:
    """Train on photos, and return what the training went through."""
    config, accelerator = training.config, training.accelerator
    # Loaded anew, because training changes models in place; and encoded anew, without the run's cache: what
    # is read from there would be equal without having been made from these photos.
    models = dreambooth.load(config)
    examples = dreambooth.encode_examples(
        models,
        dataclasses.replace(training.album, photos=photos),
        training.masks,
        training.class_images,
        geometry=training.geometry,
        config=config,
        device=str(accelerator.device),
        cache_dir=None,
    )
    state = start(
        models,
        examples,
        config.train,
        dreambooth.objective(config, models),
        accelerator=accelerator,
        max_train_steps=training.steps,
    )
    evidence = train_and_record(state)
    accelerator.free_memory()
    return evidence


def scrambled(photo: Photo, mask: Bool[np.ndarray, "H W"], seed: int) -> Photo:
    """Return a photo with noise in every pixel outside its mask (True on the subject)."""
    rng = np.random.default_rng(stable_number(seed, "scramble", photo.stem))
    noise = rng.integers(0, 256, photo.pixels.shape, dtype=np.uint8)
    pixels = np.where(mask[..., None], photo.pixels, noise)
    return Photo(photo.path, pixels, array_digest(pixels))


def _same(is_same: bool) -> str:
    """Return a comparison's outcome as a word."""
    return "equal" if is_same else "different"


def _share(value: float | None) -> str:
    """Return a relative distance in words."""
    return "(no such cell)" if value is None else f"{value:.1%}"
