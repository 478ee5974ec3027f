"""Stage 1, photos to masks: a mask of the subject for every photo in which it is found.

In: photos, and what says where the subject is in at least one of them; or nothing, and the thing that is in
every photo is taken. Out, in one folder: `<photo>.png` (white on black, at the photo's size), `masks.json`,
`masks.html` and `contact_sheet.png` to look through, with `save_intermediates` also `<photo>.npz`.

Masks are found again only where something changed that they depend on. One that a person has edited in the
folder is theirs: it stays as it is until they delete it or replace the photo.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.candidates import ThingSource
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.failures import naming
from persam_dreambooth.masks.folder import PAGE_FILE, MaskFolder
from persam_dreambooth.masks.intermediates import write_intermediates
from persam_dreambooth.masks.overview import write_overview, write_proposals
from persam_dreambooth.masks.proposals import chosen
from persam_dreambooth.masks.record import SubjectMask, left_out, subject_mask
from persam_dreambooth.masks.references import (
    Hints,
    proposals_of,
    read_hints,
    references_of,
    with_corrections,
)
from persam_dreambooth.masks.search import search
from persam_dreambooth.masks.subject import Subject, remember
from persam_dreambooth.photos import Photo
from persam_dreambooth.sam.segmenter import Embedding, Segmenter, model_digest
from persam_dreambooth.settings import SearchConfig

if TYPE_CHECKING:
    from persam_dreambooth.masks.diffseg.source import Source

__all__ = ["SubjectMask", "find_masks"]

# Raise it when the same photos, hint and model give other masks than before: kept ones are then found again.
ALGORITHM = 4

# Photos that the encoder sees at once on a GPU; on a CPU that gains nothing.
_GPU_BATCH = 4


def find_masks(  # noqa: PLR0913 (what the stage can be told, each by its name)
    photos: list[Photo],
    settings: SearchConfig | None = None,
    *,
    out_dir: Path,
    sam: str = "toy",
    sam_adapter: Path | None = None,
    method: str = "persam_f",
    device: str = "cpu",
    latent_size: tuple[int, int] | None = None,
    diffseg: "Source | None" = None,
    **changes: object,
) -> dict[str, SubjectMask]:
    """Return the subject's mask in every photo in which it is found, by the photo's stem, and write them.

    Each is written as soon as it is found; the next run goes on from there. Photos that are left out are
    named, with the reason, on the screen, in `masks.json` and in `masks.html`.

    Args:
        photos: at least one, with different stems.
        settings: the hint, and how the subject is looked for.
        out_dir: folder of the results.
        sam: `toy`, a folder, a hub id, or an original checkpoint.
        sam_adapter: a file of adapt-sam's for it.
        method: `persam_f`, `persam` or `diffseg`.
        device: where SAM, or the diffusion model, runs.
        latent_size: (rows, columns) of the training square's latents, for the sheets and the flags.
        diffseg: the diffusion model, for the method of this name and for its proposals; None for neither.
        changes: single settings, over those of `settings`: `reference_box=(40, 30, 200, 220)`. Of
            `reference_mask` one path is as good as a list.

    Raises:
        UserError: a hint cannot be used; SAM cannot be loaded; no photo is left.
    """
    options = dataclasses.replace(settings or SearchConfig(), **_with_paths(changes))
    if method == "diffseg":
        # Imported here: diffusers takes seconds, and PerSAM needs none of it.
        from persam_dreambooth.masks.diffseg.stage import fill

        folder = fill(photos, options, diffseg, out_dir=out_dir, device=device, latent_size=latent_size)
        return conclude(photos, folder, latent_size=latent_size, min_confidence=options.min_confidence)
    marked = read_hints(photos, options)
    folder = MaskFolder(out_dir, photos)
    proposed = folder.proposed(options.reference_choice)
    marked = with_corrections(marked, photos, folder, proposed)
    proposer = (
        None if diffseg is None or diffseg.settings.proposals == "sam" or marked.references else diffseg
    )
    told = "" if proposer is None else proposer.inputs
    folder.keep(_inputs(photos, marked, options, method, (sam, sam_adapter), told), options.min_confidence)
    # What is in the way of a model is said before anything is written.
    todo = _todo(photos, marked, folder, options)
    segmenter = Segmenter.load(sam, device, sam_adapter) if todo else None
    things = proposer.things(device) if proposer is not None and todo else None
    folder.start(
        {
            "algorithm": ALGORITHM,
            "latent_size": latent_size,
            "method": method,
            "min_confidence": options.min_confidence,
            "reference_choice": options.reference_choice,
            "references": [hint.told for hint in marked.references] or proposed,
            "sam": sam,
            "sam_adapter": sam_adapter and str(sam_adapter),
        }
    )
    for stem, hint in marked.by_stem.items():
        if hint.mask is not None and stem not in folder.masks:
            folder.add(subject_mask(stem, hint.mask, hint.kind))
    if segmenter is not None:
        embeddings: dict[str, Embedding] = {}
        references = _references(photos, marked, folder, segmenter, embeddings, options, things)
        if things is not None:
            things.diffseg.release()
        subject = remember(
            segmenter, references, method=method, solver=options.fit_solver, compat=options.persam_compat
        )
        _search_all(todo, folder, segmenter, embeddings, subject, options)
    return conclude(photos, folder, latent_size=latent_size, min_confidence=options.min_confidence)


def conclude(
    photos: list[Photo], folder: MaskFolder, *, latent_size: tuple[int, int] | None, min_confidence: float
) -> dict[str, SubjectMask]:
    """Write the sheets, name the photos that are left out, and return the masks in the photos' order.

    Raises:
        UserError: no photo is left.
    """
    write_overview(photos, folder, latent_size)
    if folder.left_out:
        told = "; ".join(f"{stem}: {left.reason}" for stem, left in folder.left_out.items())
        tqdm.write(f"{folder.path}: {len(folder.left_out)} of {len(photos)} photos are left out ({told})")
    if not folder.masks:
        raise UserError(
            f"--min_confidence {min_confidence:g}: each of the {len(photos)} photos was left out; at least "
            f"one mask is needed. Look at {folder.path / PAGE_FILE}, and mark the subject in another photo."
        )
    return {photo.stem: folder.masks[photo.stem] for photo in photos if photo.stem in folder.masks}


def _with_paths(changes: Mapping[str, object]) -> dict[str, object]:
    """Return settings with one path of `reference_mask` as a tuple of paths."""
    found = dict(changes)
    masks = found.get("reference_mask")
    if isinstance(masks, str | Path):
        masks = (masks,)
    if masks is not None:
        found["reference_mask"] = tuple(Path(path) for path in masks)
    return found


def _inputs(
    photos: list[Photo],
    marked: Hints,
    options: SearchConfig,
    method: str,
    sam: tuple[str, Path | None],
    proposer: str,
) -> dict[str, str]:
    """Return, by stem, a digest of everything that a photo's mask depends on."""
    common = [f"{ALGORITHM} {method} {options.fit_solver} {options.persam_compat}"]
    if any(photo.stem not in marked.by_stem or marked.by_stem[photo.stem].mask is None for photo in photos):
        common.append(model_digest(*sam))
    common += sorted(f"{hint.photo.digest} {hint.digest}" for hint in marked.references)
    if not marked.references:
        common += [str(options.reference_choice), *sorted(photo.digest for photo in photos)]
        common += [proposer] if proposer else []

    def digest_for(photo: Photo) -> str:
        hint = marked.by_stem.get(photo.stem)
        parts = ["given", hint.digest] if hint is not None and hint.mask is not None else common
        return hashlib.sha256("\n".join([photo.digest, *parts]).encode()).hexdigest()

    return {photo.stem: digest_for(photo) for photo in photos}


