"""`persam-dreambooth check`: a report.json against limits, for CI."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.settings.checks import between

_BASE = "base"


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
        max_excess: Most excess over the base model, as a share of the background: 0.05 is 5 points. None asks
            for nothing.
        min_fidelity: Least difference of likeness from the model it is compared with; None asks for nothing.
        arm: The model; without it, the one that the report is about.
    """
    for flag, value in (("max_excess", max_excess), ("min_fidelity", min_fidelity)):
        if value is not None:
            between(flag, value, -1, 1)
    if max_excess is None and min_fidelity is None:
        raise UserError("--max_excess None: nothing to check with --min_fidelity None; a limit is needed.")
    from persam_dreambooth.leakage.claim import check as hold_against
    from persam_dreambooth.leakage.report.reading import read_report

    result = read_report(file)
    arm = _chosen(result, file, arm, min_fidelity)
    found = hold_against(result, max_excess=max_excess, min_fidelity=min_fidelity, arm=arm)
    for item in found:
        print(f"{item.state}: {item.text}")
    states = {item.state for item in found}
    if "breach" in states:
        sys.exit(1)
    if "undecided" in states:
        sys.exit(2)


def _chosen(result: Mapping[str, Any], file: Path, arm: str | None, min_fidelity: float | None) -> str:
    """Return the model that is checked.

    Raises:
        UserError: there is none of this name, or nothing that it is compared with.
    """
    from persam_dreambooth.leakage.claim import main_difference

    tuned = [name for name in result["arms"] if name != _BASE]
    if not tuned:
        raise UserError(f"{file}: no pictures of a trained model; at least one is needed. Compare again.")
    if arm is not None and arm not in tuned:
        raise UserError(
            f"--arm {arm}: no trained model of {file}; one of {', '.join(tuned)} is needed."
            f"{did_you_mean(arm, tuned)}"
        )
    main = main_difference(result)
    arm = arm or (main["arm"] if main else tuned[0])
    if min_fidelity is not None and not any(found["arm"] == arm for found in result["differences"]):
        raise UserError(
            f"--min_fidelity {min_fidelity}: {arm} is compared with no other model in {file}; likeness is "
            "held against that of another. Add --min_fidelity None, or compare with one more --model."
        )
    return arm
