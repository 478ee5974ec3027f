"""`persam-dreambooth adapt-sam`: a SAM for photos that are foreign to it, from weak labels or none."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.run import RunFolder, check_writable
from persam_dreambooth.settings.adaptation import MIN_PHOTOS, AdaptConfig, AdaptPlan, plan_of
from persam_dreambooth.signals import interrupts

if TYPE_CHECKING:
    from accelerate import Accelerator

    from persam_dreambooth.sam.adaptation.training import Adaptation, Adapted
    from persam_dreambooth.sam.adaptation.weak_labels import Labelled
    from persam_dreambooth.sam.segmenter import Segmenter

# Records that cannot change: one for all calls.
_CONFIG = AdaptConfig()

RECORD_FILE = "adapt.json"
MASKS_FOLDER = "masks"


@dataclass(frozen=True, kw_only=True)
class WeakLabels:
    """What is known of the photos; those without a label get SAM's own automatic prompts."""

    boxes: Path | None = None
    """JSON with a box, or several, for photos: {"00.jpg": [left, top, right, bottom]}, in pixels."""
    points: Path | None = None
    """JSON with points for photos: {"00.jpg": [[x, y, 1], [x, y, 0]]}; 1 is on the thing, 0 beside it."""
    masks: Path | None = None
    """Folder of coarse masks, named after their photos."""


_LABELS = WeakLabels()


def adapt_sam(
    *,
    photos: Path,
    out: Path,
    labels: Annotated[WeakLabels, tyro.conf.arg(name="")] = _LABELS,
    sam: str = "toy",
    device: str = "cpu",
    merge: Path | None = None,
    config: Annotated[AdaptConfig, tyro.conf.arg(name="")] = _CONFIG,
) -> None:
    """Adapt a SAM to a kind of photo (drawings, X-ray, night): an adapter for --sam_adapter, and its masks.

    Args:
        photos: Folder with at least three photos of the kind.
        out: Folder for the adapter, adapt.json, log.jsonl and the photos' masks.
        labels: What is known of the photos.
        sam: Segment Anything: "toy" (embedded), a transformers folder, a hub id, or an original .pth file.
        device: Where it runs, for example "cuda".
        merge: Folder for the whole adapted model besides, for --sam and for other programs.
        config: How it is adapted.
    """
    with interrupts():
        _adapt(photos, out, labels, sam, device, merge, config)


def _adapt(
    photos: Path,
    out: Path,
    labels: WeakLabels,
    sam: str,
    device: str,
    merge: Path | None,
    config: AdaptConfig,
) -> None:
    """Do the command; see `adapt_sam`."""
    check_writable(out, "--out")
    if merge is not None:
        check_writable(merge, "--merge")
    from persam_dreambooth.photos import photo_paths
    from persam_dreambooth.sam.adaptation.adapter_file import ADAPTER_FILE
    from persam_dreambooth.sam.adaptation.training import begin
    from persam_dreambooth.sam.adaptation.weak_labels import look_at
    from persam_dreambooth.sam.segmenter import Segmenter

    paths = photo_paths(photos)
    plan = plan_of(config, len(paths))
    _check_places(out, {"--photos": photos, "--masks": labels.masks})
    _check_merge(merge, sam, plan)
    album = [look_at(path) for path in paths]
    given = _given(album, labels)
    accelerator = _accelerator(device, config)
    segmenter = Segmenter.load(sam, accelerator.device)
    labelled = _labelled(album, given, segmenter, plan.automatic)
    run = begin(segmenter.model, labelled, config, accelerator)
    folder = RunFolder(out, "--out")
    record = folder.read_json(RECORD_FILE)
    if record and record["inputs"] == run.inputs and (out / ADAPTER_FILE).is_file():
        accelerator.print(f"{out / ADAPTER_FILE}: made from the same photos, labels and settings already")
    else:
        record = _made(run, folder, sam)
    if merge is not None and accelerator.is_main_process:
        _merge(sam, out / ADAPTER_FILE, merge)
        print(f"model: {merge}")
    accelerator.print(_verdict(record))
    accelerator.print(f"adapter: {out / ADAPTER_FILE}")


def _check_places(out: Path, read: dict[str, Path | None]) -> None:
    """Raise UserError where the masks would be written over photos or coarse masks, whose names they have."""
    written = (out / MASKS_FOLDER).resolve()
    for flag, folder in read.items():
        if folder is not None and folder.resolve() == written:
            raise UserError(
                f"--out {out}: the masks would be written over the files of {flag} {folder}; a folder of "
                "their own is needed. Name another one."
            )


def _check_merge(merge: Path | None, sam: str, plan: AdaptPlan) -> None:
    """Raise UserError where the whole model cannot be written; said now, not after the last step."""
    if merge is None:
        return
    if plan.input != "sam":
        raise UserError(
            f"--merge {merge}: not with --input {plan.input}, photos as the authors' program feeds them; "
            "whoever loads the model feeds them as SAM was trained. Add --input sam, or drop --merge."
        )
    if Path(sam).exists() and merge.resolve() == Path(sam).resolve():
        raise UserError(
            f"--merge {merge}: that is the model of --sam, which the adapter is for; another folder is "
            "needed. Name a new one."
        )


def _given(album: "list[Labelled]", labels: WeakLabels) -> dict:
    """Return the labels that a person gave, by stem."""
    from persam_dreambooth.sam.adaptation.weak_labels import read_labels

    return read_labels(album, **asdict(labels))


