"""Trainings of the random canary, each on the photos in front of the place that was drawn for it.

    canary/draw-00.json    what was drawn, and its rank; a draw that is there is not done again
    canary/canary.json     all draws, and what they show together

No model is kept: what is asked is asked before it is gone.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator
from jaxtyping import UInt8
from tqdm import tqdm

from persam_dreambooth import dreambooth
from persam_dreambooth.config import public_settings
from persam_dreambooth.diffusion.background_swaps import on_background
from persam_dreambooth.diffusion.captions import Album
from persam_dreambooth.diffusion.geometry import Geometry
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.training import build_accelerator, finish, start, train
from persam_dreambooth.dreambooth.background_watch import BackgroundWatch, Scene
from persam_dreambooth.dreambooth.measuring import given_masks
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.canary import NUM_PLACES, draw_place, p_of_ranks, ranks_text
from persam_dreambooth.masks.record import SubjectMask, subject_mask
from persam_dreambooth.photos import Photo, array_digest
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.settings import Config, resolve_defaults

FOLDER = "canary"
RECORD_FILE = f"{FOLDER}/canary.json"


@dataclass(frozen=True, eq=False)
class Experiment:
    """What all draws share."""

    config: Config
    """Of the training in question, resolved."""
    album: Album
    """Photos as they are."""
    masks: Mapping[str, SubjectMask]
    """The subject in each."""
    class_images: Sequence[Photo] | None
    places: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    """From which is drawn."""
    geometry: Geometry
    accelerator: Accelerator

    @property
    def digest(self) -> str:
        """Changes with anything that a draw's outcome follows from."""
        settings = {
            name: value for name, value in public_settings(self.config).items() if name != "output_dir"
        }
        return digest_of(
            settings,
            [photo.digest for photo in self.album.photos],
            [mask.digest for mask in self.masks.values()],
            [array_digest(place) for place in self.places],
        )


Look = Callable[[Models, Experiment, int], dict[str, object]]
"""What is looked at of a trained model, by name, as values that JSON holds."""


def run_canary(config: Config, run: RunFolder, *, num_draws: int) -> dict[str, object]:
    """Do the draws that are not there yet; return what they show, as it is written.

    Args:
        config: of the training in question.
        run: its folder, with masks if there are any.
        num_draws: trainings in all.

    Raises:
        UserError: as training does; also where no masks say what is subject.
    """
    experiment = prepare(config, run)
    draws = [one_draw(experiment, run, number) for number in range(num_draws)]
    ranks, count = [draw["rank"] for draw in draws], len(experiment.places)
    result = {
        "ranks": ranks,
        "places": count,
        "p": p_of_ranks(ranks, count),
        "text": ranks_text(ranks, count),
        "draws": draws,
        "settings": public_settings(experiment.config),
    }
    run.write_json(RECORD_FILE, result)
    return result


def prepare(config: Config, run: RunFolder, places: Sequence[np.ndarray] | None = None) -> Experiment:
    """Return what all draws share: the subject found, the places drawn.

    Args:
        config: of the training in question.
        run: its folder.
        places: pictures to draw from; None takes those of --background_decoys, or lets the model draw them.
    """
    album = dreambooth.read_album(config.data)
    accelerator = build_accelerator(config.mixed_precision)
    device = str(accelerator.device)
    models = dreambooth.load(config)
    config = resolve_defaults(config, models.family.name)
    geometry = dreambooth.check(models, config, album)
    masks = dreambooth.find_subject(
        album.photos,
        config,
        run,
        models,
        latent_side=geometry.resolution // models.vae_scale_factor,
        device=device,
    )
    if masks is None:
        given = given_masks(album.photos, config.measures)
        if given is None:
            raise UserError(
                "--measure_masks: missing; masks are needed to put the subject in front of another place. "
                "Add it, or --use_persam."
            )
        masks = {stem: subject_mask(stem, mask, "given") for stem, mask in given.items()}
    class_images = dreambooth.draw_class_images(models, config, run, device=device)
    if places is None:
        places = dreambooth.find_decoys(models, config, run, device=device, count=NUM_PLACES)
    return Experiment(config, album.only(masks), masks, class_images, places, geometry, accelerator)


def one_draw(
    experiment: Experiment, run: RunFolder, number: int, look: Look = lambda *_: {}
) -> dict[str, object]:
    """Return what a draw showed: read, or trained now.

    Args:
        experiment: what all draws share.
        run: draws are kept in its folder.
        number: of the draw.
        look: called with the trained models, the experiment and the number of the drawn place, before they
            are gone; what it returns is kept with the draw.

    Returns:
        Its number, the place that was drawn, its rank at the end, and `advantage`, a row [step, value, least
        and greatest of the other places, rank] for each measure.
    """
    name, digest = f"{FOLDER}/draw-{number:02d}.json", digest_of(experiment.digest, number)
    known = run.read_json(name)
    if isinstance(known, dict) and known.get("digest") == digest:
        return known
    drawn = draw_place(len(experiment.places), experiment.config.seed, number)
    rows, seen = _trained(experiment, drawn, number, look)
    found = {
        "digest": digest,
        "draw": number,
        "place": drawn,
        "rank": rows[-1][-1],
        "advantage": rows,
        **seen,
    }
    run.write_json(name, found)
    return found


def in_front_of(album: Album, masks: Mapping[str, SubjectMask], place: UInt8[np.ndarray, "_ _ 3"]) -> Album:
    """Return an album with the subject of every photo in front of one place: photos of their own digest."""
    moved = []
    for photo in album.photos:
        pixels = on_background(photo.pixels, masks[photo.stem].mask, place)
        moved.append(Photo(photo.path, pixels, array_digest(pixels)))
    return dataclasses.replace(album, photos=tuple(moved))


def _trained(
    experiment: Experiment, drawn: int, number: int, look: Look
) -> tuple[list[list[float]], dict[str, object]]:
    """Train in front of the drawn place; return the rows of measures, and what was seen of the model."""
    config, accelerator = experiment.config, experiment.accelerator
    models = dreambooth.load(config)
    album = in_front_of(experiment.album, experiment.masks, experiment.places[drawn])
    masks = dict(experiment.masks) if config.masks.wanted else None
    known = {stem: subject.mask for stem, subject in experiment.masks.items()}
    examples = dreambooth.encode_examples(
        models,
        album,
        masks,
        experiment.class_images,
        geometry=experiment.geometry,
        config=config,
        device=str(accelerator.device),
    )
    steps = config.train.steps(len(album.photos) * config.data.repeats)
    state = start(
        models,
        examples,
        config.train,
        dreambooth.objective(config, models),
        accelerator=accelerator,
        max_train_steps=steps,
        caption_dropout=config.data.caption_dropout,
    )
    others = [place for index, place in enumerate(experiment.places) if index != drawn]
    trained_on = known if config.masks.wanted else None
    scene = Scene(
        models, album, trained_on, known, experiment.class_images, others, experiment.geometry, config
    )
    watch = BackgroundWatch(scene, config.measures.background_advantage_steps or steps)
    watch.ask(state)
    rows = []
    with tqdm(total=steps, desc=f"draw {number + 1}", unit="step", disable=None) as bar:
        for progress in train(state):
            if watch.is_due(progress.step, steps):
                watch.measure(state)
                last = watch.last
                rows.append([progress.step, last.value, last.low, last.high, last.rank])
            bar.update()
    finish(state)
    seen = look(models, experiment, drawn)
    accelerator.free_memory()
    return rows, seen
