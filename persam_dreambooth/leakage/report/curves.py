"""What was logged in training, as SVG: the loss, and how well the network knows the photos' backgrounds."""

import math
from collections.abc import Callable, Mapping, Sequence

from persam_dreambooth.leakage.report.charts import svg
from persam_dreambooth.leakage.report.looks import Look, marker
from persam_dreambooth.leakage.report.scales import MAX_GAPS, Axis, round_ticks, round_up

SIZE = (560.0, 260.0)
MAX_POINTS = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 12.0, 48.0

Curve = Sequence[tuple[int, float]]
Band = Sequence[tuple[int, float, float, float]]


def loss_chart(losses: Mapping[str, Curve], looks: Mapping[str, Look]) -> str:
    """Return the training losses: each step's pale, and their running mean over a twentieth of the run.

    Args:
        losses: (step, loss) by arm; at least one arm with at least one step.
        looks: of the arms.
    """
    curves = {arm: (points, running_mean(points)) for arm, points in losses.items() if points}
    # Single steps may be far out: the scale follows the smoothed curves and most of the others.
    values = sorted(loss for points, _ in curves.values() for _, loss in points)
    ceiling = max(
        values[int(0.98 * (len(values) - 1))], *(loss for _, mean in curves.values() for _, loss in mean)
    )
    across = _steps(step for points, _ in curves.values() for step, _ in points)
    top = round_up(ceiling or 1.0)
    up = Axis(tuple(top * number / 4 for number in range(5)), SIZE[1] - _BOTTOM, _TOP)
    parts = _frame(across, up, lambda value: f"{value:.2g}")
    for arm, (points, mean) in curves.items():
        for name, curve in (("raw", points), ("mean", mean)):
            line = _line(thinned(curve), across, up)
            parts.append(f'<polyline class="{name} {looks[arm].css}" points="{line}"/>')
    parts += [_end(mean[-1], across, up, looks[arm]) for arm, (_, mean) in curves.items()]
    told = "; ".join(f"{arm} {mean[0][1]:.3g} to {mean[-1][1]:.3g}" for arm, (_, mean) in curves.items())
    return svg(SIZE, f"Training loss over steps (running mean): {told}", parts)


def advantage_chart(advantages: Mapping[str, Band], looks: Mapping[str, Look]) -> str:
    """Return the background learning advantage over the steps, each arm's with the band of its decoys.

    Args:
        advantages: (step, value, low, high) by arm, low and high of the decoys; at least one entry.
        looks: of the arms.
    """
    curves = {arm: points for arm, points in advantages.items() if points}
    across = _steps(point[0] for points in curves.values() for point in points)
    values = [value for points in curves.values() for point in points for value in point[1:]]
    up = Axis(round_ticks(values, least=0.01), SIZE[1] - _BOTTOM, _TOP)
    parts = _frame(across, up, lambda value: f"{100 * value:.2g} %".replace("-", "−"))
    zero = up.place(0.0)
    parts.append(f'<line class="zero" x1="{_LEFT:g}" x2="{across.end:g}" y1="{zero:g}" y2="{zero:g}"/>')
    for arm, points in curves.items():
        low = _line([(point[0], point[2]) for point in reversed(points)], across, up)
        high = _line([(point[0], point[3]) for point in points], across, up)
        parts.append(f'<polygon class="band {looks[arm].css}" points="{high} {low}"/>')
    for arm, points in curves.items():
        own = [(point[0], point[1]) for point in points]
        parts.append(f'<polyline class="mean {looks[arm].css}" points="{_line(own, across, up)}"/>')
        parts += [_end(point, across, up, looks[arm]) for point in own]
    told = "; ".join(
        f"{arm} {100 * points[-1][1]:.1f} % at step {points[-1][0]}, decoys "
        f"{100 * points[-1][2]:.1f} to {100 * points[-1][3]:.1f} %"
        for arm, points in curves.items()
    )
    return svg(SIZE, f"Background learning advantage over steps: {told.replace('-', '−')}", parts)


def running_mean(points: Curve) -> list[tuple[int, float]]:
    """Return the mean of each point and those before and after it, a twentieth of the run together."""
    half = max(1, len(points) // 40)
    smooth = []
    for number, (step, _) in enumerate(points):
        window = points[max(0, number - half) : number + half + 1]
        smooth.append((step, sum(loss for _, loss in window) / len(window)))
    return smooth


def thinned(points: Curve) -> list[tuple[int, float]]:
    """Return at most about MAX_POINTS of the points, the last one always."""
    stride = -(-len(points) // MAX_POINTS)
    return [*points[:-1:stride], points[-1]]


def _steps(steps: Sequence[int]) -> Axis:
    """Return the axis of the steps, from 0 to the last."""
    return Axis((0.0, float(max(1, *steps, 0))), _LEFT, SIZE[0] - _RIGHT)


def _frame(across: Axis, up: Axis, text: Callable[[float], str]) -> list[str]:
    """Return the lines and numbers of both axes."""
    parts = []
    for value in up.ticks:
        y = up.place(value)
        parts.append(f'<line class="grid" x1="{_LEFT:g}" x2="{across.end:g}" y1="{y:g}" y2="{y:g}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 8:g}" y="{y + 4:g}">{text(value)}</text>')
    # Steps are whole: a part of a short training is not written as a fraction.
    whole = sorted({math.floor(across.high * number / MAX_GAPS) for number in range(MAX_GAPS + 1)})
    for step in whole:
        x = across.place(step)
        parts.append(f'<text class="tick" x="{x:g}" y="{up.start + 22:g}">{step}</text>')
    parts.append(f'<text class="axis end" x="{across.end:g}" y="{SIZE[1] - 6:g}">optimizer step</text>')
    return parts


def _line(points: Curve, across: Axis, up: Axis) -> str:
    """Return the corners of a curve; what lies outside of the axis is drawn at its end."""
    return " ".join(
        f"{across.place(step):g},{up.place(min(max(value, up.low), up.high)):g}" for step, value in points
    )


def _end(point: tuple[int, float], across: Axis, up: Axis, look: Look) -> str:
    """Return an arm's mark on its curve."""
    return marker(look, across.place(point[0]), up.place(min(point[1], up.high)), 4)
