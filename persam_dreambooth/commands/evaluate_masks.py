"""The command `evaluate-masks`: how good masks are on photos whose true masks are known."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from persam_dreambooth.run import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from persam_dreambooth.masks.evaluation import Case, Evaluation
    from persam_dreambooth.masks.perseg import ObjectFiles
    from persam_dreambooth.sam.segmenter import Segmenter

RECORD_FILE = "evaluation.json"
SHEET_FILE = "worst.png"
PREDICTIONS_FOLDER = "predictions"


def evaluate_masks(  # noqa: PLR0913 (each is a flag)
    *,
    data: Path,
    predictions: Path | None = None,
    sam: str = "toy",
    sam_adapter: Path | None = None,
    method: Literal["persam-f", "persam_f", "persam"] = "persam-f",
    persam_compat: bool = False,
    legacy: bool = False,
    out: Path | None = None,
    device: str = "cpu",
) -> object:
    """Compare masks with the truth on a data set in PerSeg's layout: mIoU, accuracy, boundary IoU.

    Args:
        data: Folder with Images/<object>/NN.jpg and Annotations/<object>/NN.png; 00 is the reference.
        predictions: Folder with <object>/NN.png to evaluate; without it, the masks are found here.
        sam: Segment Anything model that finds them: "toy" (embedded), a folder, a hub id, or a .pth file.
        sam_adapter: File that adapt-sam made for it.
        method: How they are found.
        persam_compat: Find them as the PerSAM authors' program does where this one differs.
        legacy: Leave out every mask with "00" anywhere in its path, as the authors' evaluation does.
        out: Folder for evaluation.json, worst.png and the masks that were found here.
        device: Where SAM runs, for example "cuda".
    """
    from persam_dreambooth.masks.evaluation import evaluate, table
    from persam_dreambooth.masks.perseg import read_cases, read_layout
    from persam_dreambooth.sam.segmenter import Segmenter

    folder = None if out is None else RunFolder(out, "--out")
    objects = read_layout(data)
    failures: list[str] = []
    if predictions is not None:
        cases = read_cases(objects, predictions, legacy=legacy)
        settings = {"predictions": str(predictions)}
    else:
        method = method.replace("-", "_")
        cases = _found(
            objects, Segmenter.load(sam, device, sam_adapter), method, persam_compat, legacy, failures
        )
        cases = cases if folder is None else _written(cases, folder.path / PREDICTIONS_FOLDER)
        settings = {"method": method, "persam_compat": persam_compat, "sam": sam, "sam_adapter": sam_adapter}
    evaluation = evaluate([files.name for files in objects], cases)
    print(table(evaluation))
    for failure in failures:
        print(f"not found, counted as an empty mask: {failure}")
    if folder is not None:
        settings |= {"data": str(data), "legacy": legacy, "not_found": failures}
        folder.write_json(RECORD_FILE, settings | evaluation.record())
        _write_sheet(evaluation, folder.path / SHEET_FILE)
        print(f"{RECORD_FILE} and {SHEET_FILE} are in {out}")
    return evaluation


def _found(
    objects: list["ObjectFiles"],
    segmenter: "Segmenter",
    method: str,
    persam_compat: bool,
    legacy: bool,
    failures: list[str],
) -> "Iterator[Case]":
    """Return the cases with masks found here, shown on a progress bar; failures are noted as they happen."""
    from tqdm import tqdm

    from persam_dreambooth.masks.perseg import find_cases

    cases = find_cases(
        objects,
        segmenter,
        method,
        persam_compat=persam_compat,
        legacy=legacy,
        on_failure=lambda error: failures.append(str(error)),
    )
    return tqdm(cases, desc="masks", unit="photo", disable=None)


def _written(cases: "Iterator[Case]", folder: Path) -> "Iterator[Case]":
    """Yield the cases, each after its predicted mask is written."""
    from persam_dreambooth.photos import write_mask

    for case in cases:
        write_mask(folder / case.object_name / f"{case.stem}.png", case.prediction)
        yield case


def _write_sheet(evaluation: "Evaluation", path: Path) -> None:
    """Write the picture of the worst masks."""
    from persam_dreambooth.files import atomic_path
    from persam_dreambooth.masks.worst_sheet import worst_sheet

    with atomic_path(path) as temporary:
        worst_sheet(evaluation.worst).save(temporary)
