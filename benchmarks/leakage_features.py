"""The sets of features side by side: time, how far the subject's fill shows, how well they tell places apart.

    python benchmarks/leakage_features.py                   # the toy's networks, EfficientNet, a DINOv2-S
    python benchmarks/leakage_features.py --real_sizes      # and CLIP-L, SAM ViT-B and Stable Diffusion 1.5
    python benchmarks/leakage_features.py --albums PHOTOS   # folders with NN.jpg beside NN.mask.png

Time: a picture of 512 x 512 px with a subject, one thread, the fastest of a few. What weights are does not
matter for it: DINOv2 and the real sizes have random ones, and take part in nothing else.
Fill: pictures of which a disc was cut out and filled, against the same pictures whole: how much the cells 1,
2, 3 and 4 away from what was removed differ, in units of the spread of each number over the picture.
Places: attribution (leakage/scores.py) of new views of the photos' place, softened as a VAE would, and of
another place that is in no bank, in the toy world one of the same kind; how often one of the first is above
one of the second.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from random_models import build_models
from tqdm import tqdm
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, SamConfig, SamModel

from persam_dreambooth.leakage.banks import build_banks
from persam_dreambooth.leakage.features import Features, background_cells, load_features
from persam_dreambooth.leakage.features.cells import widened
from persam_dreambooth.leakage.features.clip import clip_tower
from persam_dreambooth.leakage.features.dinov2 import dinov2_tower
from persam_dreambooth.leakage.features.fill import without_subject
from persam_dreambooth.leakage.features.token_drop import tower_features
from persam_dreambooth.leakage.features.weights_package import is_installed
from persam_dreambooth.leakage.scores import score
from persam_dreambooth.leakage.validation.protocol import Remembered
from persam_dreambooth.photos import list_photos, mask_beside, read_mask, read_photo
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.toyworld.scene import BACKGROUNDS, render

Picture = tuple[np.ndarray, np.ndarray | None]

SUBJECT, IDENTITY = "cat", 3
PLACES = ("beach", "forest", "kitchen", "city", "room", "snow")
PHOTOS, VIEWS, ROOMS, BANKS = 4, 3, 2, 12
RINGS = (1, 2, 3, 4)
REPEATS, SLOW = 4, 5.0


@dataclass(frozen=True, eq=False)
class Question:
    """Does a picture show the photos' place?"""

    photos: list[Picture]
    decoys: list[Picture]
    num_banks: int
    picture: Picture
    same: bool


def toy_questions() -> Iterator[Question]:
    """New views of places of the toy world, and of other places of the same kind."""
    decoys = [
        (render(None, background, seed=room, room=2000 + room).image, None)
        for background in BACKGROUNDS
        for room in range(ROOMS)
    ]
    for place in PLACES:
        photos = [toy_view(place, 1000, seed) for seed in range(PHOTOS)]
        for seed in range(100, 100 + VIEWS):
            yield Question(photos, decoys, BANKS, softened(toy_view(place, 1000, seed)), True)
            yield Question(photos, decoys, BANKS, softened(toy_view(place, 3000 + seed, seed)), False)


def toy_view(place: str, room: int, seed: int) -> Picture:
    """A photo of the subject at a place."""
    scene = render(SUBJECT, place, IDENTITY, seed, room=room)
    return scene.image, scene.mask


