"""`persam-dreambooth check`: a report.json against limits, for CI."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from persam_dreambooth.errors import UserError, did_you_mean


def check(
    file: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    max_excess: float | None = 0.05,
    min_fidelity: float | None = -0.05,
    arm: str | None = None,
) -> None:
    """Say whether a model leaks too much or lost the subject: exit code 1 on a breach, 2 when undecided.

    A limit is kept, or broken, where the whole interval says so; else it is undecided. Every line begins with
    `ok`, `breach` or `undecided`; what begins with `error` says that the file or a flag cannot be used.

    Args:
        file: The report.json.
        max_excess: Most excess over the base model, as a share of the background; None asks for nothing.
        min_fidelity: Least difference of likeness from the model it is compared with; None asks for nothing.
        arm: The model; without it, the one that the report is about.
    """
    from persam_dreambooth.leakage.claim import check as hold_against
    from persam_dreambooth.leakage.report import read_report

    result = read_report(file)
    if arm is not None and arm not in result["arms"]:
        raise UserError(
            f"--arm {arm}: not in {file}; one of {', '.join(result['arms'])} is needed."
            f"{did_you_mean(arm, result['arms'])}"
        )
    found = hold_against(result, max_excess=max_excess, min_fidelity=min_fidelity, arm=arm)
    for item in found:
        print(f"{item.state}: {item.text}")
    states = {item.state for item in found}
    if "breach" in states:
        sys.exit(1)
    if "undecided" in states:
        sys.exit(2)
