"""A validation in a few lines of text."""

from typing import Any

from persam_dreambooth.leakage.validation.plan import LEAKS

_HEADER = f"{'':14}{'':10}" + "".join(f"{mode:>9}" for mode in LEAKS)


def table(result: dict[str, Any]) -> str:
    """Return what a validation found, for a terminal.

    Args:
        result: from `protocol.validate`.
    """
    features, banks = result["features"], result["banks"]
    lines = [
        f"features {features['name']} ({features['num_features']} numbers a cell), {banks['num']} decoy "
        f"banks of {banks['size']} cells, chance {banks['chance']:.3f}",
        f"{result['num_pictures']} pictures: {result['data']}",
        "",
        _HEADER + "    false alarms",
    ]
    for name, found in result["scores"].items():
        lines += _score_lines(name, found)
    lines += ["", *(f"{'ok  ' if gate['passed'] else 'FAIL'} {_said(gate)}" for gate in result["gates"])]
    return "\n".join(lines)


def _score_lines(name: str, found: dict[str, Any]) -> list[str]:
    """Return the lines of one score: how it answers, how panels rank, and from which level it is found."""
    modes = found["modes"]
    alarms = found["false_alarms"]["benign"]
    told = f"{alarms['count']:>10} of {alarms['tests']}" if alarms else ""

    def row(key: str, label: str, title: str = "") -> str:
        return f"{title:14}{label:10}" + "".join(f"{_number(modes.get(mode), key):>9}" for mode in LEAKS)

    return [
        row("rho", "rho", name) + told,
        row("ranking", "ranking"),
        row("smallest_share", "found at"),
    ]


def _number(response: dict[str, Any] | None, key: str) -> str:
    """Return a number of one mode: "-" where it was not looked at, "none" where no level is enough."""
    if response is None:
        return "-"
    value = response[key]
    return "none" if value is None else f"{value:.2f}"


def _said(gate: dict[str, Any]) -> str:
    """Return a gate in one line."""
    return f"{gate['name']}: {gate['found']} ({gate['condition']})"
