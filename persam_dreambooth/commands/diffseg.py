"""`persam-dreambooth diffseg`: what a diffusion model tells apart in a photo, to look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from persam_dreambooth.errors import UserError
from persam_dreambooth.run import check_writable
from persam_dreambooth.settings import DiffSegConfig

# Records that cannot change: one for all calls.
_DEFAULTS = DiffSegConfig()


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the segments are called, and which is the subject."""

    caption: str | None = None
    """What is in the photo: every segment gets the word of it that it looks at most."""
    nouns: tuple[str, ...] = ()
    """Only these words of the caption; without them, all but articles, prepositions and the like."""
    voting: Literal["mean", "majority"] = "mean"
    """Compare means over a segment, or take the word that most of its pixels have."""
    pick: tuple[int, ...] = ()
    """Segments that are the subject, by their numbers in the map, instead of what the rule takes."""

    def __post_init__(self) -> None:
        """Check pairs."""
        if self.nouns and self.caption is None:
            raise UserError(
                f"--nouns {' '.join(self.nouns)}: words of a caption, which is missing; --caption is needed. "
                'For example --caption "a cat on a sofa".'
            )
        if self.caption is not None and not self.caption.strip():
            raise UserError("--caption: empty; what is in the photo is needed. For example a cat on a sofa.")


_NAMES = Names()


def diffseg(
    photo: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    out: Path,
    model: str = "toy",
    names: Annotated[Names, tyro.conf.arg(name="")] = _NAMES,
    device: str = "cpu",
    settings: Annotated[DiffSegConfig, tyro.conf.arg(name="")] = _DEFAULTS,
) -> None:
    """Segment a photo with Stable Diffusion's attention: a map in colour with a legend, labels, and a JSON.

    Args:
        photo: The photo.
        out: Folder for the results.
        model: A Stable Diffusion folder in diffusers' format, a hub id, or "toy".
        names: What the segments are called.
        device: Where to compute, for example "cuda".
        settings: The parameters of the method.
    """
    check_writable(out, "--out")
    from persam_dreambooth.diffusion.models import load_models
    from persam_dreambooth.leakage.model_files import told_as
    from persam_dreambooth.masks.diffseg.report import write_segments
    from persam_dreambooth.masks.diffseg.segmentation import DiffSeg
    from persam_dreambooth.photos import read_photo

    read = read_photo(photo)
    with told_as("--model"):
        lines = write_segments(
            DiffSeg(load_models(model), settings, device),
            read,
            out,
            caption=names.caption,
            nouns=names.nouns,
            noun=settings.diffseg_noun,
            voting=names.voting,
            picked=frozenset(names.pick),
        )
    print("\n".join(lines))
