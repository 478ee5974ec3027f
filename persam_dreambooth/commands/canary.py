"""`persam-dreambooth canary`: does a training learn a background that was drawn by lot?"""

from typing import Annotated

import tyro

from persam_dreambooth.config import parse
from persam_dreambooth.errors import UserError

Flags = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="-- FLAGS")]


def canary(flags: Flags = (), /, *, draws: int = 1) -> None:
    """Put the subject of every photo in front of a place drawn by lot, train, and see whether it was learnt.

    Each draw is a training of its own, with all of its steps; no model is kept. Draws that are in the
    --output_dir already, of the same settings, are read. Plain training needs masks as well, to put the
    subject elsewhere: --measure_masks with --background_advantage_steps.

    Args:
        flags: Those of train_dreambooth.py for the training in question.
        draws: Trainings, each with a place of its own. One can show no more than 1 in 20, two 1 in 400.
    """
    if draws < 1:
        raise UserError(f"--draws {draws}: out of range; at least 1 is needed.")
    config = parse(list(flags), prog="persam-dreambooth canary --")
    from persam_dreambooth.leakage.canary_run import RECORD_FILE, run_canary
    from persam_dreambooth.run import RunFolder

    run = RunFolder(config.output_dir)
    result = run_canary(config, run, num_draws=draws)
    for draw in result["draws"]:
        step, value, low, high, rank = draw["advantage"][-1]
        print(
            f"draw {draw['draw'] + 1}: place {draw['place']} behind the photos; after {step} steps its "
            f"background learning advantage is {value:+.3f} (other places {low:+.3f} to {high:+.3f}), "
            f"rank {rank} of {result['places']}"
        )
    print(result["text"])
    print(f"canary: {run.path / RECORD_FILE}")
