"""The parts of a DreamBooth run that join stages: masks, class pictures, what the steps read, the training.

    masks/           the subject in every photo
    class_images/    pictures of its class, with --with_prior_preservation
    cache/           what the VAE and the text encoders made of them, by content

A part whose results are in the folder, made from the same inputs, is not done again. What goes on in and
after the steps is in `fitting` and `validation`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from jaxtyping import Bool
from tqdm import tqdm

from persam_dreambooth.diffusion.attention_loss import check_identifier, identifier_ids
from persam_dreambooth.diffusion.backgrounds import Background
from persam_dreambooth.diffusion.captions import Album
from persam_dreambooth.diffusion.dataset import Examples
from persam_dreambooth.diffusion.encode import Encoded, class_preparation, encode
from persam_dreambooth.diffusion.geometry import Geometry
from persam_dreambooth.diffusion.latent_mask import LatentMask
from persam_dreambooth.diffusion.losses import Objective
from persam_dreambooth.diffusion.models import Models, build_pipeline
from persam_dreambooth.diffusion.pictures import Preparation
from persam_dreambooth.diffusion.precision import cast, drawing_dtype
from persam_dreambooth.diffusion.prior import generate_class_images, missing_numbers
from persam_dreambooth.diffusion.training import TrainingState, start
from persam_dreambooth.masks.diffseg.nouns import noun_of
from persam_dreambooth.masks.diffseg.source import Source
from persam_dreambooth.masks.stage import SubjectMask, find_masks
from persam_dreambooth.photos import Photo, read_photo, read_photos
from persam_dreambooth.run import RunFolder
from persam_dreambooth.settings import Config, MaskConfig

MASKS_FOLDER = "masks"
CLASS_FOLDER = "class_images"
CACHE_FOLDER = "cache"


def find_subject(
    photos: Sequence[Photo],
    config: Config,
    run: RunFolder,
    models: Models,
    *,
    latent_side: int,
    device: str,
) -> dict[str, SubjectMask] | None:
    """Return the subject's mask in every photo where it is found, by stem; None where no masks are wanted.

    Args:
        photos: of the subject.
        config: whether, and how.
        run: they go into its masks folder.
        models: before training, for what DiffSeg reads of them.
        latent_side: cells to a side of the latents, for the contact sheet.
        device: where SAM runs, and DiffSeg.
    """
    masks, data = config.masks, config.data
    if not masks.wanted:
        return None
    return find_masks(
        list(photos),
        masks,
        sam=config.model.sam,
        sam_adapter=config.model.sam_adapter,
        method=masks.mask_method,
        out_dir=run.path / MASKS_FOLDER,
        device=device,
        latent_size=(latent_side, latent_side),
        diffseg=Source(
            lambda: models,
            config.diffseg.diffseg_noun or noun_of(data.class_prompt, data.instance_prompt, data.identifier),
            config.diffseg,
        ),
    )


def with_masks(album: Album, masks: dict[str, SubjectMask] | None) -> Album:
    """Return what can be trained on: the photos with a mask, or all where no masks are wanted."""
    return album if masks is None else album.only(masks)


def draw_class_images(models: Models, config: Config, run: RunFolder, *, device: str) -> list[Photo] | None:
    """Return the class pictures, missing ones drawn by the untrained model; None where none are wanted."""
    data = config.data
    if not data.with_prior_preservation and config.masks.background != "class":
        return None
    folder = data.class_data_dir or run.path / CLASS_FOLDER
    if data.class_prompt is None:
        # As backgrounds, pictures that are there need no prompt.
        return read_photos(folder)[: data.num_class_images]
    missing = len(missing_numbers(folder, data.num_class_images))
    pipeline = build_pipeline(models)
    dtype = drawing_dtype(data.prior_generation_precision, device)
    # Where nothing is to be drawn the model need not move.
    ready = cast(pipeline, device, dtype) if missing else nullcontext()
    with ready, tqdm(total=missing, desc="class pictures", unit="picture", disable=None) as bar:
        paths = generate_class_images(
            pipeline,
            folder,
            prompt=data.class_prompt,
            num_images=data.num_class_images,
            model_name=models.name_or_path,
            batch_size=data.sample_batch_size,
            on_drawn=bar.update,
        )
    return [read_photo(path) for path in paths]


def encode_examples(
    models: Models,
    album: Album,
    masks: dict[str, SubjectMask] | None,
    class_images: Sequence[Photo] | None,
    *,
    geometry: Geometry,
    config: Config,
    device: str,
    cache_dir: Path | None = None,
) -> Examples:
    """Return everything that the steps of the training read.

    Args:
        models: whose VAE and text encoders.
        album: photos to train on, and what each is called.
        masks: of each of them; None trains on whole pictures.
        class_images: for prior preservation, as backgrounds, or both; None without either.
        geometry: which rectangle of a photo.
        config: of the run.
        device: where to encode.
        cache_dir: of what was encoded before; None keeps nothing.
    """
    instance = encode_photos(
        models,
        album,
        None if masks is None else {stem: subject.mask for stem, subject in masks.items()},
        class_images,
        geometry=geometry,
        config=config,
        device=device,
        cache_dir=cache_dir,
    )
    words, names = config.data.identifier, instance.names
    if config.masks.attention_mask_weight > 0:
        check_identifier(instance.input_ids[0], identifier_ids(models.tokenizers[0], words), words, names)
    if not config.data.with_prior_preservation:
        return Examples(instance=instance, class_images=None, seed=config.seed)
    of_class = encode(
        models,
        class_images,
        None,
        prompts=[config.data.class_prompt] * len(class_images),
        preparation=class_preparation(preparation_of(config, geometry)),
        device=device,
        cache_dir=cache_dir,
    )
    return Examples(instance=instance, class_images=of_class, seed=config.seed)


def encode_photos(
    models: Models,
    album: Album,
    masks: Mapping[str, Bool[np.ndarray, "H W"]] | None,
    class_images: Sequence[Photo] | None,
    *,
    geometry: Geometry,
    config: Config,
    device: str,
    cache_dir: Path | None = None,
) -> Encoded:
    """Return what the steps read of the subject's photos; arguments as of `encode_examples`.

    Args:
        models: whose VAE and text encoders.
        album: photos, and what each is called.
        masks: of each of them, True on the subject; None trains on whole pictures.
        class_images: that backgrounds are cut from, with --background class.
        geometry: which rectangle of a photo.
        config: of the run.
        device: where to encode.
        cache_dir: of what was encoded before; None keeps nothing.
    """
    return encode(
        models,
        album.photos,
        masks,
        prompts=album.prompts,
        preparation=preparation_of(config, geometry),
        class_photos=class_images or (),
        device=device,
        cache_dir=cache_dir,
    )


def preparation_of(config: Config, geometry: Geometry) -> Preparation:
    """Return how photos become training pictures."""
    return Preparation(
        geometry=geometry,
        latent_mask=LatentMask(
            mode=config.masks.mask_mode,
            dilate=config.masks.mask_dilate,
            erode=config.masks.mask_erode,
            outside_weight=config.masks.outside_weight,
        ),
        background=background_of(config.masks),
        cache_latents=config.train.cache_latents,
    )


def background_of(masks: MaskConfig) -> Background:
    """Return what becomes of the pixels outside the masks."""
    return Background(mode=masks.background, fill=masks.background_fill)


def objective(config: Config, models: Models) -> Objective:
    """Return the loss that the settings ask for.

    Args:
        config: of the run.
        models: whose tokenizer reads the subject's word.
    """
    masks = config.masks
    plain = Objective(
        prior_loss_weight=config.data.prior_loss_weight,
        outside_prior_weight=masks.outside_prior_weight,
        mask_normalization=masks.mask_normalization,
        snr_gamma=config.train.snr_gamma,
    )
    if masks.attention_mask_weight == 0:
        return plain
    return dataclasses.replace(
        plain,
        attention_mask_weight=masks.attention_mask_weight,
        identifier_ids=identifier_ids(models.tokenizers[0], config.data.identifier),
    )


def begin(models: Models, examples: Examples, config: Config, accelerator: Accelerator) -> TrainingState:
    """Return the training that the settings ask for, before its first step.

    Args:
        models: trained in place.
        examples: what to train on.
        config: of the run, resolved.
        accelerator: from `accelerator_for`.
    """
    num_photos = examples.instance.num_photos * config.data.repeats
    return start(
        models,
        examples,
        config.train,
        objective(config, models),
        accelerator=accelerator,
        max_train_steps=config.train.steps(num_photos, accelerator.num_processes),
        caption_dropout=config.data.caption_dropout,
    )
