"""The benchmark of presence: its kinds of pictures are what they are called, and its table by hand."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from persam_dreambooth.diffusion.generate import PROMPTS_FILE

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from leakbench_plan import toy_subjects
from subject_presence import ABSENT, KINDS, NUM_BASE, NUM_TESTED, Told, from_leakbench, rendered, table

SIDE = 32


def test_the_kinds_of_pictures():
    (dog,) = toy_subjects(["dog"])
    pictures = rendered(dog, lambda pixels: pixels, SIDE)
    drawn_by_models = {"tuned, class seen", "tuned, not seen"}
    assert set(pictures) == {"base", "empty", *KINDS} - drawn_by_models
    assert len(pictures["base"]) == NUM_BASE
    assert all(len(pictures[kind]) == NUM_TESTED for kind in ("class", *ABSENT, "faded"))
    assert {one.shape for own in pictures.values() for one in own} == {(SIDE, SIDE, 3)}
    assert {one.dtype for own in pictures.values() for one in own} == {np.dtype(np.uint8)}
    # What draws the line is not what is counted.
    for known, counted in (("base", "class"), ("empty", "places")):
        seen = {one.tobytes() for one in pictures[known]}
        assert not seen & {one.tobytes() for one in pictures[counted]}
    whole, gone, faint = (pictures[kind][0].astype(float) for kind in ("class", "erased", "faded"))
    changed = np.abs(whole - gone)
    assert changed.max() > 50
    assert np.abs(faint - (0.25 * whole + 0.75 * gone)).max() <= 1


def test_the_table_by_hand():
    told = [
        Told("dog", "class", 0.8, True),
        Told("cat", "class", 0.6, False),
        Told("dog", "places", 0.6, False),
        Told("cat", "places", 0.2, False),
    ]
    lines = table(told).splitlines()
    assert lines[2] == "| class | 2 | 50.0% | 0% to 100% | 0.60, 0.70, 0.80 | – |"
    # Of four pairs three are in order, and one is a tie.
    assert lines[3] == "| places | 2 | 100.0% | 100% to 100% | 0.20, 0.40, 0.60 | 0.88 |"
    assert len(lines) == 4


def test_only_complete_folders_of_a_leakbench_count(tmp_path):
    (dog,) = toy_subjects(["dog"])
    picture = np.zeros((64, 64, 3), np.uint8)
    for place, complete in (("base/dog", True), ("decoys", True), ("runs/dog/plain-0/step-000050", False)):
        (tmp_path / place).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(picture).save(tmp_path / place / f"00_{number}.png")
        if complete:
            (tmp_path / place / PROMPTS_FILE).write_text("{}")
    found = from_leakbench(tmp_path, dog)
    assert {kind: len(own) for kind, own in found.items()} == {
        "base": 2,
        "empty": 1,
        "places": 1,
        "tuned, class seen": 0,
        "tuned, not seen": 0,
    }