def album_questions(folder: Path) -> Iterator[Question]:
    """Each photo against the others of its album, and each album's first two against every other album."""
    albums = [read_album(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    for album in albums:
        others = [other for other in albums if other is not album]
        for number, picture in enumerate(album):
            rest = album[:number] + album[number + 1 :]
            yield Question(rest, list(chain(*others)), len(others), softened(picture), True)
        for other in others:
            decoys = [third for third in others if third is not other]
            for picture in other[:2]:
                yield Question(album, list(chain(*decoys)), len(decoys), softened(picture), False)


def read_album(folder: Path) -> list[Picture]:
    """Photos with their masks, at 512 x 512 px."""
    album = []
    for path in list_photos(folder):
        pixels = read_photo(path).pixels
        mask = read_mask(mask_beside(path), pixels.shape[:2])
        sides = [Image.fromarray(picture).resize((512, 512)) for picture in (pixels, mask)]
        album.append((np.asarray(sides[0]), np.asarray(sides[1])))
    return album


def softened(picture: Picture) -> Picture:
    """A picture as if it had been through a VAE: a little blurred, with a little noise."""
    pixels, mask = picture
    side = pixels.shape[0]
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(side / 400))
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    return (np.asarray(blurred) + noise).clip(0, 255).astype(np.uint8), mask


def tell(features: Features, questions: Sequence[Question]) -> str:
    """Attribution of the same and of other places, and the share of pairs in the right order."""
    remembered = Remembered(features)
    rates = {True: [], False: []}
    for question in tqdm(questions, desc=features.name, unit="picture", disable=None, leave=False):
        banks = build_banks(
            question.photos,
            question.decoys,
            remembered,
            num_banks=question.num_banks,
            drop_same_scene=False,
        )
        found = score(banks, remembered.cells(*question.picture)).attribution
        rates[question.same].append(0.0 if found is None else found)
    same, other = np.array(rates[True]), np.array(rates[False])
    order = np.sign(same[:, None] - other[None]).mean() / 2 + 0.5
    return f"{same.mean():11.3f} {other.mean():12.3f} {order:14.3f}"


def fill_shows(features: Features, pictures: Sequence[np.ndarray]) -> str:
    """How much the fill moves the cells by their distance from it."""
    y, x = np.mgrid[:256, :256] - 127.5
    mask = x**2 + y**2 < 50**2
    rings = distances(~background_cells(mask, mask.shape))
    every = np.ones_like(rings, dtype=bool)
    moved = []
    for picture in pictures:
        pixels = np.asarray(Image.fromarray(picture).resize((256, 256)))
        whole, filled = (
            features.encode(shown, every) for shown in (pixels, without_subject(pixels, widened(mask)))
        )
        spread = whole.std(axis=(0, 1)) + 1e-9
        size = np.sqrt((((filled - whole) / spread) ** 2).mean(axis=-1))
        moved.append([size[rings == ring].mean() for ring in RINGS])
    return " ".join(f"{value:8.3f}" for value in np.mean(moved, axis=0))


def distances(removed: np.ndarray) -> np.ndarray:
    """Return how many cells away each cell is from what was removed."""
    rows, columns = np.nonzero(removed)
    y, x = np.mgrid[: removed.shape[0], : removed.shape[1]]
    away = np.maximum(abs(y[..., None] - rows), abs(x[..., None] - columns))
    return away.min(axis=-1)


def seconds(action: Callable[[], object]) -> float:
    """The fastest of a few runs, or the only one of something slow, in seconds of this process's time."""
    taken = []
    while len(taken) < REPEATS and max(taken, default=0.0) < SLOW:
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return min(taken)


def trained_sets() -> dict[str, Features]:
    """The sets whose weights are here."""
    sets = {"ct": load_features("ct")}
    if is_installed():
        sets["efficientnet"] = load_features("efficientnet")
    sets["dift (toy)"] = load_features("dift", models=build_models("toy"))
    sets["sam (toy)"] = load_features("sam", segmenter=Segmenter.load("toy"))
    return sets


def random_sets(real_sizes: bool) -> dict[str, Features]:
    """Networks of the sizes that people use, with random weights."""
    small = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}
    sets = {"dinov2-small": tower_features("dinov2", dinov2_tower(Dinov2Model(Dinov2Config(**small)).eval()))}
    if not real_sizes:
        return sets
    large = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    }
    clip = CLIPVisionModel(CLIPVisionConfig(image_size=224, patch_size=14, **large)).eval()
    sets["clip-vit-large"] = tower_features("clip", clip_tower(clip))
    sets["sam vit-b"] = load_features("sam", segmenter=Segmenter(SamModel(SamConfig())))
    sets["dift (sd15)"] = load_features("dift", models=build_models("sd15"))
    return sets


def main() -> None:
    """Print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real_sizes", action="store_true", help="random networks of real size as well")
    parser.add_argument("--albums", type=Path, help="folder of folders of photos with masks beside them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trained = trained_sets()
    scene = render(SUBJECT, "room", IDENTITY, size=512)

    print(f"{'features':16s} {'numbers':>8s} {'background s':>13s} {'subject s':>10s}")
    for name, features in (trained | random_sets(options.real_sizes)).items():
        background = seconds(lambda one=features: one.cells(scene.image, scene.mask))
        subject = seconds(lambda one=features: one.subject(scene.image, scene.mask))
        print(f"{name:16s} {features.num_features:8d} {background:13.3f} {subject:10.3f}", flush=True)

    questions = list(album_questions(options.albums) if options.albums else toy_questions())
    pictures = [question.picture[0] for question in questions[::6]]
    print(f"\n{'fill shows at':16s} " + " ".join(f"{ring:8d}" for ring in RINGS) + "  cells away")
    for name, features in trained.items():
        print(f"{name:16s} {fill_shows(features, pictures)}", flush=True)

    print(f"\n{'places':16s} {'same place':>11s} {'other place':>12s} {'right order':>14s}")
    for name, features in trained.items():
        print(f"{name:16s} {tell(features, questions)}", flush=True)


if __name__ == "__main__":
    main()
