"""The picture of the training curves: what it reads from a log, and how it copes with logs as they are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.toy_curves import PANEL, charts_of, curve, loss_axis, read_log, sheet, step_axis

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "toy_curves.py"


def write_log(folder, lines, tail=""):
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    return folder


def loss_lines(number):
    return [{"step": 50 * (k + 1), "seconds": 60.0 * k, "loss": 1 / (k + 1)} for k in range(number)]


def test_an_iou_is_its_sum_over_its_count():
    lines = [{"step": 50, "iou_x": 0.12, "n_x": 0.2}, {"step": 100}, {"step": 150, "iou_x": 0.4, "n_x": 0.5}]
    drawn = curve(lines, "iou_x", "x")
    np.testing.assert_allclose(drawn.values, [0.6, 0.8])
    assert drawn.steps.tolist() == [50, 150]


def test_a_running_mean_weighs_lines_by_their_counts():
    # 80 lines: the mean runs over two lines on either side.
    lines = [{"step": k, "iou_x": 0.5 * (1 + k % 2), "n_x": 1 + k % 2} for k in range(80)]
    lines[40] = {"step": 40, "iou_x": 0.0, "n_x": 0.5}
    smooth = curve(lines, "iou_x", "x").smooth
    assert smooth[10] == pytest.approx(0.5)
    assert smooth[40] == pytest.approx((0.5 + 1 + 0 + 1 + 0.5) / (1 + 2 + 0.5 + 2 + 1))


def test_repeated_steps_count_once_and_a_half_written_line_not_at_all(tmp_path):
    lines = [{"step": 50, "loss": 3.0}, {"step": 100, "loss": 9.0}, {"step": 100, "loss": 2.0}]
    folder = write_log(tmp_path / "run", lines, tail='{"step": 150, "lo')
    assert read_log(folder / "log.jsonl") == [lines[0], lines[2]]


def test_axes_have_round_ticks_inside_their_range():
    steps = step_axis(4950)
    assert list(steps.ticks.values()) == ["0", "1,000", "2,000", "3,000", "4,000"]
    lines = loss_lines(20)
    axis = loss_axis([curve(lines, "loss", "loss")])
    assert list(axis.ticks.values()) == ["0.05", "0.1", "0.2", "0.5", "1"]
    assert axis.share(axis.low) == 0
    assert axis.share(10 * axis.high) == 1


def test_trainings_with_one_chart_share_a_row(tmp_path):
    one = charts_of(write_log(tmp_path / "vae", loss_lines(3)))
    lines = [{**line, "iou_second_round": 0.5} for line in loss_lines(3)]
    two = charts_of(write_log(tmp_path / "sam", lines))
    assert (len(one), len(two)) == (1, 2)
    assert sheet([one, two, one]).size == (2 * PANEL[0], 2 * PANEL[1])


def test_the_script_writes_a_picture(tmp_path):
    folder, out = write_log(tmp_path / "vae", loss_lines(3)), tmp_path / "new" / "curves.png"
    command = [sys.executable, str(SCRIPT), "--logs", str(folder), "--out", str(out)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == str(out)
    with Image.open(out) as picture:
        assert picture.size == PANEL
    command[3] = str(tmp_path)
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.strip().endswith("no log.jsonl in it; the folder of a training is needed")
