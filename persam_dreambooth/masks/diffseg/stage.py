"""The masks of an album by DiffSeg alone: no hint, no SAM; the model that is trained says where its word is.

Photos that have a mask already (given beside them, edited, kept from an earlier run) keep it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.candidates import working_size
from persam_dreambooth.masks.confidence import Confidence, Factor
from persam_dreambooth.masks.diffseg.nouns import NOUN_FLAG, columns_of, likeness_map, prompt_for
from persam_dreambooth.masks.diffseg.segmentation import DiffSeg
from persam_dreambooth.masks.diffseg.source import Source
from persam_dreambooth.masks.diffseg.subject import LEAST_SCORE, MOST_AREA, Choice, choose, cleaned
from persam_dreambooth.masks.failures import naming
from persam_dreambooth.masks.folder import MaskFolder
from persam_dreambooth.masks.record import left_out, subject_mask
from persam_dreambooth.masks.references import read_hints
from persam_dreambooth.photos import Photo
from persam_dreambooth.run import digest_of
from persam_dreambooth.settings import SearchConfig

METHOD = "diffseg"

# Source: benchmarks/diffseg.py --fit, on toy-world photos with the embedded Stable Diffusion.
EXPECTED_IOU = Factor(0.61, {"score": 0.07, "lead": 0.26})
"""What the best segment's score and its lead over the others let expect."""

_NO_NOUN = (
    f"{NOUN_FLAG}: nobody says what the subject is called; what is in the middle of a photo and not at its "
    "border is taken for it"
)


@dataclass(frozen=True, eq=False)
class Found:
    """The subject in one photo."""

    mask: Bool[np.ndarray, "H W"]
    """True on the subject, at the photo's size; nothing where there is a reason against it."""
    confidence: Confidence | None
    """None where no segment could be it."""
    reason: str | None
    """Why the photo is left out; None where it is not."""
    choice: Choice


def fill(
    photos: list[Photo],
    options: SearchConfig,
    source: Source,
    *,
    out_dir: Path,
    device: str,
    latent_size: tuple[int, int] | None,
) -> MaskFolder:
    """Find the subject in every photo that has no mask yet, and return the folder with all masks.

    Args:
        photos: of the album.
        options: hints that are masks, and the least confidence.
        source: what finds it.
        out_dir: of the masks.
        device: where the model runs.
        latent_size: for the record.

    Raises:
        UserError: there is a hint for SAM, or the model or its word cannot be used.
    """
    _check_hints(options)
    marked = read_hints(photos, options)
    folder = MaskFolder(out_dir, photos)
    given = {stem: hint.digest for stem, hint in marked.by_stem.items()}
    folder.keep(
        {photo.stem: digest_of(photo.digest, given.get(photo.stem) or source.inputs) for photo in photos},
        options.min_confidence,
    )
    known = {*folder.masks, *folder.left_out, *marked.by_stem}
    todo = [photo for photo in photos if photo.stem not in known]
    # What is in the way is said before anything is written.
    diffseg = source.segmenter(device) if todo else None
    if diffseg is not None and source.noun is None:
        tqdm.write(_NO_NOUN)
    folder.start(
        {
            "diffseg": asdict(source.settings),
            "latent_size": latent_size,
            "method": METHOD,
            "min_confidence": options.min_confidence,
            "noun": source.noun,
            "references": [],
        }
    )
    for stem, hint in marked.by_stem.items():
        if stem not in folder.masks:
            folder.add(subject_mask(stem, hint.mask, hint.kind))
    for photo in tqdm(todo, desc="masks", unit="photo", disable=None):
        with naming([photo], folder.path):
            found = find_subject(diffseg, photo, source.noun, min_confidence=options.min_confidence)
            if found.reason is not None:
                folder.leave_out(left_out(photo.stem, found.reason, found.confidence))
            else:
                folder.add(subject_mask(photo.stem, found.mask, METHOD, confidence=found.confidence))
    if diffseg is not None:
        diffseg.release()
    return folder


def find_subject(diffseg: DiffSeg, photo: Photo, noun: str | None, *, min_confidence: float = 0.0) -> Found:
    """Return the subject of one photo, how sure that is, or why there is none.

    Args:
        diffseg: the model.
        photo: of the album.
        noun: what the subject is called; None to go by the middle and the border.
        min_confidence: what is less sure is left out.

    Raises:
        UserError: the model cannot segment this photo, or the noun cannot be asked for.
    """
    prompt = None if noun is None else prompt_for(noun)
    segments = diffseg.segment(photo.pixels, prompt, name=str(photo.path))
    small = working_size(photo.size)
    likeness = None
    if segments.of_tokens:
        likeness = likeness_map(segments, columns_of(diffseg.models, prompt, noun), small)
    choice = choose(segments.labels(small), likeness)
    nothing = np.zeros(photo.size, bool)
    if not choice.chosen:
        reason = f"no segment could be the subject: each is a speck or covers more than {MOST_AREA:.0%}"
        return Found(nothing, None, reason, choice)
    trust = confidence_of(choice)
    reason = why_left_out(choice, trust, min_confidence)
    mask = nothing if reason else cleaned(np.isin(segments.labels(), choice.chosen))
    return Found(mask, trust, reason, choice)


def confidence_of(choice: Choice) -> Confidence:
    """Return the IoU with the truth that the scores let expect; 0 where nothing stands out."""
    parts = {"score": _share(choice.score), "lead": _share(choice.margin), "noun": _share(choice.contrast)}
    value = EXPECTED_IOU(parts) if choice.score >= LEAST_SCORE else 0.0
    return Confidence(round(value, 4), {name: round(part, 4) for name, part in parts.items()})


def why_left_out(choice: Choice, trust: Confidence, min_confidence: float) -> str | None:
    """Return why a photo is left out, or None where it is not."""
    if trust.value >= min_confidence:
        return None
    if choice.score < LEAST_SCORE:
        return f"no segment stands out (the best one's score {choice.score:.2f} is below {LEAST_SCORE:g})"
    told = f"confidence {trust.value:.2f} is below {min_confidence:g}"
    return f"unsure which segments are the subject ({told})"


def _share(value: float) -> float:
    """Return a value cut to 0 ... 1."""
    return float(min(1.0, max(0.0, value)))


def _check_hints(options: SearchConfig) -> None:
    """Raise UserError where a hint is given that only SAM can read."""
    for name in ("reference_box", "reference_points", "reference_scribble", "reference_choice"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name}: a hint for SAM, and --mask_method {METHOD} asks none; one of the two is needed. "
                "Drop the hint, or use --mask_method persam_f."
            )
