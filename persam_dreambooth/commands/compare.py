"""`persam-dreambooth compare`: what trained models draw, against the model before training."""

from pathlib import Path
from typing import Annotated

import tyro

from persam_dreambooth.run import check_writable
from persam_dreambooth.settings.comparison import DrawingChoice, Material, ModelChoice

# A record that cannot change: one for all calls.
_DRAWING = DrawingChoice()


def compare(
    *,
    choice: Annotated[ModelChoice, tyro.conf.arg(name="")],
    material: Annotated[Material, tyro.conf.arg(name="")],
    drawing: Annotated[DrawingChoice, tyro.conf.arg(name="")] = _DRAWING,
    out: Path = Path("output/comparison"),
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Draw the same prompts with several models from the same noise, and measure what of the photos leaked.

    Writes report.json, report.html and every picture; run again, it goes on where it stopped.

    Args:
        choice: Which models.
        material: Photos and what they are held against.
        drawing: How many pictures, and how.
        out: Folder for the results.
        device: Where models run, for example "cuda".
        json: Print report.json instead of the table.
    """
    check_writable(out, "--out")
    if drawing.base_pictures is not None:
        check_writable(drawing.base_pictures, "--base_pictures")
    from persam_dreambooth.commands.told import command_line, tell
    from persam_dreambooth.devices import device_named
    from persam_dreambooth.leakage.planning import build_plan
    from persam_dreambooth.leakage.stages import run

    device_named(device)
    plan = build_plan(choice, material, drawing, out=out, device=device)
    result, page = run(
        plan,
        settings={
            "preset": drawing.preset,
            "num_inference_steps": drawing.num_inference_steps,
            "guidance_scale": drawing.guidance_scale,
            "vae_round_trip": drawing.vae_round_trip,
            "scene_judge": drawing.scene_judge,
        },
        commands=[command_line()],
    )
    tell(result, page, as_json=json)
