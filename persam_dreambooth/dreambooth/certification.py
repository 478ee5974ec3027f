"""Does the background have any influence on what is trained? Trained twice, compared bit by bit.

    photos, masks ----------------------------------> N steps -> latents, gradients, weights
    the same photos with other backgrounds, masks --> N steps -> latents, gradients, weights

Masks are found once, on the photos as they are: what is shown is that given the masks nothing outside them
counts. Where the two differ, the first is trained again, to tell the background's influence from that of
chance on this machine. Before that, three questions about the first step: does NaN in the background arrive,
how much of the loss's slope lies on it, how much does the update change in front of other places?
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator
from jaxtyping import Bool, UInt8

from persam_dreambooth import dreambooth
from persam_dreambooth.config import public_settings
from persam_dreambooth.diffusion.background_influence import Influence
from persam_dreambooth.diffusion.background_reach import Reach, background_reach
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
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.randomness import stable_number
from persam_dreambooth.diffusion.training import TrainingState, build_accelerator
from persam_dreambooth.dreambooth.background_watch import Scene
from persam_dreambooth.dreambooth.certificate import Certificate
from persam_dreambooth.dreambooth.environment import environment, inputs
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.stage import SubjectMask
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.run import RunFolder
from persam_dreambooth.settings import Config, resolve_defaults

CERTIFICATE_FILE = "certificate.json"
TEXT_FILE = "certificate.txt"

_MOST_PLACES = 8
"""Places that photos are put in front of, where the model has to draw them."""


@dataclass(frozen=True, eq=False)
class _Training:
    """All that both trainings share."""

    config: Config
    album: Album
    masks: dict[str, SubjectMask]
    places: list[UInt8[np.ndarray, "_ _ 3"]]
    class_images: list[Photo] | None
    geometry: Geometry
    accelerator: Accelerator


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
        reach, influence = _measure(training)
        one, other = _train(training, photos), _train(training, moved)
        equal = equal_parts(one, other)
        # Only where they differ is there anything that chance could have done.
        again = one if all(equal.values()) else _train(training, photos)
    certificate = Certificate(
        background=config.masks.background,
        is_expected=config.masks.background in INVARIANT_MODES,
        equal=equal,
        difference=differences(one, other),
        reach=reach,
        influence=influence,
        is_repeatable=all(equal_parts(one, again).values()),
        has_moved=one.has_moved,
        record={
            "steps": steps,
            "weights_sha256": [one.weights, other.weights],
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
    count = min(len(album.photos), _MOST_PLACES)
    places = dreambooth.find_decoys(models, config, run, device=device, count=max(2, count))
    record = {
        "settings": public_settings(config),
        "inputs": inputs(models, album.photos, masks, class_images),
        "environment": environment(accelerator),
    }
    return _Training(config, album, masks, places, class_images, geometry, accelerator), record


def _measure(training: _Training) -> tuple[Reach, Influence]:
    """Return how far the background reaches into the first step, and how much of the update is its doing."""
    config, accelerator = training.config, training.accelerator
    models, state = _begin(training, training.album.photos)
    masks = {stem: subject.mask for stem, subject in training.masks.items()}
    scene = Scene(
        models,
        training.album,
        masks,
        masks,
        training.class_images,
        training.places,
        training.geometry,
        config,
    )
    # Encoded in every step, photos can be asked about their pixels.
    asked = dataclasses.replace(config, train=dataclasses.replace(config.train, cache_latents=False))
    instance = dataclasses.replace(scene, config=asked).instance(training.album, state)
    found = background_reach(state, instance), scene.influence(state)
    accelerator.free_memory()
    return found


def _train(training: _Training, photos: tuple[Photo, ...]) -> Evidence:
    """Train on photos, and return what the training went through."""
    _, state = _begin(training, photos)
    evidence = train_and_record(state)
    training.accelerator.free_memory()
    return evidence


def _begin(training: _Training, photos: tuple[Photo, ...]) -> tuple[Models, TrainingState]:
    """Return the models and their training on photos, before its first step."""
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
    return models, dreambooth.begin(models, examples, config, accelerator)


def scrambled(photo: Photo, mask: Bool[np.ndarray, "H W"], seed: int) -> Photo:
    """Return a photo with noise in every pixel outside its mask (True on the subject)."""
    rng = np.random.default_rng(stable_number(seed, "scramble", photo.stem))
    noise = rng.integers(0, 256, photo.pixels.shape, dtype=np.uint8)
    pixels = np.where(mask[..., None], photo.pixels, noise)
    return Photo(photo.path, pixels, array_digest(pixels))