def _todo(photos: list[Photo], marked: Hints, folder: MaskFolder, options: SearchConfig) -> list[Photo]:
    """Return the photos that a model has to look at."""

    def is_done(photo: Photo) -> bool:
        hint = marked.by_stem.get(photo.stem)
        left = folder.left_out.get(photo.stem)
        # Of a photo in which SAM found nothing at all there are no arrays either.
        nothing = left is not None and left.confidence is None
        if options.save_intermediates and not nothing and not _npz(folder, photo).is_file():
            return False
        return left is not None or photo.stem in folder.masks or bool(hint and hint.mask is not None)

    return [photo for photo in photos if not is_done(photo)]


def _references(
    photos: list[Photo],
    marked: Hints,
    folder: MaskFolder,
    segmenter: Segmenter,
    embeddings: dict[str, Embedding],
    options: SearchConfig,
    things: ThingSource | None,
) -> list[Reference]:
    """Return the references; their masks are the masks of their photos."""
    if marked.references:
        references, masks = references_of(marked, segmenter, embeddings, options, folder.path)
        sources = {stem: hint.kind for stem, hint in marked.by_stem.items()}
    else:
        proposals = proposals_of(photos, segmenter, embeddings, folder.path, things)
        # Before one is chosen: where none is clear, a person has to look.
        write_proposals(folder.path, photos, proposals)
        winner = chosen(proposals, options.reference_choice)
        photo = photos[winner.photo_index]
        references = [Reference(embeddings[photo.stem], winner.mask, str(photo.path), photo.pixels)]
        masks, sources = {photo.stem: winner.mask}, {photo.stem: "proposed"}
        number = options.reference_choice or 1
        folder.tell(
            references=[{"photo": photo.path.name, "source": "proposed", "hint": f"proposal {number}"}]
        )
    for stem, mask in masks.items():
        if stem not in folder.masks:
            folder.add(subject_mask(stem, mask, sources[stem]))
    return references


