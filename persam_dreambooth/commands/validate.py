"""`persam-dreambooth validate`: whether the leakage measures see a leak whose size is known."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings.checks import at_least

if TYPE_CHECKING:
    from persam_dreambooth.leakage.features import Features
    from persam_dreambooth.leakage.validation.cases import Data, Shot

RECORD_FILE = "validation.json"


@dataclass(frozen=True)
class OwnPhotos:
    """Photos to validate on instead of drawn places."""

    photos: Path | None = None
    """Folder with the photos of a subject, or with a folder of photos for each of several subjects."""
    masks: Path | None = None
    """Folder with a mask for each photo, STEM.png, white on the subject; with several subjects, a folder for
    each, of the same name as its photos'."""
    decoys: Path | None = None
    """Folder with pictures of other places without the subject; not needed with many subjects."""


@dataclass(frozen=True)
class FeatureChoice:
    """What describes the cells of pictures."""

    features: str = "auto"
    """What describes a cell: auto, ct, efficientnet, dift, sam, dinov2:MODEL or clip:MODEL, MODEL a folder or
    a hub id."""
    base: str = "toy"
    """Model whose UNet describes the cells, with --features dift."""
    sam: str = "toy"
    """Model whose encoder describes the cells, with --features sam."""
    sam_adapter: Path | None = None
    """File that adapt-sam made for --sam."""
    device: str = "cpu"
    """Where networks run, for example "cuda"."""


# Records that cannot change: one for all calls.
_DRAWN = OwnPhotos()
_AUTO = FeatureChoice()


def validate(
    *,
    own: Annotated[OwnPhotos, tyro.conf.arg(name="")] = _DRAWN,
    described: Annotated[FeatureChoice, tyro.conf.arg(name="")] = _AUTO,
    preset: Literal["quick", "full"] = "quick",
    num_banks: int = 19,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Plant known shares of a place in pictures and see which measure finds how much of them.

    Without --photos this is done on drawn places, of which every truth is known, and needs no download. The
    exit code is 1 where a gate fails: then the attribution does not measure what it says on this data.

    Args:
        own: Photos instead of drawn places.
        described: What describes the cells.
        preset: "quick" takes under a minute of a core with ct, two with a network; "full" makes four times as
            many pictures, of more subjects and levels.
        num_banks: Decoy banks K; fewer where there are few decoys. Chance is 1 in K + 1.
        seed: Decides everything that is drawn at random.
        out: Folder for validation.json.
    """
    _check(own, num_banks, seed)
    from persam_dreambooth.devices import device_named
    from persam_dreambooth.leakage.validation.presets import PRESETS
    from persam_dreambooth.leakage.validation.protocol import validate as measure
    from persam_dreambooth.leakage.validation.table import table
    from persam_dreambooth.leakage.validation.toy_cases import toy_data
    from persam_dreambooth.run import RunFolder

    device_named(described.device)
    chosen = PRESETS[preset]
    features = _load_features(described)
    if own.photos is None or own.masks is None:
        data = toy_data(chosen.num_subjects, chosen.num_hosts, seed)
    else:
        data = _own_data(own.photos, own.masks, own.decoys, chosen.num_hosts, num_banks)
    folder = None if out is None else RunFolder(out, "--out")
    result = measure(data, features, levels=chosen.levels, num_banks=num_banks, seed=seed)
    print(table(result))
    if folder is not None:
        folder.write_json(RECORD_FILE, {"preset": preset} | result)
        print(f"{RECORD_FILE} is in {out}")
    if not all(gate["passed"] for gate in result["gates"]):
        sys.exit(1)


def _check(own: OwnPhotos, num_banks: int, seed: int) -> None:
    """Raise UserError for flags that do not fit together."""
    if (own.photos is None) != (own.masks is None):
        given, lacking = ("--masks", "--photos") if own.photos is None else ("--photos", "--masks")
        raise UserError(
            f"{lacking}: not given; {given} needs it, as a leak is planted around the subject. Give both, or "
            "neither to validate on drawn places."
        )
    if own.decoys is not None and own.photos is None:
        raise UserError(
            f"--decoys {own.decoys}: given without --photos; drawn places have their own. Give --photos and "
            "--masks too, or leave it out."
        )
    at_least("num_banks", num_banks, 1)
    at_least("seed", seed, 0)


def _load_features(described: FeatureChoice) -> "Features":
    """Return features by name, with the model that they are read from."""
    from persam_dreambooth.leakage.features import load_features

    models = segmenter = None
    if described.features == "dift":
        from persam_dreambooth.diffusion.models import load_models
        from persam_dreambooth.leakage.model_files import told_as

        with told_as("--base"):
            models = load_models(described.base)
    if described.features == "sam":
        from persam_dreambooth.sam.segmenter import Segmenter

        segmenter = Segmenter.load(described.sam, described.device, described.sam_adapter)
    return load_features(described.features, models=models, segmenter=segmenter, device=described.device)


def _own_data(photos: Path, masks: Path, decoys: Path | None, num_hosts: int, num_banks: int) -> "Data":
    """Return the cases of somebody's photos."""
    from persam_dreambooth.leakage.validation.cases import Shot, shrunk
    from persam_dreambooth.leakage.validation.own_photos import album_data
    from persam_dreambooth.photos import list_photos, read_photo

    # Made small one by one: there may be hundreds, and a photo of a camera takes 100 MB.
    files = [] if decoys is None else list_photos(decoys)
    places = [shrunk(Shot(read_photo(path).pixels)) for path in files]
    inner = _folders(photos)
    if inner:
        albums = {path.name: _album(path, masks / path.name) for path in inner}
    else:
        albums = {photos.name: _album(photos, masks)}
    return album_data(albums, places, num_hosts=num_hosts, num_banks=num_banks)


def _folders(photos: Path) -> list[Path]:
    """Return the folders of several subjects' photos; none where photos lie in the folder itself."""
    from persam_dreambooth.picture_files import PHOTO_SUFFIXES

    found = sorted(photos.iterdir()) if photos.is_dir() else []
    shown = [path for path in found if not path.name.startswith(".")]
    if any(path.is_file() and path.suffix.lower() in PHOTO_SUFFIXES for path in shown):
        return []
    return [path for path in shown if path.is_dir()]


def _album(photos: Path, masks: Path) -> "list[Shot]":
    """Return the photos of a folder with their masks."""
    from persam_dreambooth.leakage.album import read_album
    from persam_dreambooth.leakage.validation.cases import Shot, shrunk

    return [shrunk(Shot(*pair)) for pair in read_album(photos, masks).pairs]
