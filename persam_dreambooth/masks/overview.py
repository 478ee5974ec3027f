"""What a person looks through: the flags in `masks.json`, the contact sheet and the page, worst first."""

from collections.abc import Sequence
from pathlib import Path

from persam_dreambooth.files import atomic_path, write_text
from persam_dreambooth.masks.flags import flags, worst_first
from persam_dreambooth.masks.folder import PAGE_FILE, PROPOSALS_FILE, SHEET_FILE, MaskFolder
from persam_dreambooth.masks.page import masks_page
from persam_dreambooth.masks.proposals import Proposal
from persam_dreambooth.masks.record import LeftOut, SubjectMask
from persam_dreambooth.masks.sheet import Row, contact_sheet
from persam_dreambooth.photos import Photo

_SIGN_NAMES = {"iou_prediction": "predicted IoU"}
"""Signs of trust that people read under another name."""
_MADE = {
    "given": "given",
    "edited": "edited by hand",
    "box": "from the box",
    "points": "from the points",
    "scribble": "from the scribble",
    "proposed": "proposed as reference",
    "persam": "PerSAM",
    "persam_f": "PerSAM-F",
    "diffseg": "DiffSeg",
}


def write_overview(photos: list[Photo], folder: MaskFolder, latent_size: tuple[int, int] | None) -> None:
    """Write flags into the record, and sheet and page; nothing where all is as it was.

    Args:
        photos: of the album; each has a mask in the folder or is left out.
        folder: the masks.
        latent_size: as in `sheet.latent_mask`.
    """
    areas = tuple(mask.area_fraction for mask in folder.masks.values())
    flagged = {
        stem: flags(
            mask.mask,
            latent_size=latent_size,
            album_areas=areas,
            margin=mask.confidence_parts.get("margin"),
        )
        for stem, mask in folder.masks.items()
    }
    changed = folder.write({stem: {"flags": found} for stem, found in flagged.items()})
    sheet, page = folder.path / SHEET_FILE, folder.path / PAGE_FILE
    if not (changed or folder.new) and sheet.is_file() and page.is_file():
        return
    by_stem = {photo.stem: photo for photo in photos}
    rows = [
        *(_left_out_row(by_stem[stem], left) for stem, left in folder.left_out.items()),
        *(
            _row(by_stem[stem], folder.masks[stem], flagged[stem])
            for stem in worst_first({stem: mask.confidence for stem, mask in folder.masks.items()}, flagged)
        ),
    ]
    write_picture(sheet, rows, latent_size)
    proposals = folder.path / PROPOSALS_FILE
    text = masks_page(
        rows,
        latent_size,
        title=_title(photos, folder),
        proposals=proposals if any(mask.source == "proposed" for mask in folder.masks.values()) else None,
    )
    write_text(page, text)


def write_proposals(folder: Path, photos: list[Photo], proposals: Sequence[Proposal]) -> None:
    """Write the picture of what could be the subject, best first, for a person who wants another one."""
    rows = [
        Row(
            photos[proposal.photo_index].pixels,
            proposal.mask,
            f"--reference_choice {number}   {photos[proposal.photo_index].path.name}   "
            f"score {proposal.score:.2f}   {proposal.reason}",
            signs=proposal.parts,
        )
        for number, proposal in enumerate(proposals, start=1)
    ]
    write_picture(folder / PROPOSALS_FILE, rows, None)


def write_picture(path: Path, rows: list[Row], latent_size: tuple[int, int] | None) -> None:
    """Write the contact sheet, atomically."""
    with atomic_path(path) as temporary:
        contact_sheet(rows, latent_size).save(temporary)


def _title(photos: list[Photo], folder: MaskFolder) -> str:
    """Return what was found, in one line."""
    left = len(folder.left_out)
    return f"{len(folder.masks)} of {len(photos)} photos have a mask" + (f", {left} left out" if left else "")


def _row(photo: Photo, mask: SubjectMask, flagged: dict[str, str]) -> Row:
    """Return the line of a photo that has a mask."""
    made = _MADE.get(mask.source, mask.source) + (f", {mask.how}" if mask.how else "")
    told = [photo.path.name, made, f"{100 * mask.area_fraction:.1f} % of the photo"]
    if mask.confidence is not None:
        told.append(f"confidence {mask.confidence:.2f}")
    return Row(
        photo.pixels,
        mask.mask,
        "   ".join(told),
        signs=_signs(mask.confidence_parts),
        flags=tuple(flagged.values()),
    )


def _left_out_row(photo: Photo, left: LeftOut) -> Row:
    """Return the line of a photo that has none."""
    return Row(
        photo.pixels,
        None,
        f"{photo.path.name}   left out",
        signs=_signs(left.confidence_parts),
        flags=(left.reason,),
    )


def _signs(parts: dict[str, float]) -> dict[str, float]:
    """Return the signs by the names that people read."""
    return {_SIGN_NAMES.get(name, name): value for name, value in parts.items()}
