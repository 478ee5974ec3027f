"""What must hold of the attribution on every kind of data, or it does not measure what it says."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

SMALLEST_RHO = 0.6
LARGEST_REPEAT = 0.02


@dataclass(frozen=True)
class Gate:
    """A condition, what was found, and whether it holds."""

    name: str
    condition: str
    found: str
    passed: bool

    def record(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


def gates(attribution: dict[str, Any], chance: float) -> list[Gate]:
    """Return the conditions, each with what was found.

    Args:
        attribution: the outcome of that score, from `outcomes.outcome`.
        chance: share of cells that are attributed to the photos where nothing leaks, 1 / (K + 1).
    """
    base, paste = attribution["base"], attribution["modes"]["paste"]
    found = {0.0: base} | {float(level): told["mean"] for level, told in paste["levels"].items()}
    means = [found[level] for level in (0.0, 0.25, 0.5) if level in found]
    again, benign = attribution["harmless"]["again"], attribution["harmless"].get("benign")
    rising = all(low < high for low, high in pairwise(means))
    told = [
        Gate(
            "rises with the share that is pasted",
            f"mean Spearman correlation at least {SMALLEST_RHO}",
            f"{paste['rho']:.2f}",
            paste["rho"] >= SMALLEST_RHO,
        ),
        Gate(
            "is near chance where nothing leaks",
            f"mean of base pictures at most {2 * chance:.3f}, twice the chance",
            f"{base:.3f}",
            0 <= base <= 2 * chance,
        ),
        Gate(
            "does not depend on the noise",
            f"mean change of a picture noised anew below {LARGEST_REPEAT}",
            f"{again['change']:+.4f}",
            abs(again["change"]) < LARGEST_REPEAT,
        ),
        Gate(
            "means rise with the level",
            "paste 0.5 > 0.25 > 0",
            " < ".join(f"{mean:.3f}" for mean in means),
            rising,
        ),
    ]
    if benign:
        told.append(
            Gate(
                "is blind to foreign backgrounds",
                "the interval of the mean change covers 0",
                f"{benign['change']:+.4f} [{benign['low']:+.4f}, {benign['high']:+.4f}]",
                benign["low"] <= 0 <= benign["high"],
            )
        )
    return told
