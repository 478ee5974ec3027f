"""`persam-dreambooth export-masks`: photos and masks for another trainer."""

from pathlib import Path

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.export.trainers import Trainer


def export_masks(
    *,
    photos: Path,
    masks: Path,
    to: Trainer,
    out: Path,
    instance_prompt: str | None = None,
    resolution: int = 512,
) -> None:
    """Write photos, masks and captions the way another trainer wants them, with its settings.

    Args:
        photos: Folder with the photos; photo.txt beside photo.jpg is its caption.
        masks: Folder that `segment` wrote: masks.json and a mask for every photo.
        to: The trainer.
        out: New folder for the result; an earlier export there is replaced if nobody has changed it.
        instance_prompt: Caption of the photos without a file, for example "a photo of sks cat".
        resolution: Side in pixels that the trainer shall work at, a multiple of 8.
    """
    from persam_dreambooth.masks.export.album import read_album
    from persam_dreambooth.masks.export.replay import check, replay, report
    from persam_dreambooth.masks.export.trainers import README_FILE
    from persam_dreambooth.masks.export.writing import export

    if resolution < 8 or resolution % 8:
        raise UserError(
            f"--resolution {resolution}: not a multiple of 8, the width of a latent cell. Give 512, say."
        )
    album = read_album(photos, masks, instance_prompt)
    export(album, to, out, resolution=resolution)
    for name, reason in album.left_out.items():
        print(f"{name}: left out: {reason}")
    replayed = replay(out, to)
    print(report(replayed))
    check(replayed)
    print(f"how to train with it: {out / README_FILE}")
