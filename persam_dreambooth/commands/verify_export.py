"""`persam-dreambooth verify-export`: what another trainer will make of an export."""

from pathlib import Path

from persam_dreambooth.masks.export.trainers import Trainer


def verify_export(*, export: Path, to: Trainer | None = None) -> None:
    """Say what a trainer sees of every photo of an export; fail where it would ignore a mask.

    Args:
        export: Folder that `export-masks` wrote, whatever has been changed in it since.
        to: The trainer; without it, the one that the export was made for.
    """
    from persam_dreambooth.masks.export.replay import check, replay, report
    from persam_dreambooth.masks.export.writing import read_manifest

    replayed = replay(export, to or read_manifest(export)["to"])
    print(report(replayed))
    check(replayed)
    print("every mask is used")
