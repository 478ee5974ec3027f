"""`persam-dreambooth segment --video`: objects of a clip's first frame on all its frames."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam_dreambooth.errors import UserError
from persam_dreambooth.run import RunFolder
from persam_dreambooth.settings import SearchConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from persam_dreambooth.masks.first_frame import MarkedObject
    from persam_dreambooth.masks.video import Tracked

RECORD_FILE = "video.json"
LABELS_FOLDER, MASKS_FOLDER = "labels", "masks"

# A record that cannot change: one for all calls.
_DEFAULTS = SearchConfig()


def segment_video(
    *,
    video: Path,
    out: Path,
    subjects: tuple[str, ...] = (),
    sam: str = "toy",
    sam_adapter: Path | None = None,
    method: str = "persam_f",
    device: str = "cpu",
    search: SearchConfig = _DEFAULTS,
) -> None:
    """Find objects that are marked on a clip's first frame on all others, and write label maps and masks.

    Args:
        video: Folder of frames, or a video file (which needs PyAV).
        out: Folder for labels/<frame>.png, masks/<object>/<frame>.png and video.json.
        subjects: name=mask of each object, in place of the hints in `search`.
        sam: Segment Anything model: "toy" (embedded), a folder, a hub id, or an original .pth file.
        sam_adapter: File that adapt-sam made for it.
        method: persam_f (or persam-f) or persam.
        device: Where SAM runs, for example "cuda".
        search: How the objects are marked on the first frame; also fit_solver and persam_compat.

    Raises:
        UserError: the clip or a hint cannot be used. What is already written stays, and video.json tells it.
    """
    from tqdm import tqdm

    from persam_dreambooth.masks.clip import read_frames
    from persam_dreambooth.masks.first_frame import check_flags, marked_objects
    from persam_dreambooth.masks.video import Tracked, given_labels, track
    from persam_dreambooth.sam.segmenter import Segmenter

    check_flags(search, subjects)
    _check_apart(video, out)
    folder = RunFolder(out, "--out")
    method = method.replace("-", "_")
    frames = read_frames(video)
    first = next(frames)
    segmenter = Segmenter.load(sam, device, sam_adapter)
    embedding = segmenter.encode(first.pixels)
    objects = marked_objects(segmenter, first, embedding, search, subjects)
    references = {number: each.reference for number, each in objects.items()}
    tracked = track(
        segmenter, references, frames, method=method, solver=search.fit_solver, compat=search.persam_compat
    )
    told = [_written(Tracked(first.name, given_labels(references), {}), objects, folder.path)]
    try:
        for frame in tqdm(tracked, desc="frames", unit="frame", initial=1, disable=None):
            told.append(_written(frame, objects, folder.path))
    finally:
        record = {
            "video": str(video),
            "size": list(embedding.size),
            "sam": sam,
            "sam_adapter": sam_adapter,
            "method": method,
            "persam_compat": search.persam_compat,
            "objects": [{"id": number, "name": each.name} for number, each in objects.items()],
            "frames": told,
        }
        folder.write_json(RECORD_FILE, record)
    for number, each in objects.items():
        count = sum(frame["objects"][str(number)]["present"] for frame in told)
        print(f"object {each.name}: on {count} of {len(told)} frames")
    print(f"{LABELS_FOLDER}, {MASKS_FOLDER} and {RECORD_FILE} are in {out}")


def _check_apart(video: Path, out: Path) -> None:
    """Raise UserError where label maps or masks would be written over the frames, whose names they have."""
    frames = Path(video).resolve()
    for place in (Path(out) / LABELS_FOLDER, Path(out) / MASKS_FOLDER):
        if frames.is_dir() and frames.is_relative_to(place.resolve()):
            raise UserError(
                f"--out {out}: the frames are in {place}, where the results would be written; a folder of "
                "their own is needed. Name another one."
            )


def _written(frame: "Tracked", objects: "Mapping[int, MarkedObject]", folder: Path) -> dict[str, Any]:
    """Write one frame's label map and masks; return what video.json tells of it.

    An object that is not there gets no mask; one of an earlier run is removed.
    """
    from persam_dreambooth.masks.clip import write_label_map
    from persam_dreambooth.photos import write_mask

    write_label_map(folder / LABELS_FOLDER / f"{frame.name}.png", frame.labels)
    told = {}
    for number, each in objects.items():
        mask = frame.labels == number
        path = folder / MASKS_FOLDER / each.name / f"{frame.name}.png"
        if mask.any():
            write_mask(path, mask)
        else:
            path.unlink(missing_ok=True)
        told[str(number)] = _told(frame, number)
    return {"frame": frame.name, "objects": told}


def _told(frame: "Tracked", number: int) -> dict[str, Any]:
    """Return what video.json tells of an object on a frame; of the first, where it was given, no prompts."""
    import torch

    from persam_dreambooth.masks.passes import tight_box

    mask = torch.from_numpy(frame.labels == number)
    if not mask.any():
        return {"present": False}
    told = {
        "present": True,
        "area_fraction": float(mask.float().mean()),
        "box": tight_box(mask).tolist(),
    }
    sighting = frame.sightings.get(number)
    if sighting is not None:
        told |= {
            "presence": sighting.presence,
            "iou_prediction": sighting.iou_prediction,
            "point_coords": sighting.point_coords.tolist(),
            "prompt_box": None if sighting.box is None else sighting.box.tolist(),
        }
    return told
