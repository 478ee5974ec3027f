"""Fine-tune a diffusion model on a few photos of one subject, with the subject's masks in the loss.

    accelerate launch train_dreambooth.py --use-persam
    accelerate launch train_dreambooth.py --config configs/sd15_lora.yaml --instance_data_dir PHOTOS

Photos, masks, latents, training, pictures: all that is made goes into --output_dir. Run the same command
again to go on where it stopped; what is there, made from the same inputs, is not made again.
"""

from collections.abc import Sequence

from persam_dreambooth.config import Config, parse
from persam_dreambooth.disk import tells_of_full_disk
from persam_dreambooth.errors import user_errors
from persam_dreambooth.settings import caption_hint, rate_hint, resolve_defaults
from persam_dreambooth.signals import interrupts


def train_dreambooth(config: Config) -> None:
    """Do what the settings say, from photos to pictures."""
    # Imported here, so that --help and a wrong flag are answered at once: torch and diffusers take seconds.
    from persam_dreambooth import dreambooth
    from persam_dreambooth.dreambooth import results

    run = dreambooth.run_folder(config)
    album = dreambooth.read_album(config.data)
    accelerator = dreambooth.accelerator_for(config, run)
    say, device = accelerator.print, str(accelerator.device)
    models = dreambooth.load(config)
    config = resolve_defaults(config, models.family.name)
    geometry = dreambooth.check(models, config, album)
    side, cache = geometry.resolution // models.vae_scale_factor, run.path / dreambooth.CACHE_FOLDER

    # With several processes the first one makes these, and the others read what it made.
    with accelerator.main_process_first():
        masks = dreambooth.find_subject(album.photos, config, run, models, latent_side=side, device=device)
        class_images = dreambooth.draw_class_images(models, config, run, device=device)
        places = dreambooth.find_decoys(models, config, run, device=device) if config.measures.wanted else ()
        found = dreambooth.with_masks(album, masks)
        examples = dreambooth.encode_examples(
            models,
            found,
            masks,
            class_images,
            geometry=geometry,
            config=config,
            device=device,
            cache_dir=cache,
        )
    dreambooth.write_record(run, config, accelerator, models, found.photos, masks, class_images)

    state = dreambooth.begin(models, examples, config, accelerator)
    background = dreambooth.background_of(config.masks)
    truth = dreambooth.truth(
        state, masks, background, num_photos=len(album.photos), num_captions=len(found.own_captions)
    )
    say(truth)
    seen = masks is None or background.mode == "keep"
    for hint in (
        rate_hint(config.train, sum(weight.numel() for weight in models.unet.parameters())),
        caption_hint(config.data, found.own_captions, background_seen=seen),
    ):
        if hint:
            say(hint)
    provenance = results.provenance_of(
        config,
        models,
        found.prompts,
        masks,
        num_class_images=len(class_images or ()),
        resolution=geometry.resolution,
        steps=state.max_train_steps,
        summary=truth,
    )
    watch = dreambooth.watch_background(
        models, found, masks, class_images, places, geometry=geometry, config=config
    )
    result = dreambooth.fit(state, models, run, config, provenance, watch)
    say(f"trained: {result}")
    if accelerator.is_main_process:
        trained = dreambooth.training_digest(state, config)
        grid = dreambooth.draw_samples(state, models, config.validation, run, trained)
        say(f"pictures: {grid}" if grid else "pictures: none, there is no --validation_prompt")
        say(f"card: {results.write_card(config, models, provenance, result)}")
    accelerator.end_training()
    if accelerator.is_main_process and config.results.push_to_hub:
        say(f"uploaded: {results.push(config, models, provenance, result)}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run from a command line; what its author can put right is answered in one line, with exit code 2."""
    with user_errors(), interrupts():
        config = parse(argv, prog="train_dreambooth.py")
        with tells_of_full_disk(config.output_dir, "results", lambda: "What is finished is kept. Make room."):
            train_dreambooth(config)


if __name__ == "__main__":
    main()