def _search_all(
    todo: list[Photo],
    folder: MaskFolder,
    segmenter: Segmenter,
    embeddings: dict[str, Embedding],
    subject: Subject,
    options: SearchConfig,
) -> None:
    """Look for the subject in each of these photos and write what is found, photo by photo."""
    batch = _GPU_BATCH if segmenter.device.type == "cuda" else 1
    with tqdm(total=len(todo), desc="masks", unit="photo", disable=None) as bar:
        for start in range(0, len(todo), batch):
            photos = todo[start : start + batch]
            _encode(photos, folder, segmenter, embeddings)
            for photo in photos:
                _search_one(photo, folder, segmenter, embeddings.pop(photo.stem), subject, options)
                bar.update()


def _encode(
    photos: list[Photo], folder: MaskFolder, segmenter: Segmenter, embeddings: dict[str, Embedding]
) -> None:
    """Encode those photos that are not encoded yet."""
    missing = [photo for photo in photos if photo.stem not in embeddings]
    if not missing:
        return
    with naming(missing, folder.path):
        encoded = segmenter.encode_batch([photo.pixels for photo in missing])
    embeddings |= {photo.stem: one for photo, one in zip(missing, encoded, strict=True)}


def _search_one(
    photo: Photo,
    folder: MaskFolder,
    segmenter: Segmenter,
    embedding: Embedding,
    subject: Subject,
    options: SearchConfig,
) -> None:
    """Look for the subject in one photo and write what is found."""
    with naming([photo], folder.path):
        finding = search(
            segmenter,
            photo.pixels,
            embedding,
            subject,
            photo_name=str(photo.path),
            min_confidence=options.min_confidence,
        )
        if options.save_intermediates and finding.first is not None:
            write_intermediates(_npz(folder, photo), finding.first, subject.target)
        # Where only the arrays were missing, the mask that was given or kept stays.
        if photo.stem in folder.masks or photo.stem in folder.left_out:
            return
        best = finding.best
        if finding.reason is not None:
            folder.leave_out(left_out(photo.stem, finding.reason, best and best.confidence))
            return
        mask = best.found.mask.cpu().numpy()
        folder.add(subject_mask(photo.stem, mask, subject.method, best.found, best.confidence, best.how))


def _npz(folder: MaskFolder, photo: Photo) -> Path:
    """Return where a photo's arrays lie."""
    return folder.path / f"{photo.stem}.npz"
