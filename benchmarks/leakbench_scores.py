"""Measure what LeakBench has drawn: a row for each picture, in one file for all.

The pictures do not depend on the measure. Rows are kept beside a run's pictures and made again
where the features changed, or with --again. Several processes share the work, as they do in drawing.
"""

import gzip
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from accelerate import PartialState
from leakbench_albums import Bench, find_masks, locked
from leakbench_coverage import BASE
from leakbench_plan import RECONTEXT, Prompt, Run, Subject
from leakbench_runs import ROWS_STAGE, is_done

from persam_dreambooth.diffusion.captions import read_folder
from persam_dreambooth.diffusion.generate import PROMPTS_FILE
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.errors import UserError
from persam_dreambooth.files import atomic_path
from persam_dreambooth.leakage.banks import NUM_BANKS, Mask, Pixels
from persam_dreambooth.leakage.comparison import compare
from persam_dreambooth.leakage.features import Features, load_features
from persam_dreambooth.leakage.finder import SubjectFinder, subject_finder
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.truth import Truth
from persam_dreambooth.photos import Photo, file_digest, read_photo
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.sam.segmenter import Segmenter, model_digest
from persam_dreambooth.toyworld import classifier

ROWS_FILE = "rows.json"
MEASURES = (
    *("attribution", "copy_rate", "style_shift", "max_cosine", "likeness", "likeness_raw", "contamination"),
    *("subject_found", "missing", "subject_fraction", "num_background_cells"),
    *("leak", "agreement", "subject", "trait_likeness", "predicted_background"),
)
"""What is kept of a picture's row."""
NAMES = ("album", "group", "arm", "training_seed", "family", "prompt", "background", "seed", "step")
"""What says which picture it is; `seed` is that of its noise."""
COLUMNS = (*NAMES, *MEASURES)
VERSION = 2
"""Of the measure: one more where equal pictures get other numbers."""
AT_A_TIME = 8
"""Runs of a subject that are measured together: what a stop loses, and whose pictures are in memory."""
_DIGITS = 5


@dataclass(frozen=True, eq=False)
class Album:
    """What a subject's pictures are measured against."""

    photos: list[tuple[Pixels, Mask]]
    """Pixels and mask of each photo that was trained on."""
    decoys: list[Pixels]
    base: list[Picture]
    find_subject: SubjectFinder
    truth: Truth | None


def score(
    bench: Bench, runs: Sequence[Run], features: Features, *, again: bool = False, at_a_time: int = AT_A_TIME
) -> list[dict[str, Any]]:
    """Return the rows of all finished runs and of the base model, measured where they are not yet.

    Args:
        bench: the plan and its place.
        runs: those that are not finished are passed over.
        features: what describes a picture's cells.
        again: measure anew what is measured.
        at_a_time: runs of a subject that are measured together; nothing but the pace depends on it.

    Raises:
        UserError: no run is finished.
    """
    finished = sorted((run for run in runs if is_done(bench, run)), key=lambda run: run.name)
    if not finished:
        raise UserError(
            f"--out {bench.out}: no finished run of this plan; at least one is needed. Draw first."
        )
    digest = measure_digest(bench, features)
    if again:
        for run in finished:
            _folder(bench, run).forget(ROWS_STAGE)
    # What another process is at is waited for when all else is done.
    for wait in (False, True):
        todo = [run for run in finished if not _is_measured(bench, run, digest)]
        began, seen = time.monotonic(), 0
        for subject, own in groupby(todo, key=lambda run: run.subject):
            group = list(own)
            _score_subject(bench, subject, group, (features, digest), wait=wait, at_a_time=at_a_time)
            seen += len(group)
            left = (time.monotonic() - began) / seen * (len(todo) - seen) / 60
            print(f"{subject.name}: measured [{seen}/{len(todo)} runs]; {left:.0f} min left", flush=True)
    return _with_one_base(row for run in finished for row in _folder(bench, run).read_json(ROWS_FILE))


def measure_digest(bench: Bench, features: Features) -> str:
    """Return a digest of what pictures are measured with; rows of another one are made anew.

    The photos, the masks and the base model's pictures are not in it: a run is drawn anew where they change.
    """
    judge = None if bench.photos else file_digest(classifier.FOLDER / "model.safetensors")
    return digest_of(
        *(features.name, features.version, features.digest, NUM_BANKS, MEASURES, NAMES),
        *(VERSION, model_digest(bench.sam), judge),
    )


def _score_subject(
    bench: Bench,
    subject: Subject,
    runs: Sequence[Run],
    features: tuple[Features, str],
    *,
    wait: bool,
    at_a_time: int,
) -> None:
    """Measure runs of a subject, some at a time; those that another process holds only with `wait`."""
    album = None
    for first in range(0, len(runs), at_a_time):
        with ExitStack() as locks:
            mine = [
                run
                for run in runs[first : first + at_a_time]
                if locks.enter_context(locked(bench.run_folder(run), wait=wait))
                and not _is_measured(bench, run, features[1])
            ]
            if mine:
                album = album or read_album(bench, subject)
                _measure(bench, subject, album, mine, features)


