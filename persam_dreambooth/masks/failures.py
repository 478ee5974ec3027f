"""What a person reads when something fails at one photo: at which one, and what is not lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.photos import Photo


@contextmanager
def naming(photos: list[Photo], folder: Path) -> Iterator[None]:
    """Name the photos at which something fails, and say that what is written is not lost.

    Args:
        photos: those that are worked on.
        folder: where masks are written.

    Raises:
        UserError: memory or the disk ran out.
    """
    names = ", ".join(str(photo.path) for photo in photos)
    with Noting(f"This happened at {names}. The masks of the photos before it are in {folder}."):
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, OSError) as error:
            raise UserError(
                f"{names}: could not be segmented ({one_line(error) or type(error).__name__}); the masks of "
                f"the photos before it are in {folder}. Run the same command again to go on from there, if "
                "memory ran out with smaller photos or another --sam."
            ) from error


class Noting:
    """Adds a line to the traceback of whatever is raised inside; hides nothing."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Note the text on what was raised, if anything was; it goes on to the caller."""
        if error is not None:
            error.add_note(self.text)
