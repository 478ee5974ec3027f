"""Where a model lies and of which family it is: the embedded one, a folder, or the hub.

A model of a kind that cannot be trained is refused by its index, before gigabytes of it are fetched.
"""

import json
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from persam_dreambooth.diffusion.families import FAMILIES, SD, SDXL, Family
from persam_dreambooth.diffusion.quiet import quiet
from persam_dreambooth.errors import UserError, did_you_mean, one_line

TOY = "toy"
TOY_MODEL = Path(__file__).parents[1] / "toyworld" / "models" / "stable_diffusion"

PIPELINE_INDEX = "model_index.json"
"""Names the parts of a pipeline, each a folder beside it."""

FLAG = "--pretrained_model_name_or_path"
TOKENIZER_FLAG = "--tokenizer_name"
VAE_FLAG = "--pretrained_vae_model_name_or_path"
NEEDED = "a Stable Diffusion 1.x, 2.x or XL folder in diffusers' format, its hub id or `toy`"

_OTHER_ARCHITECTURE = "a transformer trained by flow matching, which has another loss and other parts"
_HOLE = "its UNet also takes a picture with a hole (inpainting), which photos do not come with"
REASONS = {
    "StableDiffusionInpaintPipeline": _HOLE,
    "StableDiffusionXLInpaintPipeline": _HOLE,
    "StableDiffusionControlNetPipeline": "a ControlNet steers a model that is trained without it",
    "StableDiffusionXLControlNetPipeline": "a ControlNet steers a model that is trained without it",
    "StableDiffusionDepth2ImgPipeline": "its UNet also takes a depth map, which photos do not come with",
    "StableDiffusionUpscalePipeline": "its UNet also takes a small picture to enlarge",
    "StableDiffusionInstructPix2PixPipeline": "its UNet also takes a picture to edit",
    "StableDiffusionXLImg2ImgPipeline": "the refiner draws only the last steps, and is told of no subject",
    "LatentConsistencyModelPipeline": "a distilled model; train the one it was distilled from",
    "StableDiffusion3Pipeline": _OTHER_ARCHITECTURE,
    "FluxPipeline": _OTHER_ARCHITECTURE,
    "IFPipeline": "it draws pixels, not latents, and reads prompts with T5",
}
"""Why pipelines that people do name cannot be trained, by their class."""


def find_model(
    name_or_path: str, revision: str | None, variant: str | None
) -> tuple[Path, Family, dict[str, Any]]:
    """Return a model's folder, fetched from the hub if need be, its family and its index.

    Args:
        name_or_path: "toy", a folder in diffusers' format, or a hub id.
        revision: branch, tag or commit on the hub.
        variant: variant of the weight files.

    Raises:
        UserError: there is no such model, or it is of a kind that cannot be trained.
    """
    path = TOY_MODEL if name_or_path == TOY else Path(name_or_path).expanduser()
    _check_name(name_or_path, path)
    try:
        with quiet():
            index = DiffusionPipeline.load_config(path if path.is_dir() else name_or_path, revision=revision)
        family = _family(name_or_path, index)
        if path.is_dir():
            return path, family, index
        # None: parts that are given are not fetched.
        unused = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
        with quiet():
            fetched = DiffusionPipeline.download(name_or_path, revision=revision, variant=variant, **unused)
        return Path(fetched), family, index
    except (OSError, ValueError) as error:
        where = f"no {PIPELINE_INDEX}" if path.is_dir() else "neither a folder nor reachable on the hub"
        raise UserError(
            f"{FLAG} {name_or_path}: {where} ({one_line(error)[:200]}); {NEEDED} is needed. "
            "Check the name, or the network."
        ) from error


def find_tokenizer(name_or_path: str, family: Family) -> Path | str:
    """Return where --tokenizer_name lies: its folder, or a hub id.

    Raises:
        UserError: there is no such folder, or the family has two tokenizers.
    """
    if len(family.tokenizer_names) > 1:
        raise UserError(
            f"{TOKENIZER_FLAG} {name_or_path}: {family.title} has {len(family.tokenizer_names)} tokenizers; "
            "this flag is for models with one. Drop it."
        )
    return _find_part(TOKENIZER_FLAG, name_or_path, "tokenizer")


def find_vae(name_or_path: str) -> Path | str:
    """Return where --pretrained_vae_model_name_or_path lies: its folder, or a hub id.

    Raises:
        UserError: there is no such folder.
    """
    return _find_part(VAE_FLAG, name_or_path, "vae")


def pipeline_files(folder: Path) -> list[Path]:
    """Return the files of the pipeline in a folder that may hold other things as well, its index first."""
    files = [path for part in pipeline_parts(folder) for path in sorted(part.rglob("*")) if path.is_file()]
    return [folder / PIPELINE_INDEX, *files]


def pipeline_parts(folder: Path) -> list[Path]:
    """Return the folders of the parts of the pipeline in a folder; none where there is no pipeline."""
    if not (folder / PIPELINE_INDEX).is_file():
        return []
    index = json.loads((folder / PIPELINE_INDEX).read_text(encoding="utf-8"))
    # A part is named with its library and class, one that is left out with two nulls.
    parts = (name for name, kind in sorted(index.items()) if isinstance(kind, list) and any(kind))
    return [folder / name for name in parts if (folder / name).is_dir()]


def looks_like_a_path(name: str) -> bool:
    """Return whether a name can be no hub id, which is `owner/name` or `name`."""
    return name == TOY or name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).exists()


def _check_name(name_or_path: str, path: Path) -> None:
    """Raise UserError for a path where there is no folder."""
    if path.is_file() and path.suffix in {".safetensors", ".ckpt"}:
        raise UserError(
            f"{FLAG} {name_or_path}: a single file; {NEEDED} is needed. Convert it once: python -c "
            f"\"from diffusers import StableDiffusionPipeline as P; P.from_single_file('{path}')"
            f".save_pretrained('{path.with_suffix('')}')\", with StableDiffusionXLPipeline for an XL model."
        )
    if not path.is_dir() and looks_like_a_path(name_or_path):
        siblings = map(str, path.parent.iterdir()) if path.parent.is_dir() else ()
        raise UserError(
            f"{FLAG} {name_or_path}: no such folder; {NEEDED} is needed.{did_you_mean(str(path), siblings)}"
        )


def _family(name_or_path: str, index: dict[str, Any]) -> Family:
    """Return the family that a model index names, or raise UserError for other kinds."""
    kind = index.get("_class_name")
    for family in FAMILIES:
        if kind == family.pipeline_class.__name__:
            return family
    reason = f": {REASONS[kind]}" if kind in REASONS else ""
    raise UserError(
        f"{FLAG} {name_or_path}: a {kind}{reason}; only {SD.title} ({SD.pipeline_class.__name__}) and "
        f"{SDXL.title} ({SDXL.pipeline_class.__name__}) can be trained now. "
        "Name one, for example stable-diffusion-v1-5/stable-diffusion-v1-5."
    )


def _find_part(flag: str, name_or_path: str, subfolder: str) -> Path | str:
    """Return the folder of one part of a model, or its hub id."""
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path / subfolder if (path / subfolder).is_dir() else path
    if looks_like_a_path(name_or_path):
        siblings = map(str, path.parent.iterdir()) if path.parent.is_dir() else ()
        raise UserError(
            f"{flag} {name_or_path}: no such folder; a folder or a hub id is needed."
            f"{did_you_mean(str(path), siblings)}"
        )
    return name_or_path