def read_album(bench: Bench, subject: Subject) -> Album:
    """Return what a subject's pictures are measured against, from what was drawn."""
    models = load_models(bench.base)
    album = read_folder(bench.photos_of(subject), subject.instance_prompt)
    with locked(bench.out / "masks" / subject.name):
        masks = find_masks(bench, subject, album, models, device=device_of())
    found: list[Photo] = [photo for photo in album.photos if photo.stem in masks]
    segmenter = Segmenter.load(bench.sam, device_of())
    return Album(
        photos=[(photo.pixels, masks[photo.stem].mask) for photo in found],
        decoys=[read_photo(path).pixels for _, _, path in drawn(bench.out / "decoys")],
        base=base_pictures(bench, subject),
        find_subject=subject_finder(segmenter, found[0], masks[found[0].stem].mask),
        truth=None
        if subject.identity is None
        else Truth(classifier.load_classifier(), subject.noun, subject.identity, subject.photographed),
    )


def base_pictures(bench: Bench, subject: Subject) -> list[Picture]:
    """Return the base model's pictures under the prompts of the tuned models."""
    files = {(text, seed): path for text, seed, path in drawn(bench.out / "base" / subject.name)}
    return [
        _picture(prompt, seed, files[prompt.base_text, seed], None)
        for prompt in subject.prompts
        for seed in bench.plan.picture_seeds
    ]


def run_pictures(bench: Bench, run: Run) -> list[Picture]:
    """Return a run's pictures; those of the finished model have no step."""
    by_text = {prompt.text: prompt for prompt in run.subject.prompts}
    return [
        _picture(by_text[text], seed, path, None if step == bench.plan.steps[-1] else step)
        for step in bench.plan.steps
        for text, seed, path in drawn(bench.step_folder(run, step))
    ]


def drawn(folder: Path) -> list[tuple[str, int, Path]]:
    """Return prompt, seed and file of the pictures of a folder."""
    images = json.loads((folder / PROMPTS_FILE).read_text(encoding="utf-8"))["images"]
    return [(image["prompt"], image["seed"], folder / image["file"]) for image in images]


def write_rows(path: Path, rows: Iterable[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write rows as a table, compressed; equal rows give equal bytes."""
    table = [[_rounded(row.get(name)) for name in COLUMNS] for row in rows]
    text = json.dumps({**about, "columns": COLUMNS, "rows": table}, separators=(",", ":"))
    with atomic_path(path) as temporary:
        # Without a time in the file.
        temporary.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read_rows(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of a file, and what it says about itself.

    Raises:
        UserError: there is no such file, or it is no table of rows.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; the rows of a benchmark are needed. Run --full first.")
    try:
        about = json.loads(gzip.decompress(path.read_bytes()))
        columns, table = about.pop("columns"), about.pop("rows")
        return [dict(zip(columns, row, strict=True)) for row in table], about
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: no table of rows ({error}); the file that --full writes is needed. Make it anew."
        ) from error


def _measure(
    bench: Bench, subject: Subject, album: Album, runs: Sequence[Run], features: tuple[Features, str]
) -> None:
    """Write the rows of a subject's runs, with the base model's, into their folders, and stamp them."""
    result = compare(
        {BASE: album.base, **{run.name: run_pictures(bench, run) for run in runs}},
        photos=album.photos,
        decoys=album.decoys,
        find_subject=album.find_subject,
        features=features[0],
        truth=album.truth,
    )
    for run in runs:
        own = {"album": subject.name, "group": subject.group, "training_seed": run.seed}
        rows = [
            {
                name: (row | own | {"arm": BASE if row["arm"] == BASE else run.arm}).get(name)
                for name in COLUMNS
            }
            for row in result["rows"]
            if row["arm"] in (BASE, run.name)
        ]
        _folder(bench, run).write_text(ROWS_FILE, json.dumps(rows) + "\n")
        _folder(bench, run).mark_done(ROWS_STAGE, features[1])


def _is_measured(bench: Bench, run: Run, digest: str) -> bool:
    """Return whether a run has rows of these features."""
    return _folder(bench, run).is_done(ROWS_STAGE, digest, [ROWS_FILE])


def _folder(bench: Bench, run: Run) -> RunFolder:
    """Return the folder of a run."""
    return RunFolder(bench.run_folder(run), "--out")


def _with_one_base(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in which the base model's, that come with every run, are there once a subject."""
    kept: dict[tuple, dict[str, Any]] = {}
    for row in rows:
        own = row | {"training_seed": None} if row["arm"] == BASE else row
        kept.setdefault(tuple(own[name] for name in NAMES), own)
    return list(kept.values())


def _picture(prompt: Prompt, seed: int, path: Path, step: int | None) -> Picture:
    """Return a picture from its file."""
    # A place counts only where the picture was meant to show it.
    background = prompt.background if prompt.family == RECONTEXT else None
    return Picture(prompt.text, background, seed, read_photo(path).pixels, prompt.family, step, path)


def _rounded(value: object) -> object:
    """Return a value with the digits that are kept."""
    return round(value, _DIGITS) if isinstance(value, float) else value


def features_of(name: str, bench: Bench) -> Features:
    """Return the features of a name; some look through the bench's own models."""
    device = device_of()
    return load_features(
        name,
        models=load_models(bench.base) if name == "dift" else None,
        segmenter=Segmenter.load(bench.sam, device) if name == "sam" else None,
        device=device,
    )


def device_of() -> str:
    """Return where pictures are measured.

    An accelerator of another precision than that of the training before would be refused.
    """
    return str(PartialState().device)
