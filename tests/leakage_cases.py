"""Drawn places with known textures, and comparisons whose numbers are known beforehand."""

import numpy as np

from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.summary import summarise

SIDE = 128
PROMPTS = ("on a beach", "in the snow", "in a forest", "in a city")
SEEDS = (0, 1)


def place(number: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Return a picture [side side 3] of a place: its two colours and its stripes are its own."""
    own = np.random.default_rng(number)
    colours = own.uniform(30, 225, (2, 3))
    angle, period = own.uniform(0, np.pi), own.uniform(8, 24)
    view = np.random.default_rng([number, seed])
    y, x = np.mgrid[:side, :side]
    phase = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period + view.uniform(0, 2 * np.pi)
    share = (np.sin(phase)[..., None] + 1) / 2
    pixels = colours[0] * share + colours[1] * (1 - share) + view.normal(0, 6, (side, side, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def disc(side: int = SIDE) -> np.ndarray:
    """Return the mask of a disc in the middle."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return x**2 + y**2 < (side / 5) ** 2


def with_subject(pixels: np.ndarray) -> np.ndarray:
    """Return a picture with the subject, a red disc, in its middle."""
    return np.where(disc(len(pixels))[..., None], np.array([210, 30, 40], np.uint8), pixels)


def photos(number: int, count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return photos of the subject at one place, and its masks."""
    return [(with_subject(place(number, seed)), disc()) for seed in range(count)]


def arm(backgrounds: dict[tuple[str, int], np.ndarray]) -> list[Picture]:
    """Return pictures of the subject in front of backgrounds given by prompt and seed."""
    return [
        Picture(prompt, prompt.split()[-1], seed, with_subject(pixels))
        for (prompt, seed), pixels in backgrounds.items()
    ]


def row(arm: str, prompt: str, seed: int, **measured) -> dict:
    """Return a row as the comparison makes it: by default a picture that is all right."""
    seen = {
        "predicted_background": prompt.split()[-1],
        "leak": False,
        "agreement": True,
        "subject": True,
        "trait_likeness": 0.8,
    }
    return {
        "arm": arm,
        "family": "recontext",
        "prompt": prompt,
        "background": prompt.split()[-1],
        "seed": seed,
        "step": None,
        "picture": None,
        "subject_found": True,
        "missing": False,
        "subject_fraction": 0.12,
        "grid": [16, 16],
        "subject_cells": "0" * 256,
        "num_background_cells": 200,
        "attribution": 0.05,
        "copy_rate": 0.01,
        "style_shift": 0.0,
        "max_cosine": 0.5,
        "likeness": 0.8,
        "likeness_raw": 0.6,
        "adherence": True,
        "contamination": None,
        "hits": [],
        **seen,
        **measured,
    }


def leaked(**measured) -> dict:
    """Return what is measured in a picture that shows the photos' room."""
    return {
        "predicted_background": "room",
        "leak": True,
        "agreement": False,
        "adherence": False,
        "attribution": 0.85,
        **measured,
    }


def comparison(
    plain: dict | None = None,
    masked: dict | None = None,
    *,
    plain_leaks: int = 6,
    masked_leaks: int = 0,
    prompts: tuple[str, ...] = PROMPTS,
    seeds: tuple[int, ...] = SEEDS,
    truth: bool = True,
) -> dict:
    """Return a comparison of three arms in which so many of each arm's pictures leak.

    Args:
        plain: what else every row of the plain arm holds.
        masked: what else every row of the masked arm holds.
        plain_leaks: how many of the plain arm's pictures leak, the first seeds of all prompts first.
        masked_leaks: the same for the masked arm.
        prompts: of every arm.
        seeds: of every prompt.
        truth: whether the rows say what only the classifier knows.
    """
    keys = [(prompt, seed) for seed in seeds for prompt in prompts]
    rows = [row("base", *key, likeness=0.0, trait_likeness=0.2) for key in keys]
    for name, number, extra in (("plain", plain_leaks, plain), ("masked", masked_leaks, masked)):
        for place_in_order, key in enumerate(keys):
            seen = leaked() if place_in_order < number else {}
            rows.append(row(name, *key, **{**seen, **(extra or {})}))
    if not truth:
        for one in rows:
            for name in ("predicted_background", "leak", "agreement", "subject", "trait_likeness"):
                del one[name]
    return summarise(rows, chance=0.05)
