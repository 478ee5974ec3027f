"""What the runs of LeakBench share: its folder, and a subject's photos, masks and pictures of the base model.

photos/<subject>/           the toy photos (those of a data set stay where they are)
masks/<subject>/            where PerSAM-F finds the subject in them
base/<subject>/             pictures of the model before training
decoys/                     places without any subject
class_images/<subject>/     for the arms that need them

Each is made once, by whoever holds the lock of its folder; the system lets go of that of a process that dies.
"""

import dataclasses
import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from leakbench_plan import ARMS, PHOTOS, Plan, Run, Subject
from PIL import Image

from persam_dreambooth import dreambooth
from persam_dreambooth.config import Config, parse
from persam_dreambooth.diffusion.captions import Album, read_folder
from persam_dreambooth.diffusion.generate import PROMPTS_FILE, generate
from persam_dreambooth.diffusion.models import Models, build_pipeline
from persam_dreambooth.diffusion.training import build_accelerator
from persam_dreambooth.files import write_text
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import write_mask
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.settings import resolve_defaults
from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.samples import PHOTO_SIZE
from persam_dreambooth.toyworld.scene import render

DECOY_SEEDS = (100, 101, 102, 103)
BATCH_SIZE = 8
"""Pictures drawn at a time."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where and on what the plan is run."""

    plan: Plan
    out: Path
    base: str = "toy"
    sam: str = "toy"
    photos: Path | None = None
    """Folder of a data set; None is the toy world."""
    decoy_prompts: tuple[str, ...] = tuple(
        f"a photo of {phrases[0].split(' ', 1)[1]}" for phrases in backgrounds.PHRASES.values()
    )
    """Places, without a subject."""

    def photos_of(self, subject: Subject) -> Path:
        """Return the folder of a subject's photos."""
        return (self.photos or self.out / "photos") / subject.name

    def run_folder(self, run: Run) -> Path:
        """Return the folder of a training."""
        return self.out / "runs" / run.name

    def step_folder(self, run: Run, step: int) -> Path:
        """Return the folder of the pictures after so many steps."""
        return self.run_folder(run) / f"step-{step:06d}"


def config_of(bench: Bench, subject: Subject, arm: str = "masked", seed: int = 0) -> Config:
    """Return the settings of one training."""
    of_base = [] if bench.base == "toy" else ["--pretrained_model_name_or_path", bench.base]
    return parse(
        [
            *of_base,
            *bench.plan.flags,
            *("--sam", bench.sam, "--seed", str(seed)),
            *("--instance_data_dir", str(bench.photos_of(subject))),
            *("--instance_prompt", subject.instance_prompt, "--class_prompt", subject.class_prompt),
            *("--class_data_dir", str(bench.out / "class_images" / subject.name)),
            *("--max_train_steps", str(bench.plan.steps[-1])),
            *("--output_dir", str(bench.out / "runs" / subject.name / f"{arm}-{seed}")),
            "--use_persam" if ARMS[arm].masks else "--no_use_persam",
            *ARMS[arm].flags,
        ]
    )


def prepare(bench: Bench, subject: Subject, models: Models) -> tuple[Album, dict[str, SubjectMask]]:
    """Make what all runs of a subject share; return the photos in which it is found, and the masks.

    Args:
        bench: the plan and its place.
        subject: whose.
        models: before training.
    """
    config = resolve_defaults(config_of(bench, subject), models.family.name)
    with locked(bench.out / "masks" / subject.name):
        if subject.group != PHOTOS:
            write_toy_photos(subject, bench.photos_of(subject))
        album = read_folder(bench.photos_of(subject), subject.instance_prompt)
        device = str(build_accelerator(config.mixed_precision).device)
        masks = find_masks(bench, subject, album, models, device=device)
        _draw_once(
            bench,
            models,
            config,
            list(dict.fromkeys(prompt.base_text for prompt in subject.prompts)),
            bench.out / "base" / subject.name,
            device,
        )
    with locked(bench.out / "decoys"):
        prompts, seeds = list(bench.decoy_prompts), DECOY_SEEDS
        _draw_once(bench, models, config, prompts, bench.out / "decoys", device, seeds)
    return dreambooth.with_masks(album, masks), masks


def find_masks(
    bench: Bench, subject: Subject, album: Album, models: Models, *, device: str
) -> dict[str, SubjectMask]:
    """Return the subject's mask in every photo in which it is found, by stem."""
    config = resolve_defaults(config_of(bench, subject), models.family.name)
    side = dreambooth.check(models, config, album).resolution // models.vae_scale_factor
    place = RunFolder(bench.out / "masks" / subject.name, "--out")
    return dreambooth.find_subject(album.photos, config, place, models, latent_side=side, device=device)


def write_toy_photos(subject: Subject, folder: Path) -> None:
    """Write a toy subject's photos, a caption beside each, and the first one's exact mask, unless there."""
    for number, (place, room) in enumerate(subject.scenes):
        path = folder / f"{number:02d}.png"
        if path.is_file():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        # A view of its own for each photo.
        scene = render(subject.noun, place, subject.identity, number + 1, room=room, size=PHOTO_SIZE)
        if number == 0:
            write_mask(folder / "00.mask.png", scene.mask)
        write_text(path.with_suffix(".txt"), f"{subject.instance_prompt} {backgrounds.PHRASES[place][0]}\n")
        Image.fromarray(scene.image).save(path)


def draw(
    bench: Bench,
    models: Models,
    config: Config,
    prompts: Sequence[str],
    folder: Path,
    device: str,
    seeds: Sequence[int] | None = None,
) -> None:
    """Draw prompts with every seed into a folder; without seeds, those of the plan."""
    pictures = config.validation
    generate(
        build_pipeline(models, scheduler=pictures.validation_scheduler, device=device),
        prompts,
        bench.plan.picture_seeds if seeds is None else seeds,
        out_dir=folder,
        num_inference_steps=pictures.num_inference_steps,
        guidance_scale=pictures.guidance_scale,
        batch_size=BATCH_SIZE,
    )


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a folder's lock inside; yield False where another process has it and there is no waiting."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _draw_once(
    bench: Bench,
    models: Models,
    config: Config,
    prompts: Sequence[str],
    folder: Path,
    device: str,
    seeds: Sequence[int] | None = None,
) -> None:
    """Draw with the untrained model, unless the pictures are there."""
    run = RunFolder(folder, "--out")
    digest = digest_of(
        prompts, seeds or bench.plan.picture_seeds, dataclasses.asdict(config.validation), bench.base
    )
    if not run.is_done("drawn", digest, [PROMPTS_FILE]):
        draw(bench, models, config, prompts, folder, device, seeds)
        run.mark_done("drawn", digest)
