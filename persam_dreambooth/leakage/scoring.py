"""Pictures that were made elsewhere, measured as those of `stages`, without any diffusion model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.comparison import Options, check_pairs, compare
from persam_dreambooth.leakage.decoys import read_decoys
from persam_dreambooth.leakage.feature_cache import kept
from persam_dreambooth.leakage.features import COLOUR, load_features
from persam_dreambooth.leakage.finder import finder_of
from persam_dreambooth.leakage.manifest import read_arms, read_entries
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.planning import compared_with, read_material
from persam_dreambooth.leakage.presence import presence_warnings
from persam_dreambooth.leakage.provenance import album_warnings, mask_told, now, photos_told
from persam_dreambooth.leakage.report import JSON_FILE, read_report, write_report
from persam_dreambooth.leakage.rows import BASE
from persam_dreambooth.leakage.stages import KEPT_FOLDER
from persam_dreambooth.photos import file_digest
from persam_dreambooth.run import digest_of
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings.comparison import Material


def score_pictures(
    material: Material,
    pictures: Path,
    manifest: Path | None,
    *,
    minus: str | None,
    out: Path,
    device: str,
    commands: Sequence[str],
) -> tuple[dict[str, Any], Path]:
    """Measure pictures and write the report; return the content of report.json, and the page's path.

    Args:
        material: photos, masks, decoys.
        pictures: folder with a folder for each arm.
        manifest: or a list of the pictures.
        minus: the arm that the others are compared with; None is `plain`, or the first.
        out: for the report.
        device: where SAM and the features run.
        commands: the command lines that led to it.

    Raises:
        UserError: something is missing, cannot be read, or the arms are not paired.
    """
    album, held_out, sam = read_material(material)
    decoys = read_decoys(material.decoys, material.num_banks)
    arms = read_arms(read_entries(pictures, manifest))
    check_pairs(arms)
    tuned = [name for name in arms if name != BASE]
    if not tuned:
        raise UserError(
            f"--pictures {pictures}: only `{BASE}` in it; pictures of a trained model are needed too."
        )
    by_sam = material.features == "sam"
    segmenter = Segmenter.load(sam, device, album.sam_adapter) if by_sam else None
    features = load_features(material.features, segmenter=segmenter, device=device)
    places = [decoy.pixels for decoy in decoys]
    find, presence = finder_of(
        album, sam, out / KEPT_FOLDER / "masks", device, base=arms.get(BASE, ()), places=places
    )
    result = compare(
        arms,
        photos=album.pairs,
        decoys=places,
        find_subject=find,
        features=kept(features, out / KEPT_FOLDER / "features"),
        options=Options(
            num_banks=material.num_banks,
            held_out=() if held_out is None else held_out.pairs,
            move_rims=features.name == COLOUR,
            minus=compared_with(minus, tuned),
        ),
    )
    config, inputs = result["config"], result["inputs"]
    source = f"{len(decoys)} pictures in {material.decoys}"
    result |= {
        "created": now(),
        "config": config
        | {
            "decoys": {**config["decoys"], "source": source},
            "mask": mask_told(album, sam, presence),
            "vae_round_trip": False,
        },
        "inputs": inputs
        | {"photos": photos_told(album, inputs["photos"]), "base": None, "models": _models(arms)},
        "warnings": [
            *result["warnings"],
            *presence_warnings(presence),
            *album_warnings(album),
            *_warnings(arms),
        ],
    }
    page = write_report(result, out, photos=album.photos, masks=album.masks, pictures=arms, commands=commands)
    return read_report(page.with_name(JSON_FILE)), page


def _models(arms: Mapping[str, Sequence[Picture]]) -> dict[str, dict[str, str]]:
    """Return where each arm's pictures came from, and a digest of them all."""
    return {
        name: {
            "folder": str(pictures[0].path.parent),
            "digest": digest_of([file_digest(picture.path) for picture in pictures]),
        }
        for name, pictures in arms.items()
        if name != BASE
    }


def _warnings(arms: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Return what a reader should know of pictures from elsewhere."""
    found = ["nobody here drew these pictures: that pairs share their noise and sampler is taken on trust"]
    if BASE not in arms:
        found.append(
            "there are no pictures of the model before training: what it draws anyway is counted as leaked"
        )
    return found
