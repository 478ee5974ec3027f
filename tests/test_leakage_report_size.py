"""How much a page shows and weighs, however many pictures were measured."""

import time

import numpy as np
import pytest
from leakage_cases import comparison, disc
from report_cases import GRID, NASTY

from persam_dreambooth.leakage.report.material import MAX_PICTURES, Material, ShownPhoto, key_of, shots
from persam_dreambooth.leakage.report.page import page

PIXEL = np.zeros((8, 8, 3), np.uint8)


def rows_of(num_prompts, num_seeds, arms=("base", "plain", "masked")):
    """Rows of which those of later prompts leak more, in the trained arms."""
    return [
        {
            "arm": arm,
            "prompt": f"place {prompt:03d}",
            "seed": seed,
            "attribution": prompt / num_prompts if arm != "base" else 1 - prompt / num_prompts,
        }
        for arm in arms
        for prompt in range(num_prompts)
        for seed in range(num_seeds)
    ]


def shown(rows, most=MAX_PICTURES):
    return shots(rows, Material([], {key_of(row): PIXEL for row in rows}), most)


@pytest.mark.parametrize(
    ("prompts", "seeds", "count", "first"),
    [
        (10, 4, 120, 0),
        (25, 24, 25 * 3 * 8, 0),
        (100, 6, 900, 0),
        (150, 4, 900, 0),
        (600, 1, 900, 300),
    ],
)
def test_all_prompts_are_shown_by_fewer_seeds_and_else_those_that_leak_most(prompts, seeds, count, first):
    found = shown(rows_of(prompts, seeds))
    assert len(found) == count <= MAX_PICTURES
    assert {shot.prompt for shot in found} == {f"place {prompt:03d}" for prompt in range(first, prompts)}
    # Every arm shows the same.
    assert len({(shot.prompt, shot.seed) for shot in found}) == count // 3
    assert {shot.seed for shot in found} == set(range(count // 3 // (prompts - first)))


def test_no_room_shows_nothing():
    assert shown(rows_of(3, 1), 2) == []
    assert len(shown(rows_of(3, 1), 3)) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("num_prompts", "num_seeds"), [(25, 24), (150, 4), (600, 1)])
def test_three_arms_of_600_noisy_pictures_stay_below_15_mb(num_prompts, num_seeds):
    """The worst that a page can be made of: nothing compresses, and every second patch leaks."""
    prompts = tuple(f"a photo of sks cat on the shore of lake number {n} {NASTY}" for n in range(num_prompts))
    result = comparison(prompts=prompts, seeds=tuple(range(num_seeds)))
    rng = np.random.default_rng(0)
    for row in result["rows"]:
        cells = np.argwhere(rng.random(GRID) < 0.5)
        row["hits"] = [[*map(int, cell), 0, *map(int, cell), 0.912, 0.873, 0] for cell in cells]
        row["subject_cells"] = "".join(rng.choice(["0", "1"], 256))
    photos = [
        ShownPhoto(f"{n}.png", rng.integers(0, 256, (512, 512, 3), np.uint8), disc(512)) for n in range(5)
    ]
    result["inputs"]["photos"] = [{"file": "0.png", "own_attribution": 0.5, "grid": list(GRID)}] * len(photos)
    noise = rng.integers(0, 256, (60, 256, 256, 3), dtype=np.uint8)
    keys = [key_of(row) for row in result["rows"]]
    pictures = {key: noise[number % len(noise)] for number, key in enumerate(keys)}
    start = time.process_time()
    html = page(result, Material(photos, pictures))
    taken = time.process_time() - start
    assert len(html.encode()) < 15e6
    assert taken < 60, taken
    assert f"of {3 * num_prompts * num_seeds:,} pictures" in html
