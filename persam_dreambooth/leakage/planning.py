"""From flags to a plan: everything is read and checked here, before anything is drawn or written."""

from dataclasses import replace
from pathlib import Path

from persam_dreambooth.diffusion.model_folders import TOY
from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.leakage.album import Album, read_album
from persam_dreambooth.leakage.arms import parse_arms
from persam_dreambooth.leakage.decoys import place_decoys, read_decoys, toy_decoys
from persam_dreambooth.leakage.drawing import Request, Sampler
from persam_dreambooth.leakage.model_files import find_folder
from persam_dreambooth.leakage.plan import Places, Plan
from persam_dreambooth.leakage.prompts import (
    DREAMBOOTH,
    PRESETS,
    Prompt,
    build_prompts,
    read_prompts,
    scenes_for,
    toy_scenes,
)
from persam_dreambooth.leakage.summary import PLAIN
from persam_dreambooth.leakage.truth import Truth
from persam_dreambooth.photos import read_photos, sample_images
from persam_dreambooth.settings.comparison import DrawingChoice, Material, ModelChoice
from persam_dreambooth.toyworld.classifier import load_classifier
from persam_dreambooth.toyworld.samples import SAMPLES, Sample


def build_plan(
    choice: ModelChoice, material: Material, drawing: DrawingChoice, *, out: Path, device: str
) -> Plan:
    """Return what is to be compared.

    Args:
        choice: which models.
        material: photos and decoys.
        drawing: how many pictures, and how.
        out: where everything goes.
        device: where models run.

    Raises:
        UserError: something is missing, cannot be read, or does not fit.
    """
    arms = parse_arms(choice.model)
    album, held_out, sam = read_material(material)
    base = find_folder(choice.base, "--base")
    sample = known_sample(album) if base.name == TOY else None
    preset = PRESETS[drawing.preset]
    return Plan(
        album=album,
        base=base,
        arms=tuple(arms),
        prompts=tuple(_prompts(choice, drawing, is_toy=base.name == TOY, sample=sample)),
        seeds=tuple(range(preset.num_seeds)),
        other_seeds=tuple(range(preset.num_other_seeds)),
        out=out,
        decoys=_decoys(material, is_toy=base.name == TOY, is_quick=drawing.preset == "quick"),
        sampler=Sampler(
            drawing.num_inference_steps, drawing.guidance_scale, drawing.precision, drawing.batch_size
        ),
        preset=drawing.preset,
        sam=sam,
        features=material.features,
        scene_judge=drawing.scene_judge,
        num_banks=material.num_banks,
        vae_round_trip=drawing.vae_round_trip,
        checkpoints=drawing.checkpoints,
        drop_conflicting=drawing.drop_conflicting,
        validate=drawing.validate,
        held_out=held_out,
        base_pictures=drawing.base_pictures,
        minus=compared_with(choice.minus, [arm.name for arm in arms]),
        truth=None if sample is None else truth_of(sample),
        device=device,
    )


def read_material(material: Material) -> tuple[Album, Album | None, str]:
    """Return the photos with masks, those that were not trained on, and the name of the SAM."""
    held_out = None
    if material.held_out is not None:
        held_out = read_album(material.held_out, material.held_out, flag="--held_out", can_be_one=True)
    album = read_album(material.photos, material.masks, can_be_one=held_out is not None)
    if material.sam is not None or material.sam_adapter is not None:
        album = replace(album, sam_adapter=material.sam_adapter)
    return album, held_out, material.sam or album.sam or TOY


def compared_with(asked: str | None, names: list[str]) -> str:
    """Return the arm that the others are compared with: the one asked for, or `plain`, or the first.

    Raises:
        UserError: none has the name asked for.
    """
    if asked is None:
        return PLAIN if PLAIN in names else names[0]
    if asked not in names:
        raise UserError(
            f"--minus {asked}: no model has this name; one of {', '.join(names)} is needed."
            f"{did_you_mean(asked, names)}"
        )
    return asked


def known_sample(album: Album) -> Sample | None:
    """Return the toy world's sample subject that all photos are of, if so: then the truth is known."""
    digests = {photo.digest for photo in album.photos}
    for name, sample in SAMPLES.items():
        try:
            known = {photo.digest for photo in read_photos(sample_images(name))}
        except UserError:
            # Installed without the samples.
            continue
        if digests <= known:
            return sample
    return None


def truth_of(sample: Sample) -> Truth:
    """Return what the toy world knows of a sample subject."""
    return Truth(load_classifier(), sample.subject, sample.identity, sample.backgrounds)


def _prompts(
    choice: ModelChoice, drawing: DrawingChoice, *, is_toy: bool, sample: Sample | None
) -> list[Prompt]:
    """Return the prompts of all families."""
    words = {"token": choice.token, "class_noun": choice.class_noun}
    if drawing.prompts not in (None, DREAMBOOTH):
        return read_prompts(Path(drawing.prompts), choice.token, choice.class_noun)
    names: dict[str, str] = {}
    if is_toy and drawing.prompts is None:
        scenes, names = toy_scenes(sample.backgrounds if sample else ())
    else:
        scenes = scenes_for(choice.class_noun, published=drawing.prompts == DREAMBOOTH)
    return build_prompts(scenes, num_scenes=PRESETS[drawing.preset].num_scenes, names=names, **words)


def _decoys(material: Material, *, is_toy: bool, is_quick: bool) -> Places | tuple[Request, ...]:
    """Return the decoys of a folder, or what the base model is to draw.

    Raises:
        UserError: they are fewer than banks.
    """
    if material.decoys is not None:
        found = read_decoys(material.decoys, material.num_banks)
        return Places(found, f"{len(found)} pictures in {material.decoys}")
    wanted = toy_decoys() if is_toy else place_decoys(is_quick=is_quick)
    if len(wanted) < material.num_banks:
        raise UserError(
            f"--num_banks {material.num_banks}: more than the {len(wanted)} places that are drawn as decoys; "
            "give a folder with more by --decoys, or ask for fewer."
        )
    return tuple(wanted)
