"""Several named subjects in one album: each is looked for by itself, then they compete for every pixel.

Each subject gets a folder of masks, like that of a single one; where the logits of two are positive, the
pixel belongs to the larger. Masks that a person made or edited are not cut.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.failures import naming
from persam_dreambooth.masks.folder import MaskFolder
from persam_dreambooth.masks.record import SubjectMask, left_out, subject_mask
from persam_dreambooth.masks.references import (
    Hint,
    Hints,
    check_distinct,
    mask_hint,
    owner_of,
    with_corrections,
)
from persam_dreambooth.masks.search import Finding, search
from persam_dreambooth.masks.stage import ALGORITHM, conclude
from persam_dreambooth.masks.subject import Subject, remember
from persam_dreambooth.photos import Photo
from persam_dreambooth.sam.segmenter import Segmenter, model_digest
from persam_dreambooth.settings import SearchConfig

# A mask of which others take more than the rest was of one of them, not of what overlaps it.
_LEAST_KEPT = 0.5


def find_subjects(
    photos: list[Photo],
    named: Sequence[str],
    settings: SearchConfig,
    *,
    out_dir: Path,
    sam: str = "toy",
    sam_adapter: Path | None = None,
    method: str = "persam_f",
    device: str = "cpu",
) -> dict[str, dict[str, SubjectMask]]:
    """Return the masks of several subjects, by name and photo stem, and write them to `out_dir/<name>`.

    Args:
        photos: at least one, with different stems.
        named: `name=mask file` of each subject; a name may occur again with a mask in another photo.
        settings: how the subjects are looked for; without a hint of its own.
        out_dir: folder of the results.
        sam: `toy`, a folder, a hub id, or an original checkpoint.
        sam_adapter: a file of adapt-sam's for it.
        method: `persam_f` or `persam`.
        device: where SAM runs.

    Raises:
        UserError: a name or a mask cannot be used; no photo of a subject is left.
    """
    hints = read_subjects(photos, named, settings)
    folders = {name: MaskFolder(Path(out_dir) / name, photos) for name in hints}
    for name, folder in folders.items():
        hints[name] = list(with_corrections(Hints({}, tuple(hints[name])), photos, folder).references)
    inputs = _inputs(photos, hints, settings, f"{ALGORITHM} {method}", model_digest(sam, sam_adapter))
    for name, folder in folders.items():
        folder.keep(inputs[name], settings.min_confidence)
    todo = [photo for photo in photos if any(not _is_decided(folder, photo) for folder in folders.values())]
    segmenter = Segmenter.load(sam, device, sam_adapter) if todo else None
    for name, folder in folders.items():
        told = [hint.told for hint in hints[name]]
        folder.start(
            {
                "algorithm": ALGORITHM,
                "latent_size": None,
                "method": method,
                "min_confidence": settings.min_confidence,
                "references": told,
                "sam": sam,
                "sam_adapter": sam_adapter and str(sam_adapter),
            }
        )
        for hint in hints[name]:
            if hint.photo.stem not in folder.masks:
                folder.add(subject_mask(hint.photo.stem, hint.mask, "given"))
    if segmenter is not None:
        subjects = {
            name: _remember(segmenter, own, method, settings, Path(out_dir)) for name, own in hints.items()
        }
        for photo in tqdm(todo, desc="masks", unit="photo", disable=None):
            with naming([photo], Path(out_dir)):
                _search_one(photo, folders, segmenter, subjects, settings.min_confidence)
    return {
        name: conclude(photos, folder, latent_size=None, min_confidence=settings.min_confidence)
        for name, folder in folders.items()
    }


def read_subjects(photos: list[Photo], named: Sequence[str], settings: SearchConfig) -> dict[str, list[Hint]]:
    """Return the masks of each subject, by name.

    Raises:
        UserError: a text is not `name=file`, a mask cannot be read, or there is another hint as well.
    """
    if settings.has_hint or settings.save_intermediates:
        raise UserError(
            "--subjects: goes with none of --reference_... and --save_intermediates; each subject's mask is "
            "its hint. Leave the other flags out."
        )
    hints: dict[str, list[Hint]] = {}
    for text in named:
        name, _, path = text.partition("=")
        if not path or not name or Path(name).name != name or name in (".", ".."):
            raise UserError(
                f"--subjects {text}: is not name=mask; a name for the subject's folder and a mask file are "
                "needed. For example --subjects cat=00.cat.png dog=03.dog.png."
            )
        hints.setdefault(name, []).append(mask_hint(owner_of(Path(path), photos), Path(path), "--subjects"))
    for own in hints.values():
        check_distinct(own, "--subjects")
    if len(hints) < 2:
        raise UserError(
            f"--subjects {' '.join(named)}: one subject; at least two are needed. For one, use "
            "--reference_mask."
        )
    return hints


def compete(
    logits: Mapping[str, Float[Tensor, "H W"]],
) -> dict[str, Bool[Tensor, "H W"]]:
    """Return which pixels each subject wins: its logit is above 0 and the largest; of equals the first."""
    names = list(logits)
    stacked = torch.stack([logits[name] for name in names])
    winner = torch.where(stacked.amax(dim=0) > 0, stacked.argmax(dim=0), -1)
    return {name: winner == number for number, name in enumerate(names)}


def _inputs(
    photos: list[Photo], hints: Mapping[str, list[Hint]], settings: SearchConfig, algorithm: str, model: str
) -> dict[str, dict[str, str]]:
    """Return, by name and stem, a digest of everything that a mask depends on; of all subjects' hints too."""
    common = [f"{algorithm} {settings.fit_solver} {settings.persam_compat}", model]
    common += sorted(
        f"{name} {hint.photo.digest} {hint.digest}" for name, own in hints.items() for hint in own
    )
    return {
        name: {
            photo.stem: hashlib.sha256("\n".join([name, photo.digest, *common]).encode()).hexdigest()
            for photo in photos
        }
        for name in hints
    }


