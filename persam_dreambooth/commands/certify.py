"""`persam-dreambooth certify`: whether the background had any influence on what is trained."""

import sys
from typing import Annotated

import tyro

from persam_dreambooth.config import parse
from persam_dreambooth.errors import UserError

Flags = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="-- FLAGS")]


def certify(flags: Flags = (), /, *, steps: int = 3) -> None:
    """Train for a few steps, once more with noise as background, and compare the two bit by bit.

    certificate.json and certificate.txt are written to the training's --output_dir. The exit code is 1 where
    the background had an influence that --background should have kept out, or where that cannot be told.

    Args:
        flags: Those of train_dreambooth.py for the training in question.
        steps: Steps of each training.
    """
    if steps < 1:
        raise UserError(f"--steps {steps}: out of range; at least 1 is needed.")
    config = parse(list(flags), prog="persam-dreambooth certify --")
    from persam_dreambooth.dreambooth.certification import CERTIFICATE_FILE
    from persam_dreambooth.dreambooth.certification import certify as compare
    from persam_dreambooth.run import RunFolder

    run = RunFolder(config.output_dir)
    certificate = compare(config, run, steps=steps)
    print(certificate.text())
    print(f"certificate: {run.path / CERTIFICATE_FILE}")
    if not certificate.is_as_it_should_be:
        sys.exit(1)
