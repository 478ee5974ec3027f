"""Put trained models where the package looks for them, weights in fp16.

    python -m persam_dreambooth.toyworld.training.install --from_folder output/toyworld

What was there is replaced.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import SamModel

from persam_dreambooth.toyworld.classifier import FOLDER


def replace_folder(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def forget_origin(folder: Path) -> None:
    """Drop from the configs where on the training machine a model was loaded from."""
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    """Copy the pipeline, the SAM and the judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from_folder", type=Path, default=Path("output/toyworld"))
    parser.add_argument("--only", choices=["diffusion", "sam", "classifier"], default=None)
    args = parser.parse_args()
    models = FOLDER.parent
    if args.only in (None, "diffusion"):
        replace_folder(args.from_folder / "diffusion" / "model", models / "stable_diffusion")
    if args.only in (None, "classifier"):
        replace_folder(args.from_folder / "classifier" / "model", FOLDER)
    if args.only in (None, "sam"):
        shutil.rmtree(models / "sam", ignore_errors=True)
        SamModel.from_pretrained(args.from_folder / "sam" / "model").to(torch.float16).save_pretrained(
            models / "sam"
        )

    forget_origin(models)


if __name__ == "__main__":
    main()
