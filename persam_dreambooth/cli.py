"""The command `persam-dreambooth`: each stage by itself, and the demonstration.

Training is a script, train_dreambooth.py, because `accelerate launch` starts scripts. Torch and the model
libraries are imported inside the commands, so that `--help` answers at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from persam_dreambooth import __version__
from persam_dreambooth.errors import UserError, user_errors
from persam_dreambooth.run import PIPELINE_FOLDER, check_writable

_DESCRIPTION = "The stages of a masked DreamBooth run, each by itself. To train, use train_dreambooth.py."

app = tyro.extras.SubcommandApp()


@app.command
def segment(
    *,
    photos: Path,
    out: Path,
    reference_mask: Path | None = None,
    sam: str = "toy",
    method: Literal["persam-f", "persam_f", "persam"] = "persam-f",
    device: str = "cpu",
) -> None:
    """Find the subject in every photo of a folder: a mask each, masks.json and a contact sheet.

    Args:
        photos: Folder with the photos of one subject.
        out: Folder for the results.
        reference_mask: Mask of the subject in one photo; without it, a file like 00.mask.png beside 00.jpg.
        sam: Segment Anything model: "toy" (embedded), a transformers folder, or a hub id.
        method: persam-f fits how to combine SAM's three masks on the reference; persam takes SAM's best.
        device: Where SAM runs, for example "cuda".
    """
    from persam_dreambooth.masks.stage import find_masks
    from persam_dreambooth.photos import read_photos

    check_writable(out, "--out")
    masks = find_masks(
        read_photos(photos),
        reference_mask=reference_mask,
        sam=sam,
        method=method.replace("-", "_"),
        out_dir=out,
        device=device,
    )
    for stem, found in masks.items():
        print(f"{stem}: {found.source}, {found.area_fraction:.1%} of the photo")
    print(f"masks, masks.json and contact_sheet.png are in {out}")


@app.command
def generate(
    *,
    model: str,
    prompts: tuple[str, ...],
    out: Path,
    seeds: tuple[int, ...] = (0, 1, 2, 3),
    lora: Path | None = None,
    num_inference_steps: int = 25,
    guidance_scale: float = 7.5,
    device: str = "cpu",
) -> None:
    """Draw prompts with a trained model: the same seed starts from the same noise, whatever the model.

    Args:
        model: A run's --output_dir, a Stable Diffusion folder in diffusers' format, a hub id, or "toy".
        prompts: What to draw.
        out: Folder for the results.
        seeds: Each prompt is drawn once with each.
        lora: Adapters trained with --use_lora: the file, or the folder it is in.
        num_inference_steps: Denoising steps of a picture.
        guidance_scale: Classifier-free guidance; 1 switches it off.
        device: Where to draw, for example "cuda".
    """
    from tqdm import tqdm

    from persam_dreambooth.diffusion.generate import GRID_FILE
    from persam_dreambooth.diffusion.generate import generate as draw
    from persam_dreambooth.diffusion.models import build_pipeline, load_models, quiet

    check_writable(out, "--out")
    if lora is not None and not lora.exists():
        raise UserError(f"--lora {lora}: no such file; what --use_lora wrote is needed.")
    trained = Path(model) / PIPELINE_FOLDER
    pipeline = build_pipeline(load_models(str(trained) if trained.is_dir() else model), device=device)
    if lora is not None:
        with quiet():
            pipeline.load_lora_weights(lora)
    with tqdm(total=len(prompts) * len(seeds), desc="pictures", unit="picture", disable=None) as bar:
        draw(
            pipeline,
            prompts,
            seeds,
            out_dir=out,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            on_drawn=bar.update,
        )
    print(f"pictures: {out / GRID_FILE}")


@app.command
def demo(
    *, output_dir: Path = Path("output/demo"), sample: Literal["cat", "robot"] = "cat", seed: int = 0
) -> None:
    """Show the whole idea on the embedded models: base, plain and masked, and how much background leaked.

    Args:
        output_dir: Folder for the report and everything it is made from.
        sample: Which of the sample subjects.
        seed: Of both trainings; other seeds show how much the numbers vary.
    """
    from persam_dreambooth.demo import main as show

    show(output_dir, sample=sample, seed=seed)


@app.command
def version() -> None:
    """Print the version."""
    print(__version__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; see `persam-dreambooth --help`."""
    with user_errors():
        app.cli(args=argv, prog="persam-dreambooth", use_underscores=True, description=_DESCRIPTION)
