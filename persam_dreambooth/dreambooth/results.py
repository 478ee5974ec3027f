"""What a finished run says of itself: the facts in its files, the model card, the upload to the hub.

README.md                   the model card, always written
provenance.json             the facts, where there are no adapters to carry them
"""

import dataclasses
import importlib.metadata
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import persam_dreambooth
from persam_dreambooth.config import public_settings
from persam_dreambooth.diffusion import hub
from persam_dreambooth.diffusion.adapters import KOHYA_FILE, LORA_FILE
from persam_dreambooth.diffusion.generate import GRID_FILE, PROMPTS_FILE
from persam_dreambooth.diffusion.model_card import CARD_FILE, Picture, model_card
from persam_dreambooth.diffusion.model_folders import pipeline_files
from persam_dreambooth.diffusion.models import Models
from persam_dreambooth.diffusion.provenance import Provenance, architecture
from persam_dreambooth.dreambooth.validation import SAMPLES_FOLDER
from persam_dreambooth.files import write_text
from persam_dreambooth.masks.stage import SubjectMask
from persam_dreambooth.settings import Config

FACTS_FILE = "provenance.json"

_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate")


def provenance_of(
    config: Config,
    models: Models,
    prompts: Sequence[str],
    masks: Mapping[str, SubjectMask] | None,
    *,
    num_class_images: int,
    resolution: int,
    steps: int,
    summary: str,
) -> Provenance:
    """Return what files and card tell of a training.

    Args:
        config: of the run, resolved.
        models: that are trained.
        prompts: one a photo.
        masks: of the photos, by stem; None without masks.
        num_class_images: class pictures trained on.
        resolution: side of the training pictures in pixels.
        steps: optimizer steps of the whole run.
        summary: in words what the loss sees of the photos.
    """
    data = config.data
    found = masks or {}
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return Provenance(
        name=Path(config.output_dir).resolve().name,
        base_model=without_place(config.model.pretrained_model_name_or_path),
        architecture=architecture(models.family, models.unet.config.cross_attention_dim),
        prediction_type=models.noise_scheduler.config.prediction_type,
        resolution=resolution,
        steps=steps,
        instance_prompt=data.instance_prompt,
        trigger_words=(data.identifier or "").strip() or data.instance_prompt,
        prompts=dict(Counter(prompts)),
        num_class_images=num_class_images,
        settings={name: _plain(value) for name, value in public_settings(config).items()},
        mask_digests={stem: mask.digest for stem, mask in found.items()},
        mask_areas={stem: round(mask.area_fraction, 6) for stem, mask in found.items()},
        summary=summary,
        versions={"persam-dreambooth": persam_dreambooth.__version__, **libraries},
    )


def without_place(name: str) -> str:
    """Return a hub id as it is, and of a path only its last part: where a model lies is nobody's business."""
    is_id = name.count("/") <= 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()
    return name if is_id else Path(name).resolve().name


def write_card(
    config: Config, models: Models, provenance: Provenance, result: Path, *, place: str | None = None
) -> Path:
    """Write the model card into the run's folder; return its path.

    A pipeline's folder is given the same facts as JSON; files of adapters carry them inside.

    Args:
        config: of the run.
        models: that were trained.
        provenance: what the card tells.
        result: the adapters' file, or the run's folder with the pipeline.
        place: where the result will be found, for the lines of code; None is its place here.
    """
    if Path(result).is_dir():
        facts = json.dumps(dataclasses.asdict(provenance), indent=2, ensure_ascii=False, default=str)
        write_text(Path(result) / FACTS_FILE, f"{facts}\n")
    path = Path(config.output_dir) / CARD_FILE
    write_text(path, card_text(config, models, provenance, result, place=place))
    return path


def card_text(
    config: Config, models: Models, provenance: Provenance, result: Path, *, place: str | None = None
) -> str:
    """Return the model card; arguments as of `write_card`."""
    run, result = Path(config.output_dir).resolve(), Path(result).resolve()
    is_lora = result.name == LORA_FILE
    folder = result.parent if is_lora else result
    pictures = pictures_of(run)
    return model_card(
        provenance,
        models.family,
        kind="lora" if is_lora else "pipeline",
        place=place or str(Path(run.name) / folder.relative_to(run)),
        without_text_encoder=config.results.skip_save_text_encoder,
        pictures=pictures,
        grid=f"{SAMPLES_FOLDER}/{GRID_FILE}" if pictures else None,
    )


def pictures_of(run: Path) -> list[Picture]:
    """Return the pictures that were drawn at the end, by their paths from the run's folder."""
    record = run / SAMPLES_FOLDER / PROMPTS_FILE
    if not record.is_file():
        return []
    images = json.loads(record.read_text(encoding="utf-8"))["images"]
    return [Picture(image["prompt"], f"{SAMPLES_FOLDER}/{image['file']}") for image in images]


def push(config: Config, models: Models, provenance: Provenance, result: Path) -> str:
    """Upload result, card and pictures to the hub; return the address.

    Nothing else of the run's folder is uploaded: no photos, no masks, no checkpoints.

    Raises:
        UserError: it could not be uploaded; everything is in the run's folder.
    """
    run, token = Path(config.output_dir), config.results.hub_token
    repo_id = hub.make_repository(config.results.hub_model_id or run.resolve().name, run, token)
    card = card_text(config, models, provenance, result, place=repo_id)
    files = {**files_to_push(run, Path(result)), CARD_FILE: card.encode()}
    return hub.upload(repo_id, files, run, token)


def files_to_push(run: Path, result: Path) -> dict[str, Path]:
    """Return the files of a result and its pictures by their paths in a repository."""
    pictures = [picture.file for picture in pictures_of(run)]
    grid = [f"{SAMPLES_FOLDER}/{GRID_FILE}"] if pictures else []
    files = {name: run / name for name in (*pictures, *grid)}
    if result.name == LORA_FILE:
        return {**files, **{name: run / name for name in (LORA_FILE, KOHYA_FILE)}}
    parts = [*pipeline_files(result), result / FACTS_FILE]
    return {**files, **{path.relative_to(result).as_posix(): path for path in parts}}


def _plain(value: object) -> object:
    """Return a setting; of a path that begins somewhere on this machine only the last part."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    is_place = isinstance(value, str) and value.startswith(("/", "~", ".."))
    return Path(value).name if is_place else value