def _is_decided(folder: MaskFolder, photo: Photo) -> bool:
    """Return whether it is known where a subject is in a photo, or that it is not."""
    return photo.stem in folder.masks or photo.stem in folder.left_out


def _remember(
    segmenter: Segmenter, hints: list[Hint], method: str, settings: SearchConfig, folder: Path
) -> Subject:
    """Return a subject as its masks show it."""
    references = []
    for hint in hints:
        with naming([hint.photo], folder):
            references.append(
                Reference(segmenter.encode(hint.photo.pixels), hint.mask, hint.name, hint.photo.pixels)
            )
    return remember(
        segmenter, references, method=method, solver=settings.fit_solver, compat=settings.persam_compat
    )


def _search_one(
    photo: Photo,
    folders: Mapping[str, MaskFolder],
    segmenter: Segmenter,
    subjects: Mapping[str, Subject],
    min_confidence: float,
) -> None:
    """Look for all subjects in one photo, let them compete, and write what each of them wins."""
    embedding = segmenter.encode(photo.pixels)
    findings: dict[str, Finding] = {}
    logits: dict[str, Float[Tensor, "H W"]] = {}
    for name, subject in subjects.items():
        known = folders[name].masks.get(photo.stem)
        if known is not None and known.source in ("given", "edited"):
            # A person's mask wins every pixel of it, and no other.
            logits[name] = torch.where(torch.from_numpy(known.mask), torch.inf, -torch.inf)
            continue
        findings[name] = search(
            segmenter,
            photo.pixels,
            embedding,
            subject,
            photo_name=str(photo.path),
            min_confidence=min_confidence,
        )
        if findings[name].reason is None:
            logits[name] = findings[name].best.logits(segmenter).cpu()
    won = compete(logits) if logits else {}
    for name, finding in findings.items():
        best, reason = finding.best, finding.reason
        if reason is None:
            kept = float(won[name].sum() / (logits[name] > 0).sum())
            reason = None if kept >= _LEAST_KEPT else _outdone(kept)
        if reason is not None:
            # Where it was outdone, its confidence says nothing: it was that of the other one's mask.
            trust = best.confidence if best and finding.reason else None
            folders[name].leave_out(left_out(photo.stem, reason, trust))
            continue
        mask, method = won[name].numpy(), subjects[name].method
        folders[name].add(subject_mask(photo.stem, mask, method, best.found, best.confidence, best.how))


def _outdone(kept: float) -> str:
    """Return why a subject is left out of which others took all but a share."""
    return f"another subject is likelier at {1 - kept:.0%} of its pixels"
