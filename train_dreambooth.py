"""Fine-tune a diffusion model on a few photos of one subject, with the subject's masks in the loss.

    accelerate launch train_dreambooth.py --use-persam
    accelerate launch train_dreambooth.py --config configs/sd15_lora.yaml --instance_data_dir PHOTOS

Photos, masks, latents, training, pictures: all that is made goes into --output_dir. Run the same command
again to go on where it stopped; what is there, made from the same inputs, is not made again.
"""

from collections.abc import Sequence

from persam_dreambooth.config import Config, parse, to_yaml
from persam_dreambooth.errors import user_errors
from persam_dreambooth.run import RunFolder


def train_dreambooth(config: Config) -> None:
    """Do what the settings say, from photos to pictures."""
    # Imported here, so that --help and a wrong flag are answered at once: torch and diffusers take seconds.
    from persam_dreambooth import dreambooth
    from persam_dreambooth.diffusion.models import load_models
    from persam_dreambooth.diffusion.training import build_accelerator, start
    from persam_dreambooth.photos import read_photos, sample_images

    run = RunFolder(config.output_dir)
    photos = read_photos(config.data.instance_data_dir or sample_images())
    accelerator = build_accelerator(config.mixed_precision)
    device = str(accelerator.device)
    name = config.model.pretrained_model_name_or_path
    models = load_models(name, revision=config.model.revision, variant=config.model.variant)
    geometry = dreambooth.check(models, config)
    latent_side = geometry.resolution // models.vae_scale_factor

    # With several processes the first one makes these, and the others read what it made.
    with accelerator.main_process_first():
        masks = dreambooth.find_subject(
            photos, config.masks, run, sam=config.model.sam, latent_side=latent_side, device=device
        )
        class_images = dreambooth.draw_class_images(models, config.data, run, device=device)
    photos = dreambooth.with_masks(photos, masks)
    examples = dreambooth.encode_examples(
        models, photos, masks, class_images, geometry=geometry, config=config, device=device
    )
    accelerator.print(dreambooth.summary(masks, len(photos)))
    if accelerator.is_main_process:
        run.write_text("config.yaml", to_yaml(config))

    steps = config.train.steps(len(photos), accelerator.num_processes)
    state = start(
        models,
        examples,
        config.train,
        dreambooth.objective(config),
        accelerator=accelerator,
        max_train_steps=steps,
    )
    result = dreambooth.fit(
        state,
        models,
        run,
        checkpointing_steps=config.checkpointing_steps,
        checkpoints_total_limit=config.checkpoints_total_limit,
        resume_from_checkpoint=config.resume_from_checkpoint,
    )
    accelerator.print(f"trained: {result}")
    if accelerator.is_main_process:
        grid = dreambooth.draw_samples(models, config.validation, run, state=state)
        print(f"pictures: {grid}" if grid else "pictures: none, there is no --validation_prompt")
    accelerator.end_training()


def main(argv: Sequence[str] | None = None) -> None:
    """Run from a command line; what its author can put right is answered in one line, with exit code 2."""
    with user_errors():
        train_dreambooth(parse(argv, prog="train_dreambooth.py"))


if __name__ == "__main__":
    main()