def _labelled(
    album: "list[Labelled]", given: dict, segmenter: "Segmenter", kind: Literal["box", "point"]
) -> "list[Labelled]":
    """Return the photos that have prompts, a person's or SAM's own; say which have none.

    Raises:
        UserError: too few have any.
    """
    from tqdm import tqdm

    from persam_dreambooth.photos import read_photo
    from persam_dreambooth.sam.adaptation.views import automatic_prompts

    found, nothing = [], []
    # None: a bar on a terminal only; with labels for all there is nothing to wait for.
    quiet = None if len(given) < len(album) else True
    for photo in tqdm(album, desc="prompts", unit="photo", disable=quiet):
        own = photo.stem not in given
        prompts = automatic_prompts(segmenter, read_photo(photo.path), kind) if own else given[photo.stem]
        if prompts:
            found.append(replace(photo, prompts=prompts, automatic=own))
        else:
            nothing.append(photo.path.name)
    if nothing and len(found) < MIN_PHOTOS:
        raise UserError(
            f"--photos: no labels, and SAM proposes nothing, in {len(nothing)} of {len(album)} photos "
            f"({nothing[0]}); labels of at least {MIN_PHOTOS} are needed. Give --boxes, --points or --masks."
        )
    automatic = sum(photo.automatic for photo in found)
    if automatic:
        tqdm.write(f"{automatic} of {len(album)} photos have no label: SAM's own automatic prompts are taken")
    if nothing:
        tqdm.write(f"left out, for SAM proposes nothing in them: {', '.join(nothing)}")
    return found


def _accelerator(device: str, config: AdaptConfig) -> "Accelerator":
    """Return accelerate's view of device, precision and processes.

    Raises:
        UserError: the device is not there, or cannot compute in that precision.
    """
    from accelerate import Accelerator

    from persam_dreambooth.devices import device_named
    from persam_dreambooth.errors import one_line

    wanted = device_named(device)
    if wanted.index is not None:
        raise UserError(
            f"--device {device}: accelerate chooses which; {wanted.type} is needed. To take one of several, "
            "set CUDA_VISIBLE_DEVICES."
        )
    try:
        accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision=config.mixed_precision)
    except ValueError as error:
        raise UserError(f"--mixed_precision {config.mixed_precision}: {one_line(error)} Use no.") from error
    if accelerator.device.type != wanted.type:
        raise UserError(f"--device {device}: accelerate takes {accelerator.device.type}. Use that, or cpu.")
    return accelerator


def _made(run: "Adaptation", folder: RunFolder, sam: str) -> dict:
    """Do the run, and write the adapter, the masks and the record; return the record."""
    from tqdm import tqdm

    from persam_dreambooth.sam.adaptation.training import adapt

    # None: a bar on a terminal only.
    quiet = None if run.accelerator.is_main_process else True
    with tqdm(total=run.plan.iterations, desc="adapting", unit="step", disable=quiet) as bar:
        adapted = adapt(run, folder, lambda done: bar.update(done - bar.n))
    record = _record(run, adapted, sam)
    if run.accelerator.is_main_process:
        _write(run, adapted, folder, record)
    run.accelerator.wait_for_everyone()
    return record


def _write(run: "Adaptation", adapted: "Adapted", folder: RunFolder, record: dict) -> None:
    """Write the masks, the adapter and the record, in this order: the record says that all is there."""
    from persam_dreambooth.photos import write_mask
    from persam_dreambooth.sam.adaptation.adapter_file import ADAPTER_FILE, write_adapter
    from persam_dreambooth.sam.adaptation.views import masks_of

    for photo in run.photos:
        mask = masks_of(run.branches, photo, run.plan).any(axis=0)
        write_mask(folder.path / MASKS_FOLDER / f"{photo.path.stem}.png", mask)
    names = ("base", "base_digest", "rank", "input", "preset", "iterations", "reverted", "inputs")
    write_adapter(folder.path / ADAPTER_FILE, adapted.weights, {name: record[name] for name in names})
    folder.write_json(RECORD_FILE, record)


def _record(run: "Adaptation", adapted: "Adapted", sam: str) -> dict:
    """Return what is told about a run."""
    progress = adapted.progress
    return {
        "base": sam,
        "base_digest": run.source_digest,
        "rank": run.config.rank,
        "input": run.plan.input,
        "preset": run.config.preset,
        "iterations": progress.best_step if run.plan.selects else progress.step,
        "stopped": progress.stopped,
        "reverted": adapted.reverted,
        "consistency": {
            photo.path.name: {"source": before, "adapted": after, "automatic": photo.automatic}
            for photo, before, after in zip(run.photos, adapted.source, adapted.adapted, strict=True)
        },
        "looks": progress.looks,
        "plan": asdict(run.plan),
        "settings": asdict(run.config),
        "inputs": run.inputs,
    }


def _merge(sam: str, adapter: Path, folder: Path) -> None:
    """Write the whole model with the adapter folded in, as transformers reads it."""
    from persam_dreambooth.sam.loading import load_model, save_model

    save_model(load_model(sam, adapter), folder)


def _verdict(record: dict) -> str:
    """Return how the masks keep to the weak labels before and after, in one line."""
    values = list(record["consistency"].values())
    source, adapted = (sum(value[name] for value in values) / len(values) for name in ("source", "adapted"))
    kept = f"masks keep to the weak labels by {source:.3f} before and {adapted:.3f} after"
    if record["reverted"]:
        return f"{kept}: adapting has not helped, and the adapter changes nothing"
    return f"{kept}, with the weights of step {record['iterations']}"
