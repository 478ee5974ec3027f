"""A comparison of models from weights to report: draw, find, measure, write. What is there is not made again.

    noise.npz                    what the pictures of each seed start from, the same for every model
    pictures/base/               the model before training, asked without the rare word
    pictures/decoys/             places without the subject, drawn by the same
    pictures/<arm>/              each trained model; step-000400/ in it: its checkpoints
    kept/                        photos through the VAE, masks of the pictures, features: made anew if removed
    report.json, report.html     what came out

The first two folders of pictures serve every later model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from persam_dreambooth.diffusion.models import Models, load_models, prompt_ids
from persam_dreambooth.leakage import adherence
from persam_dreambooth.leakage.album import Album
from persam_dreambooth.leakage.arms import Arm, check_arm, checkpoints_of, load_arm
from persam_dreambooth.leakage.banks import Mask, Pixels
from persam_dreambooth.leakage.comparison import Options, compare
from persam_dreambooth.leakage.decoys import photos_through_vae, through_vae
from persam_dreambooth.leakage.drawing import Request, as_pictures, draw_missing, requests_of
from persam_dreambooth.leakage.feature_cache import kept
from persam_dreambooth.leakage.features import COLOUR, Features, load_features
from persam_dreambooth.leakage.finder import SubjectFinder, finder_of
from persam_dreambooth.leakage.model_files import told_as
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.plan import CLASSIFIER, CLIP, NO_SCENES, Places, Plan
from persam_dreambooth.leakage.presence import presence_warnings
from persam_dreambooth.leakage.provenance import poorly_seen, told
from persam_dreambooth.leakage.report import JSON_FILE, read_report, write_report
from persam_dreambooth.leakage.rows import BASE, RECONTEXT
from persam_dreambooth.leakage.validation.own_photos import validate_on
from persam_dreambooth.photos import read_photo
from persam_dreambooth.run import digest_of
from persam_dreambooth.sam.segmenter import Segmenter, model_digest

PICTURES_FOLDER = "pictures"
KEPT_FOLDER = "kept"
NEED_A_MODEL = ("dift", "sam")
"""Features of a model that is loaded anyhow."""


class Held:
    """The base model, loaded when it is first needed and let go when it is not any more."""

    def __init__(self, name: str) -> None:
        """Say which."""
        self._name = name
        self._models: Models | None = None

    def __call__(self) -> Models:
        """Return the model."""
        if self._models is None:
            with told_as("--base"):
                self._models = load_models(self._name)
        return self._models

    def let_go(self) -> None:
        """Forget it: its memory is wanted for another."""
        self._models = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """Everything that is measured."""

    pictures: Mapping[str, Sequence[Picture]]
    """By arm, the base first."""
    decoys: Places
    photos: Sequence[tuple[Pixels, Mask]]
    """As they enter the bank."""
    held_out: Sequence[tuple[Pixels, Mask]]


def run(
    plan: Plan, *, settings: Mapping[str, object], commands: Sequence[str]
) -> tuple[dict[str, Any], Path]:
    """Carry out a comparison; return the content of its report.json, and the page's path.

    Args:
        plan: what is compared, and how.
        settings: what else a reader of the page should know, by name.
        commands: the command lines that led to it.

    Raises:
        UserError: a model has not come from the base, or cannot be loaded; a prompt is too long.
    """
    check(plan)
    base = Held(plan.base.name)
    drawn = draw_all(plan, base)
    result = measure(plan, drawn, base)
    page = write_report(
        result,
        plan.out,
        photos=plan.album.photos,
        masks=plan.album.masks,
        pictures=drawn.pictures,
        losses={name: curves["losses"] for name, curves in result["training"].items()},
        settings=settings,
        commands=commands,
    )
    # As it was written: with the places of pictures and photos.
    return read_report(page.with_name(JSON_FILE)), page


def check(plan: Plan) -> None:
    """Raise UserError where something cannot be loaded that is only needed after hours of drawing."""
    for arm in plan.arms:
        check_arm(arm, plan.base)
    model_digest(plan.sam, plan.album.sam_adapter)
    if plan.features not in NEED_A_MODEL:
        load_features(plan.features)
    if plan.scene_judge.startswith(CLIP):
        adherence.clip(plan.scene_judge.removeprefix(CLIP), {})


def draw_all(plan: Plan, base: Held) -> Drawn:
    """Return everything that is measured, drawn where it is not there.

    Args:
        plan: of the comparison.
        base: the base model; it is let go before others are loaded.
    """
    folder = plan.out / PICTURES_FOLDER
    of_base = plan.base_pictures or folder / BASE
    pictures = {BASE: _draw(plan, None, partial(_checked, plan, base), of_base)}
    decoys = _decoys(plan, base, of_base.parent / "decoys")
    photos, held_out = (_as_drawn(plan, album, base) for album in (plan.album, plan.held_out))
    base.let_go()
    for arm in plan.arms:
        found = []
        for one in (arm, *(checkpoints_of(arm) if plan.checkpoints else ())):
            place = folder / arm.name / ("" if one.step is None else f"step-{one.step:06d}")
            found += _draw(plan, one, partial(load_arm, one, plan.base), place)
        pictures[arm.name] = found
    return Drawn(pictures, decoys, photos, held_out)


def measure(plan: Plan, drawn: Drawn, base: Held) -> dict[str, Any]:
    """Return the comparison in the shape of report.json.

    Args:
        plan: of the comparison.
        drawn: from `draw_all`.
        base: the base model, where features or scenes need it.
    """
    features = _features(plan, base)
    find, presence = finder_of(
        plan.album,
        plan.sam,
        plan.out / KEPT_FOLDER / "masks",
        plan.device,
        base=drawn.pictures[BASE],
        places=drawn.decoys.pixels,
    )
    result = compare(
        drawn.pictures,
        photos=drawn.photos,
        decoys=drawn.decoys.pixels,
        find_subject=find,
        features=features,
        adherence=_judge(plan, base),
        truth=plan.truth,
        options=Options(
            num_banks=plan.num_banks,
            held_out=drawn.held_out,
            # Three times the encoding: little for colour and gradients, much for a network.
            move_rims=features.name == COLOUR or plan.preset == "full",
            drop_conflicting=plan.drop_conflicting,
            minus=plan.minus,
        ),
    )
    if plan.validate:
        result["validation"] = _validation(plan, drawn, features, find)
        result["warnings"] += poorly_seen(result["validation"])
    size = drawn.pictures[BASE][0].pixels.shape[:2]
    result["warnings"] += presence_warnings(presence)
    return result | told(plan, result, presence, source=drawn.decoys.source, size=size)


def _features(plan: Plan, base: Held) -> Features:
    """Return what describes the cells, with a memory."""
    by_sam = plan.features == "sam"
    segmenter = Segmenter.load(plan.sam, plan.device, plan.album.sam_adapter) if by_sam else None
    models = base() if plan.features == "dift" else None
    features = load_features(plan.features, models=models, segmenter=segmenter, device=plan.device)
    return kept(features, plan.out / KEPT_FOLDER / "features")


def _validation(plan: Plan, drawn: Drawn, features: Features, find: SubjectFinder) -> dict[str, Any] | None:
    """Return how well leaks of a known size are seen in the base model's pictures; None for too few."""
    hosts = [picture for picture in drawn.pictures[BASE] if picture.family == RECONTEXT]
    return validate_on(
        [pixels for pixels, _ in drawn.photos],
        [mask for _, mask in drawn.photos],
        drawn.decoys.pixels,
        features,
        hosts=[(picture.pixels, find(picture.pixels)) for picture in hosts],
        num_banks=plan.num_banks,
    )


