"""`persam-dreambooth score`: the same measures for pictures that were made elsewhere."""

from pathlib import Path
from typing import Annotated

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.run import check_writable
from persam_dreambooth.settings.comparison import Material


def score(
    *,
    material: Annotated[Material, tyro.conf.arg(name="")],
    pictures: Path | None = None,
    manifest: Path | None = None,
    minus: str | None = None,
    out: Path = Path("output/score"),
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Measure what of the photos leaked into pictures that any program drew; needs no diffusion model.

    Pictures lie in a folder for each model, `base` for the one before training, and are named
    `prompt_seed.png`; or a manifest says what they are: CSV or JSON with arm, file, prompt, seed and, if
    wanted, family and step.

    Args:
        material: Photos and what they are held against; --decoys is needed here.
        pictures: Folder with a folder for each model; this or --manifest is needed.
        manifest: CSV or JSON file that lists the pictures, instead.
        minus: Name of the model that the others are compared with; without it, "plain", or the first.
        out: Folder for report.json and report.html.
        device: Where SAM and the features run, for example "cuda".
        json: Print report.json instead of the table.
    """
    if material.decoys is None:
        raise UserError(
            "--decoys: not given; a folder with pictures of other places, without the subject, is needed: "
            "best drawn by the same base model."
        )
    if material.features == "dift":
        raise UserError(
            "--features dift: read from a base model, which this command does not load; others are needed. "
            "Use `compare`, or take efficientnet."
        )
    if (pictures is None) == (manifest is None):
        both = (
            "not given, nor --manifest" if manifest is None else f"given together with --manifest {manifest}"
        )
        raise UserError(
            f"--pictures{'' if pictures is None else f' {pictures}'}: {both}; one of the two is needed: a "
            "folder with a folder of pictures for each model, or a file that lists them."
        )
    check_writable(out, "--out")
    from persam_dreambooth.commands.told import command_line, tell
    from persam_dreambooth.devices import device_named
    from persam_dreambooth.leakage.scoring import score_pictures

    device_named(device)
    result, page = score_pictures(
        material,
        pictures or Path(),
        manifest,
        minus=minus,
        out=out,
        device=device,
        commands=[command_line()],
    )
    tell(result, page, as_json=json)
