"""The toy world: plain training learns the room; one that is not shown it does not; masks found again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth import dreambooth
from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.background_swaps import elsewhere
from persam_dreambooth.diffusion.captions import read_folder
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.leakage.canary_run import one_draw, prepare
from persam_dreambooth.photos import sample_images, write_mask
from persam_dreambooth.run import RunFolder
from persam_dreambooth.toyworld.backgrounds import BACKGROUNDS
from persam_dreambooth.toyworld.samples import SAMPLES, photos_of
from persam_dreambooth.toyworld.scene import render

NUM_PLACES = 6


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Two photos of the sample cat with exact masks, beside them and in a folder of their own."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "masks").mkdir()
    for number, scene in enumerate(photos_of(SAMPLES["cat"])[:2]):
        Image.fromarray(scene.image).save(folder / f"{number:02d}.png")
        write_mask(folder / f"{number:02d}.mask.png", scene.mask)
        write_mask(folder / "masks" / f"{number:02d}.png", scene.mask)
    return folder


def places(count: int, room: int = 500) -> list[np.ndarray]:
    return [render(None, kind, seed=room, room=room, size=128).image for kind in BACKGROUNDS[:count]]


def advantage(album: Path, out: Path, *ways: str) -> list[float]:
    """Step, advantage, least and greatest of the others, rank, after twelve steps in front of one place."""
    flags = ["--instance_data_dir", str(album), "--output_dir", str(out), "--outside_prior_weight", "0"]
    flags += ["--max_train_steps", "12", "--background_advantage_steps", "12"]
    config = parse(["--config", "configs/toy.yaml", *flags, *ways])
    run = RunFolder(out)
    return one_draw(prepare(config, run, places(NUM_PLACES)), run, 0)["advantage"][-1]


@pytest.mark.slow
def test_plain_training_learns_the_place_and_one_that_is_not_shown_it_does_not(album, tmp_path):
    _, plain, _, highest, rank = advantage(album, tmp_path / "plain", "--measure_masks", str(album / "masks"))
    assert rank == 1
    assert plain > 2 * highest > 0
    _, strict, *_ = advantage(album, tmp_path / "strict", "--use_persam", "--background", "random")
    assert strict < plain / 2


@pytest.mark.slow
def test_masks_found_again_in_front_of_other_places_are_nearly_the_same(tmp_path):
    # The one way in that strict training leaves: masks are found by looking at the background too.
    config = parse(["--config", "configs/toy.yaml", "--use_persam"])
    album = read_folder(sample_images("cat"), config.data.instance_prompt)

    def found(photos, name: str) -> dict:
        return dreambooth.find_subject(
            photos, config, RunFolder(tmp_path / name), load_models("toy"), latent_side=16, device="cpu"
        )

    true = found(album.photos, "true")
    reference, *others = album.photos
    decoys = places(len(others))
    moved = [
        elsewhere(photo, true[photo.stem].mask, place) for photo, place in zip(others, decoys, strict=True)
    ]
    # Under a digest of their own: they are other photos to the mask stage.
    moved = [dataclasses.replace(photo, digest=f"{photo.digest}-moved") for photo in moved]
    again = found([reference, *moved], "moved")
    overlaps = []
    for photo in others:
        one = true[photo.stem].mask
        other = again[photo.stem].mask if photo.stem in again else np.zeros_like(one)
        overlaps.append((one & other).sum() / (one | other).sum())
    assert np.mean(overlaps) > 0.8, overlaps
