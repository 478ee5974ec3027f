"""`persam-dreambooth segment`: the masks alone, for looking, for other trainers, for videos."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.run import check_writable
from persam_dreambooth.settings import SearchConfig

# A record that cannot change: one for all calls.
_DEFAULTS = SearchConfig()


def segment(
    *,
    out: Path,
    photos: Path | None = None,
    subjects: tuple[str, ...] = (),
    video: Path | None = None,
    sam: str = "toy",
    method: Literal["persam-f", "persam_f", "persam"] = "persam-f",
    device: str = "cpu",
    search: Annotated[SearchConfig, tyro.conf.arg(name="")] = _DEFAULTS,
) -> None:
    """Find the subject in every photo of a folder: a mask each, masks.json, masks.html and a contact sheet.

    Args:
        out: Folder for the results.
        photos: Folder with the photos of one subject.
        subjects: Several subjects at once: name=mask of each; every one gets a folder of masks in --out.
        video: Instead of photos, a folder of frames or an mp4; --min_confidence does not apply to it.
        sam: Segment Anything: "toy" (embedded), a transformers folder, a hub id, or an original .pth file.
        method: persam-f fits how to combine SAM's three masks on the reference; persam takes SAM's best.
        device: Where SAM runs, for example "cuda".
        search: How the subject is marked, and how it is found.
    """
    check_writable(out, "--out")
    if (photos is None) == (video is None):
        given = "both given" if photos is not None else "both missing"
        raise UserError(f"--photos and --video: {given}; one of them is needed.")
    if video is not None:
        from persam_dreambooth.commands.segment_video import segment_video

        segment_video(
            video=video, out=out, subjects=subjects, sam=sam, method=method, device=device, search=search
        )
        return
    from persam_dreambooth.masks.stage import find_masks
    from persam_dreambooth.masks.subjects import find_subjects
    from persam_dreambooth.photos import read_photos

    album = read_photos(photos)
    options = {"out_dir": out, "sam": sam, "method": method.replace("-", "_"), "device": device}
    if subjects:
        found = find_subjects(album, subjects, search, **options)
    else:
        found = {"": find_masks(album, search, **options)}
    for name, masks in found.items():
        for stem, mask in masks.items():
            sure = "" if mask.confidence is None else f", confidence {mask.confidence:.2f}"
            print(f"{name} {stem}: {mask.source}, {mask.area_fraction:.1%} of the photo{sure}".strip())
        print(f"masks, masks.json, masks.html and contact_sheet.png are in {out / name}")
