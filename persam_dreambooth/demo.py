"""The whole idea on the embedded models: one cat, two trainings, pictures from three models, one report.

    masks/            the subject in every photo, found by PerSAM-F from one mask
    plain/ masked/    a run folder each: the same photos, seed, steps and settings, without and with masks
    base/             pictures of the model before fine-tuning
    decoys/           places without the subject, for the measure that needs no truth
    report.html       the comparison, and report.json

Every arm is trained with the settings of configs/toy.yaml; run it again and what is there is not made again.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from persam_dreambooth import dreambooth
from persam_dreambooth.config import parse, to_yaml
from persam_dreambooth.diffusion.captions import Album, read_folder
from persam_dreambooth.diffusion.generate import GeneratedImage, generate
from persam_dreambooth.diffusion.models import Models, build_pipeline, load_models
from persam_dreambooth.diffusion.training import build_accelerator, start
from persam_dreambooth.dreambooth import results
from persam_dreambooth.leakage.comparison import compare
from persam_dreambooth.leakage.finder import subject_finder
from persam_dreambooth.leakage.finding import summary
from persam_dreambooth.leakage.pictures import read_pictures
from persam_dreambooth.leakage.report import write_report
from persam_dreambooth.leakage.truth import Truth
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import sample_images
from persam_dreambooth.run import RunFolder
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import Config, ValidationConfig, resolve_defaults
from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.classifier import load_classifier
from persam_dreambooth.toyworld.samples import SAMPLES

PICTURE_SEEDS = (0, 1, 2, 3)
"""Each prompt is drawn once with each."""
DECOY_SEEDS = (100, 101, 102, 103)
PLACES = tuple(f"a photo of {phrases[0].split(' ', 1)[1]}" for phrases in backgrounds.PHRASES.values())
"""Prompts of the decoys: every place of the toy world, also other rooms than the one in the photos."""
TOY = "toy"
DEVICE = "cpu"


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
    prompts = prompts_of(sample)
    drawn = {"base": _draw(load_models(TOY), prompts, run.path / "base", masked.validation, PICTURE_SEEDS)}
    for arm, config in configs.items():
        models = _train(arm, config, album, masks if config.masks.wanted else None)
        drawn[arm] = _draw(models, prompts, config.output_dir, config.validation, PICTURE_SEEDS)
    pictures = {arm: read_pictures(images, prompts) for arm, images in drawn.items()}
    decoys = _draw(load_models(TOY), PLACES, run.path / "decoys", masked.validation, DECOY_SEEDS)
    result = compare(
        pictures,
        photos=[(photo.pixels, masks[photo.stem].mask) for photo in album.photos],
        decoys=[picture.pixels for picture in read_pictures(decoys)],
        find_subject=subject_finder(Segmenter.load(TOY), album.photos[0], masks[album.photos[0].stem].mask),
        truth=_truth(sample),
    )
    page = write_report(
        result,
        run.path,
        photos=album.photos,
        masks=masks,
        pictures=pictures,
        losses={arm: _losses(config) for arm, config in configs.items()},
        settings=_settings(masked),
        commands=[f"persam-dreambooth demo --output_dir {output_dir} --sample {sample} --seed {seed}"],
    )
    print(f"\n{summary(result)}\n\nreport: {page}")
    return result


def prompts_of(sample: str) -> dict[str, str]:
    """Prompts that put the subject where no photo shows it, and the name of the place that each asks for."""
    subject, photographed = SAMPLES[sample].subject, SAMPLES[sample].backgrounds
    places = [place for place in backgrounds.BACKGROUNDS if place not in photographed]
    return {f"a photo of sks {subject} {backgrounds.PHRASES[place][0]}": place for place in places}


def _configs(folder: Path, subject: str, seed: int, flags: Sequence[str]) -> dict[str, Config]:
    """Settings of the two arms: configs/toy.yaml, with and without masks."""
    both = ["--seed", str(seed), "--instance_prompt", f"a photo of sks {subject}"]
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


def _train(arm: str, config: Config, album: Album, masks: dict[str, SubjectMask] | None) -> Models:
    """Train one arm in its own run folder; return the models with the trained UNet."""
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
    return models


def _draw(
    models: Models,
    prompts: Iterable[str],
    folder: Path,
    settings: ValidationConfig,
    seeds: Sequence[int],
) -> list[GeneratedImage]:
    """Draw every prompt with every seed into the pictures folder of an arm."""
    prompts = list(prompts)
    with tqdm(
        total=len(prompts) * len(seeds), desc=f"draw {folder.name}", unit="picture", disable=None
    ) as bar:
        return generate(
            build_pipeline(models, device=DEVICE),
            prompts,
            seeds,
            out_dir=folder / "pictures",
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            batch_size=8,
            on_drawn=bar.update,
        )


def _truth(sample: str) -> Truth:
    """What the toy world knows of a sample subject."""
    known = SAMPLES[sample]
    return Truth(load_classifier(), known.subject, known.identity, known.backgrounds)


def _losses(config: Config) -> list[tuple[int, float]]:
    """(step, loss) of a training, from its log."""
    return [(record["step"], record["loss"]) for record in RunFolder(config.output_dir).read_log()]


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
