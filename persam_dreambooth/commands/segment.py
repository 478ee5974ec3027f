"""`persam-dreambooth segment`: the masks alone, for looking, for other trainers, for videos."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.run import check_writable
from persam_dreambooth.settings import DiffSegConfig, SearchConfig

if TYPE_CHECKING:
    from persam_dreambooth.masks.record import SubjectMask
    from persam_dreambooth.photos import Photo

# Records that cannot change: one for all calls.
_DEFAULTS = SearchConfig()
_DIFFSEG = DiffSegConfig()


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """What looks at the photos."""

    sam: str = "toy"
    """Segment Anything: "toy" (embedded), a transformers folder, a hub id, or an original .pth file."""
    sam_adapter: Path | None = None
    """File that `persam-dreambooth adapt-sam` made for --sam, for photos that are foreign to it."""
    model: str = "toy"
    """Stable Diffusion for diffseg and its proposals: a folder, a hub id, or "toy"."""
    device: str = "cpu"
    """Where they run, for example "cuda"."""


_MODELS = ModelChoice()


def segment(
    *,
    out: Path,
    photos: Path | None = None,
    subjects: tuple[str, ...] = (),
    video: Path | None = None,
    method: Literal["persam-f", "persam_f", "persam", "diffseg"] = "persam-f",
    models: Annotated[ModelChoice, tyro.conf.arg(name="")] = _MODELS,
    search: Annotated[SearchConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    diffseg: Annotated[DiffSegConfig, tyro.conf.arg(name="")] = _DIFFSEG,
) -> None:
    """Find the subject in every photo of a folder: a mask each, masks.json, masks.html and a contact sheet.

    Args:
        out: Folder for the results.
        photos: Folder with the photos of one subject.
        subjects: Several subjects at once: name=mask of each; every one gets a folder of masks in --out.
        video: Instead of photos, a folder of frames or an mp4; --min_confidence does not apply to it.
        method: persam-f fits how to combine SAM's three masks on the reference; persam takes SAM's best;
            diffseg asks a diffusion model instead, by --diffseg_noun.
        models: What looks at the photos.
        search: How the subject is marked, and how it is found.
        diffseg: How the diffusion model is asked.
    """
    check_writable(out, "--out")
    if (photos is None) == (video is None):
        given = "both given" if photos is not None else "both missing"
        raise UserError(f"--photos and --video: {given}; one of them is needed.")
    if method == "diffseg" and models.sam_adapter is not None:
        raise UserError(
            f"--sam_adapter {models.sam_adapter}: for a SAM, and --method diffseg asks none; one of the two "
            "is needed. Drop the flag, or use --method persam-f."
        )
    if method == "diffseg" and (subjects or video is not None):
        raise UserError(
            f"--method diffseg: finds one subject in photos; {'--subjects' if subjects else '--video'} needs "
            "SAM. Use --method persam-f."
        )
    if video is not None:
        from persam_dreambooth.commands.segment_video import segment_video

        segment_video(
            video=video,
            out=out,
            subjects=subjects,
            sam=models.sam,
            sam_adapter=models.sam_adapter,
            method=method,
            device=models.device,
            search=search,
        )
        return
    from persam_dreambooth.masks.subjects import find_subjects
    from persam_dreambooth.photos import read_photos

    album = read_photos(photos)
    options = {
        "out_dir": out,
        "sam": models.sam,
        "sam_adapter": models.sam_adapter,
        "method": method.replace("-", "_"),
        "device": models.device,
    }
    if subjects:
        found = find_subjects(album, subjects, search, **options)
    else:
        found = {"": _found(album, search, models.model, diffseg, options)}
    for name, masks in found.items():
        for stem, mask in masks.items():
            sure = "" if mask.confidence is None else f", confidence {mask.confidence:.2f}"
            print(f"{name} {stem}: {mask.source}, {mask.area_fraction:.1%} of the photo{sure}".strip())
        print(f"masks, masks.json, masks.html and contact_sheet.png are in {out / name}")


def _found(
    album: "list[Photo]", search: SearchConfig, model: str, diffseg: DiffSegConfig, options: dict[str, Any]
) -> "dict[str, SubjectMask]":
    """Return the masks of one subject; a diffusion model is loaded where it is asked."""
    from persam_dreambooth.masks.stage import find_masks

    if options["method"] != "diffseg" and diffseg.proposals == "sam":
        return find_masks(album, search, **options)
    # Imported here: diffusers takes seconds, and PerSAM needs none of it.
    from persam_dreambooth.diffusion.models import load_models
    from persam_dreambooth.leakage.model_files import told_as
    from persam_dreambooth.masks.diffseg.source import Source

    source = Source(lambda: load_models(model), diffseg.diffseg_noun, diffseg)
    with told_as("--model"):
        return find_masks(album, search, **options, diffseg=source)
