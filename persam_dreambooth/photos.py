"""Photos and masks, in from files and out to files: upright, RGB, uint8 [H W 3], with a digest of each."""

import hashlib
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.files import atomic_path
from persam_dreambooth.picture_files import (
    FOREIGN_SUFFIXES,
    PHOTO_SUFFIXES,
    foreground,
    nearest_path,
    open_picture,
    rgb,
)

MASK_SUFFIX = ".mask.png"

MIN_SIDE = 8
"""Pixels: the side of one latent cell. A smaller picture is an icon or a tracking pixel, not a photo."""

MAX_SIDE_RATIO = 32
"""Of the longer to the shorter side: a longer strip vanishes when SAM shrinks it to its input."""


@dataclass(frozen=True)
class Photo:
    """One photo as the rest of the program sees it."""

    path: Path
    """The file it came from."""
    pixels: UInt8[np.ndarray, "H W 3"] = field(repr=False, compare=False)
    """RGB, 0 to 255, turned upright as its EXIF orientation says."""
    digest: str
    """sha256 (hex) of shape and pixels: equal photos have equal digests, whatever their names or formats."""

    @property
    def stem(self) -> str:
        """The file name without folder and suffix: the key of this photo in every table."""
        return self.path.stem

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


def list_photos(folder: Path) -> list[Path]:
    """Return the photos of a folder, sorted by name; hidden files and `*.mask.png` are not photos.

    Raises:
        UserError: the folder is missing or no folder, or it holds no photo.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: {_why_no_folder(folder)}; a folder of photos is needed.{nearest_path(folder)}"
        )
    photos = sorted((path for path in folder.iterdir() if _is_photo(path)), key=lambda path: path.name)
    if not photos:
        kinds, skipped = " ".join(PHOTO_SUFFIXES), skipped_photos(folder)
        beside = f"; not read: {', '.join(skipped)}" if skipped else ""
        advice = "Save those as JPEG or PNG." if skipped else "Add one."
        raise UserError(
            f"{folder}: no photos in this folder; at least one file of {kinds} is needed{beside}. {advice}"
        )
    return photos


def skipped_photos(folder: Path) -> list[str]:
    """Return the names of files that are photos or videos of kinds that are not read, sorted."""
    return sorted(
        path.name
        for path in Path(folder).iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix.lower() in FOREIGN_SUFFIXES
        and not _is_photo(path)
    )


def read_photo(path: Path) -> Photo:
    """Read one photo: upright, RGB, transparent pixels laid on white.

    Raises:
        UserError: the file is missing, is no picture or an animation, ends too early, or is larger, smaller
            or longer than a photo can be.
    """
    path = Path(path)
    image = open_picture(path)
    short, long = sorted(image.size)
    if short < MIN_SIDE or long > MAX_SIDE_RATIO * short:
        raise UserError(
            f"{path}: {image.width} x {image.height} pixels; a photo has at least {MIN_SIDE} on each side, "
            f"and its longer side is at most {MAX_SIDE_RATIO} times the shorter. Remove it, or crop it."
        )
    pixels = rgb(image, str(path))
    return Photo(path=path, pixels=pixels, digest=array_digest(pixels))


def read_photos(folder: Path) -> list[Photo]:
    """Read every photo of a folder, sorted by name; say on standard error which files are of unread kinds.

    Raises:
        UserError: as `photo_paths` and `read_photo`.
    """
    return [read_photo(path) for path in photo_paths(folder)]


def photo_paths(folder: Path) -> list[Path]:
    """Return the photos of a folder, one of each name; say on standard error which files are not read.

    Raises:
        UserError: as `list_photos`; also two photos whose names differ only in the suffix or in upper and
            lower case, because masks are named after the stem and some disks do not tell cases apart.
    """
    paths = list_photos(folder)
    seen: dict[str, Path] = {}
    for path in paths:
        key = unicodedata.normalize("NFC", path.stem).casefold()
        if key in seen:
            raise UserError(
                f"{path}: same name as {seen[key].name} but for the suffix or upper and lower case; "
                "masks are named after the photo, so every name may occur once. Rename one of the two."
            )
        seen[key] = path
    skipped = skipped_photos(folder)
    if skipped:
        tqdm.write(
            f"{folder}: skipped {', '.join(skipped)}: files of these kinds are not read; "
            "save them as JPEG or PNG to use them",
            file=sys.stderr,
        )
    return paths


def read_mask(path: Path, size: tuple[int, int], flag: str = "") -> Bool[np.ndarray, "H W"]:
    """Read a mask; True is the subject.

    Black is background, and so is what is transparent in a picture with transparency. What is at least half
    as bright (in its brightest channel) as the brightest pixel is subject: so masks of 0 and 1, of 0 and 255,
    with a palette or in colour all mean the same.

    Args:
        path: the mask file, upright by its EXIF orientation as photos are.
        size: (height, width) of the photo it belongs to, in pixels.
        flag: the flag that named the file, put in front of error texts.

    Raises:
        UserError: the file is missing or unreadable, has another size than the photo, or is empty or full.
    """
    path = Path(path)
    name = f"{flag} {path}".strip()
    image = open_picture(path, flag)
    if (image.height, image.width) != tuple(size):
        raise UserError(f"{name}: {_other_size(image, size)}")
    mask = foreground(image)
    if not mask.any():
        raise UserError(f"{name}: the mask is empty; some pixels must be subject. Paint it white on black.")
    if mask.all():
        raise UserError(
            f"{name}: the mask covers the whole photo; some pixels must be background. Paint those black."
        )
    return mask


def write_mask(path: Path, mask: Bool[np.ndarray, "H W"]) -> None:
    """Write a mask as an 8-bit grey picture, atomically: 255 on the subject and 0 elsewhere."""
    pixels = np.where(np.asarray(mask, dtype=bool), 255, 0).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def mask_beside(path: Path) -> Path:
    """Return where a hand-made mask of a photo lies: `00.jpg` has `00.mask.png`."""
    return Path(path).with_suffix(MASK_SUFFIX)


def sample_images(name: str = "cat") -> Path:
    """Return the folder of a sample subject: the one in the source checkout, else the packaged copy.

    Raises:
        UserError: there is no such sample subject.
    """
    package = Path(__file__).parent
    places = [package.parent / "instance_images", package / "instance_images"]
    for place in places:
        if (place / name).is_dir():
            return place / name
    known = sorted(
        {folder.name for place in places if place.is_dir() for folder in place.iterdir() if folder.is_dir()}
    )
    raise UserError(
        f"instance_images/{name}: no such sample subject; known are {', '.join(known) or 'none'}."
    )


def array_digest(array: np.ndarray) -> str:
    """Return the sha256 (hex) of an array's type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    # The bytes as they lie in memory, not a copy of them.
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_photo(path: Path) -> bool:
    """Return whether a file counts as a photo by its name."""
    name = path.name.lower()
    return (
        path.is_file()
        and not name.startswith(".")
        and not name.endswith(MASK_SUFFIX)
        and name.endswith(PHOTO_SUFFIXES)
    )


def _why_no_folder(folder: Path) -> str:
    """Return what is wrong with a path that should have been a folder."""
    return "this is a file" if folder.exists() else "no such folder"


def _other_size(image: Image.Image, size: tuple[int, int]) -> str:
    """Return what is wrong with a mask of another size than (height, width), and what to do."""
    height, width = size
    sizes = f"the mask is {image.width} x {image.height} pixels and its photo {width} x {height}"
    if (image.width, image.height) == (height, width):
        return (
            f"{sizes}, which is the same turned on its side; photos are turned upright by their EXIF "
            "orientation, and the mask must be too. Rotate the mask by a quarter."
        )
    return f"{sizes}; the two must have one size. Save the mask at the photo's size."
