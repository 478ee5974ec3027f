"""The whole idea on the embedded models: one cat, two trainings, pictures from three models, one report.

    masks/            the subject in every photo, found by PerSAM-F from one mask
    plain/ masked/    a run folder each: the same photos, seed, steps and settings, without and with masks
    pictures/         what the base model and both runs draw, and places without the subject
    report.html       the comparison, and report.json

Every arm is trained with the settings of configs/toy.yaml, and compared as `persam-dreambooth compare` does;
run it again and what is there is not made again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persam_dreambooth import dreambooth
from persam_dreambooth.config import parse, to_yaml
from persam_dreambooth.diffusion.captions import Album, read_folder
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.diffusion.training import build_accelerator, start
from persam_dreambooth.dreambooth import results
from persam_dreambooth.leakage.album import read_album
from persam_dreambooth.leakage.arms import find_arm
from persam_dreambooth.leakage.decoys import TOY_SEEDS, toy_decoys
from persam_dreambooth.leakage.drawing import Sampler
from persam_dreambooth.leakage.model_files import find_folder
from persam_dreambooth.leakage.plan import NO_SCENES, Plan
from persam_dreambooth.leakage.planning import truth_of
from persam_dreambooth.leakage.prompts import Prompt, build_prompts, toy_scenes
from persam_dreambooth.leakage.stages import run as compare_models
from persam_dreambooth.leakage.table import table
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import sample_images
from persam_dreambooth.run import RunFolder
from persam_dreambooth.settings import Config, resolve_defaults
from persam_dreambooth.toyworld.samples import SAMPLES

PICTURE_SEEDS = (0, 1, 2, 3)
"""Each prompt that names a place is drawn once with each."""
OTHER_SEEDS = (0, 1)
"""Each prompt of the other families is drawn once with each."""
DECOY_SEEDS = TOY_SEEDS
TOY = "toy"
TOKEN = "sks"
DEVICE = "cpu"
BATCH_SIZE = 8


def main(
    output_dir: Path, *, sample: str = "cat", seed: int = 0, flags: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the demonstration and write its report; return what was measured.

    Args:
        output_dir: for everything that is made.
        sample: which sample subject, a key of `toyworld.samples.SAMPLES`.
        seed: of both trainings.
        flags: of train_dreambooth.py, for both arms, over those of configs/toy.yaml.
    """
    run = RunFolder(output_dir)
    configs = _configs(run.path, SAMPLES[sample].subject, seed, flags)
    masked = configs["masked"]
    album = read_folder(sample_images(sample), masked.data.instance_prompt)
    masks = _find_subject(album, masked, run)
    album = dreambooth.with_masks(album, masks)
    for arm, config in configs.items():
        _train(arm, config, album, masks if config.masks.wanted else None)
    result, page = compare_models(
        _plan(run.path, sample, masked),
        settings=_settings(masked),
        commands=[f"persam-dreambooth demo --output_dir {output_dir} --sample {sample} --seed {seed}"],
    )
    print(f"\n{table(result)}\n\nreport: {page}")
    return result


def prompts_of(sample: str) -> list[Prompt]:
    """Return prompts that put the subject where no photo shows it, and the other families'."""
    known = SAMPLES[sample]
    scenes, names = toy_scenes(known.backgrounds)
    return build_prompts(scenes, token=TOKEN, class_noun=known.subject, names=names)


def _plan(folder: Path, sample: str, config: Config) -> Plan:
    """Return what is compared."""
    drawing = config.validation
    return Plan(
        album=read_album(sample_images(sample), folder / dreambooth.MASKS_FOLDER),
        base=find_folder(TOY, "--base"),
        arms=tuple(find_arm(arm, str(folder / arm)) for arm in ("plain", "masked")),
        prompts=tuple(prompts_of(sample)),
        seeds=PICTURE_SEEDS,
        other_seeds=OTHER_SEEDS,
        out=folder,
        decoys=tuple(toy_decoys(DECOY_SEEDS)),
        sampler=Sampler(drawing.num_inference_steps, drawing.guidance_scale, batch_size=BATCH_SIZE),
        sam=config.model.sam,
        features="ct",
        # The judge of the toy world knows them.
        scene_judge=NO_SCENES,
        truth=truth_of(SAMPLES[sample]),
        device=DEVICE,
    )


def _configs(folder: Path, subject: str, seed: int, flags: Sequence[str]) -> dict[str, Config]:
    """Settings of the two arms: configs/toy.yaml, with and without masks."""
    both = ["--seed", str(seed), "--instance_prompt", f"a photo of {TOKEN} {subject}"]
    both += ["--class_prompt", f"a photo of a {subject}", *flags]
    return {
        "plain": parse([*both, "--output_dir", str(folder / "plain")]),
        "masked": parse([*both, "--output_dir", str(folder / "masked"), "--use_persam"]),
    }


def _find_subject(album: Album, config: Config, run: RunFolder) -> dict[str, SubjectMask]:
    """The subject's mask in every photo, by stem."""
    models = load_models(TOY)
    config = resolve_defaults(config, models.family.name)
    latent_side = dreambooth.check(models, config, album).resolution // models.vae_scale_factor
    return dreambooth.find_subject(album.photos, config, run, models, latent_side=latent_side, device=DEVICE)


def _train(arm: str, config: Config, album: Album, masks: dict[str, SubjectMask] | None) -> None:
    """Train one arm in its own run folder."""
    run = RunFolder(config.output_dir)
    print(f"\n{arm}: {dreambooth.summary(masks, len(album.photos))}")
    models = dreambooth.load(config)
    config = resolve_defaults(config, models.family.name)
    run.write_text("config.yaml", to_yaml(config))
    geometry = dreambooth.check(models, config, album)
    class_images = dreambooth.draw_class_images(models, config, run, device=DEVICE)
    examples = dreambooth.encode_examples(
        models, album, masks, class_images, geometry=geometry, config=config, device=DEVICE
    )
    steps = config.train.steps(len(album.photos))
    state = start(
        models,
        examples,
        config.train,
        dreambooth.objective(config, models),
        accelerator=build_accelerator("no"),
        max_train_steps=steps,
    )
    provenance = results.provenance_of(
        config,
        models,
        album.prompts,
        masks,
        num_class_images=len(class_images or ()),
        resolution=geometry.resolution,
        steps=steps,
        summary=dreambooth.summary(masks, len(album.photos)),
    )
    dreambooth.fit(state, models, run, config, provenance)


def _settings(config: Config) -> dict[str, object]:
    """What a reader needs to judge or repeat the run."""
    train, masks, drawing = config.train, config.masks, config.validation
    return {
        "seed": config.seed,
        "max_train_steps": train.max_train_steps,
        "train_batch_size": train.train_batch_size,
        "learning_rate": train.learning_rate,
        "with_prior_preservation": config.data.with_prior_preservation,
        "mask_method": masks.mask_method,
        "mask_mode": masks.mask_mode,
        "mask_normalization": masks.mask_normalization,
        "outside_prior_weight": f"{masks.outside_prior_weight} (where there are masks)",
        "guidance_scale": drawing.guidance_scale,
        "num_inference_steps": drawing.num_inference_steps,
    }
