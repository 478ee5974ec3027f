"""The command `persam-dreambooth`: each stage by itself, and the demonstration.

Training is a script, train_dreambooth.py, because `accelerate launch` starts scripts. Torch and the model
libraries are imported inside the commands, so that `--help` answers at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from persam_dreambooth import __version__
from persam_dreambooth.commands.adapt_sam import adapt_sam
from persam_dreambooth.commands.canary import canary
from persam_dreambooth.commands.certify import certify
from persam_dreambooth.commands.check import check
from persam_dreambooth.commands.compare import compare
from persam_dreambooth.commands.diffseg import diffseg
from persam_dreambooth.commands.evaluate_masks import evaluate_masks
from persam_dreambooth.commands.export_masks import export_masks
from persam_dreambooth.commands.report import report
from persam_dreambooth.commands.score import score
from persam_dreambooth.commands.segment import segment
from persam_dreambooth.commands.validate import validate
from persam_dreambooth.commands.verify_export import verify_export
from persam_dreambooth.errors import UserError, user_errors
from persam_dreambooth.run import check_writable

_DESCRIPTION = "The stages of a masked DreamBooth run, each by itself. To train, use train_dreambooth.py."

app = tyro.extras.SubcommandApp()
app.command(segment)
app.command(export_masks, name="export-masks")
app.command(verify_export, name="verify-export")
app.command(evaluate_masks, name="evaluate-masks")
app.command(certify)
app.command(diffseg)
app.command(adapt_sam, name="adapt-sam")
app.command(canary)
app.command(compare)
app.command(score)
app.command(report)
app.command(check)
app.command(validate)


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

    from persam_dreambooth.devices import device_named
    from persam_dreambooth.diffusion.generate import GRID_FILE
    from persam_dreambooth.diffusion.generate import generate as draw
    from persam_dreambooth.diffusion.models import build_pipeline, load_models, quiet
    from persam_dreambooth.leakage.model_files import told_as

    check_writable(out, "--out")
    if lora is not None and not lora.exists():
        raise UserError(f"--lora {lora}: no such file; what --use_lora wrote is needed.")
    device = str(device_named(device))
    with told_as("--model"):
        models = load_models(model)
    pipeline = build_pipeline(models, device=device)
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
