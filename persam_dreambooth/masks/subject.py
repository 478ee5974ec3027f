"""What is looked for: the subject as one of the methods remembers it, and how that method looks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.masks.passes import FoundMask
from persam_dreambooth.sam.segmenter import Embedding, Segmenter

METHODS: dict[str, ModuleType] = {"persam_f": persam_f, "persam": persam}

Target = persam.Target | persam_f.Target


@dataclass(frozen=True, eq=False)
class Subject:
    """A subject, remembered."""

    method: str
    """A key of METHODS."""
    target: Target
    references: tuple[Reference, ...]
    """What it was learnt from; at least one."""
    compat: bool = False
    """Compute what the authors' programs compute."""


def remember(
    segmenter: Segmenter,
    references: Sequence[Reference],
    *,
    method: str,
    solver: str = "adamw",
    compat: bool = False,
) -> Subject:
    """Return the subject that references show, features pooled and weights fitted over all of them.

    Args:
        segmenter: the model that made the references' embeddings.
        references: at least one.
        method: a key of METHODS.
        solver: of persam_f's weights.
        compat: compute what the authors' programs compute.

    Raises:
        UserError: the subject is smaller than a cell of the feature grid.
    """
    options = {"solver": solver} if method == "persam_f" else {}
    target = METHODS[method].fit(segmenter, references, compat=compat, **options)
    return Subject(method, target, tuple(references), compat)


def look_for(segmenter: Segmenter, embedding: Embedding, subject: Subject, photo_name: str) -> FoundMask:
    """Return the subject's mask in an encoded photo.

    Raises:
        UserError: no mask of SAM's can be used; the text names the photo.
    """
    find = METHODS[subject.method].find
    return find(segmenter, embedding, subject.target, photo_name, compat=subject.compat)