def _checked(plan: Plan, base: Held) -> Models:
    """Return the base model, once it is known that every prompt fits its text encoder."""
    models = base()
    for prompt in plan.prompts:
        for text in (prompt.text, prompt.base_text):
            prompt_ids(models.tokenizers, text, "--prompts")
    return models


def _draw(plan: Plan, arm: Arm | None, load: Callable[[], Models], folder: Path) -> list[Picture]:
    """Return the pictures of an arm, or of the base where it is None; of a checkpoint one family's."""
    requests = requests_of(plan.prompts, plan.seeds, plan.other_seeds, is_base=arm is None)
    if arm is None:
        return as_pictures(requests, _files(plan, requests, plan.base.digest, load, folder, BASE))
    name = arm.name if arm.step is None else f"{arm.name} at step {arm.step}"
    if arm.step is not None:
        requests = [request for request in requests if request.prompt.family == RECONTEXT]
    return as_pictures(requests, _files(plan, requests, arm.digest(plan.base), load, folder, name), arm.step)


def _files(
    plan: Plan, requests: Sequence[Request], weights: str, load: Callable[[], Models], folder: Path, name: str
) -> list[Path]:
    """Return the files of pictures by a model of these weights, drawn with the base's sampler."""
    return draw_missing(
        requests,
        folder,
        digest=digest_of(weights, plan.base.sampling),
        load=load,
        sampler=plan.sampler,
        device=plan.device,
        name=name,
    )


def _decoys(plan: Plan, base: Held, folder: Path) -> Places:
    """Return the decoys, drawn by the base model where nobody chose others."""
    if isinstance(plan.decoys, Places):
        if not plan.vae_round_trip:
            return plan.decoys
        # Whoever drew or took them: photos and pictures have been through this VAE.
        seen = photos_through_vae(
            plan.decoys.photos,
            plan.out / KEPT_FOLDER / "decoys",
            digest=plan.base.digest,
            side=plan.base.side,
            load=base,
            device=plan.device,
        )
        return Places(seen, plan.decoys.source)
    paths = _files(plan, plan.decoys, plan.base.digest, base, folder, "decoys")
    places = len({request.prompt.id for request in plan.decoys})
    return Places(
        [read_photo(path) for path in paths],
        f"{len(paths)} pictures of {places} places without the subject, drawn by the base model",
    )


def _as_drawn(plan: Plan, album: Album | None, base: Held) -> Sequence[tuple[Pixels, Mask]]:
    """Return photos and masks as they are held against what was drawn: once through the VAE, if wanted."""
    if album is None or not plan.vae_round_trip:
        return () if album is None else album.pairs
    return through_vae(
        album.photos,
        album.masks,
        plan.out / KEPT_FOLDER / "photos",
        digest=plan.base.digest,
        side=plan.base.side,
        load=base,
        device=plan.device,
    )


def _judge(plan: Plan, base: Held) -> adherence.Adherence | None:
    """Return what recognises the scenes of the prompts; None where nobody asked, or there is one only."""
    wanted = [prompt for prompt in plan.prompts if prompt.family == RECONTEXT and prompt.scene]
    if plan.scene_judge == NO_SCENES or len(wanted) < 2:
        return None
    if plan.scene_judge == CLASSIFIER:
        scenes = {prompt.text: prompt.base_text for prompt in wanted}
        return adherence.diffusion_classifier(base(), scenes, device=plan.device)
    scenes = {prompt.text: prompt.scene for prompt in wanted}
    return adherence.clip(plan.scene_judge.removeprefix(CLIP), scenes, device=plan.device)
