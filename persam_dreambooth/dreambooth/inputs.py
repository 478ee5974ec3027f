"""What a run starts from, read and checked before anything is written: album, model, device and trackers."""

from pathlib import Path

from accelerate import Accelerator, DistributedType

from persam_dreambooth.diffusion.captions import Album, read_dataset, read_folder
from persam_dreambooth.diffusion.geometry import Geometry, check_sizes
from persam_dreambooth.diffusion.hub import check_hub
from persam_dreambooth.diffusion.model_folders import PIPELINE_INDEX
from persam_dreambooth.diffusion.models import Models, load_models, prompt_ids
from persam_dreambooth.diffusion.trackers import chosen_trackers
from persam_dreambooth.diffusion.training import build_accelerator
from persam_dreambooth.diffusion.zero import check_zero, zero_stage
from persam_dreambooth.dreambooth.measuring import check_measuring
from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import sample_images
from persam_dreambooth.run import STAGES_FILE, RunFolder
from persam_dreambooth.settings import Config, DataConfig

_SPLIT = (DistributedType.FSDP, DistributedType.MEGATRON_LM)


def read_album(data: DataConfig) -> Album:
    """Return the photos of the subject, and what each is called.

    Raises:
        UserError: there are none, or one cannot be read.
    """
    if data.dataset_name is None:
        return read_folder(data.instance_data_dir or sample_images(), data.instance_prompt)
    return read_dataset(
        data.dataset_name,
        image_column=data.image_column,
        caption_column=data.caption_column,
        instance_prompt=data.instance_prompt,
    )


def run_folder(config: Config) -> RunFolder:
    """Return the folder of the run, once it is known that no other model lies in it.

    Raises:
        UserError: it cannot be written to, or holds the base model or a model that no run here has made.
    """
    run = RunFolder(config.output_dir)
    base = Path(config.model.pretrained_model_name_or_path).expanduser()
    if base.is_dir() and base.resolve() == run.path.resolve():
        raise UserError(
            f"--output_dir {run.path}: the folder of --pretrained_model_name_or_path; results would "
            "overwrite the base model. Name another one."
        )
    if (run.path / PIPELINE_INDEX).exists() and not (run.path / STAGES_FILE).exists():
        raise UserError(
            f"--output_dir {run.path}: holds a model that another program has written ({PIPELINE_INDEX}); "
            "results would overwrite it. Name another folder."
        )
    return run


def accelerator_for(config: Config, run: RunFolder) -> Accelerator:
    """Return accelerate's view of device, precision and processes, with the trackers that are wanted.

    Raises:
        UserError: the precision does not suit the device, a tracker is not installed, or accelerate is set up
            to split weights over processes.
    """
    trackers, word = chosen_trackers(config.results.report_to)
    logs = run.path / config.results.logging_dir
    accelerator = build_accelerator(config.mixed_precision, log_with=trackers or None, project_dir=logs)
    check_whole(accelerator.distributed_type)
    check_zero(zero_stage(accelerator), accelerator.mixed_precision, config.train)
    if word:
        accelerator.print(word)
    return accelerator


def check_whole(distributed: DistributedType) -> None:
    """Raise UserError where processes would hold parts of the weights: checkpoints and results are whole."""
    if distributed in _SPLIT:
        raise UserError(
            f"accelerate's settings: {distributed.value} splits weights over processes; here they are whole "
            "in each. Run `accelerate config` without it, or with DeepSpeed's ZeRO stage 2, which splits "
            "moments; --use_lora, --use_8bit_adam and --gradient_checkpointing save more than it would."
        )


def load(config: Config) -> Models:
    """Return the model that the settings name."""
    named = config.model
    return load_models(
        named.pretrained_model_name_or_path,
        revision=named.revision,
        variant=named.variant,
        vae=named.pretrained_vae_model_name_or_path,
        tokenizer=named.tokenizer_name,
        edm=config.train.do_edm_style_training,
    )


def check(models: Models, config: Config, album: Album) -> Geometry:
    """Return how rectangles are taken from photos, once all that is asked for is known to be possible.

    Raises:
        UserError: a prompt is longer than the text encoder allows, the VAE cannot take the resolution, the
            model knows no such weighting, nothing can be uploaded to the hub, or what measuring needs is
            missing.
    """
    if config.results.push_to_hub:
        check_hub(config.results.hub_token)
    check_measuring(album.photos, config.measures)
    prompts = {
        "--class_prompt": config.data.class_prompt,
        "--validation_prompt": config.validation.validation_prompt,
        "--final_validation_prompt": config.validation.final_validation_prompt,
        **{caption.source: caption.text for caption in album.captions},
    }
    for flag, prompt in prompts.items():
        if prompt is not None:
            prompt_ids(models.tokenizers, prompt, flag)
    if models.edm and config.train.snr_gamma is not None:
        raise UserError(
            f"--snr_gamma {config.train.snr_gamma}: not with {models.name_or_path}, which is trained in EDM "
            "style and has a weighting of its own. Drop it."
        )
    geometry = Geometry(
        resolution=config.data.resolution or models.default_resolution,
        center_crop=config.data.center_crop,
        random_flip=config.data.random_flip,
        seed=config.seed,
        interpolation=config.data.image_interpolation_mode,
        buckets=config.data.buckets or (),
    )
    check_sizes(geometry, models.vae_scale_factor)
    return geometry
