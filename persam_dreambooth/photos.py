"""Photos and masks, in from files and out to files: upright, RGB, uint8 [H W 3], with a digest of each."""

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from persam_dreambooth.errors import UserError, did_you_mean
from persam_dreambooth.files import atomic_path

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MASK_SUFFIX = ".mask.png"

# What Pillow raises for files that are no picture, stop too early, or claim an absurd size.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


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
            f"{folder}: {_why_no_folder(folder)}; a folder of photos is needed.{_nearest_path(folder)}"
        )
    photos = sorted((path for path in folder.iterdir() if _is_photo(path)), key=lambda path: path.name)
    if not photos:
        kinds = " ".join(PHOTO_SUFFIXES)
        raise UserError(
            f"{folder}: no photos in this folder; at least one file of {kinds} is needed. Add one."
        )
    return photos


def read_photo(path: Path) -> Photo:
    """Read one photo: upright, RGB, transparent pixels laid on white.

    Raises:
        UserError: the file is missing, is no picture, or ends too early.
    """
    pixels = _rgb(_open(Path(path)))
    return Photo(path=Path(path), pixels=pixels, digest=array_digest(pixels))


def read_photos(folder: Path) -> list[Photo]:
    """Read every photo of a folder, sorted by name.

    Raises:
        UserError: as `list_photos` and `read_photo`; also two photos whose names differ only in the suffix,
            because masks are named after the stem.
    """
    paths = list_photos(folder)
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise UserError(
                f"{path}: same name as {seen[path.stem].name} but for the suffix; "
                "masks are named after the photo, so every name may occur once. Rename one of the two."
            )
        seen[path.stem] = path
    return [read_photo(path) for path in paths]


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
    image = _open(path, flag)
    if (image.height, image.width) != tuple(size):
        raise UserError(
            f"{name}: the mask is {image.width} x {image.height} pixels and its photo {size[1]} x {size[0]}; "
            "the two must have one size. Save the mask at the photo's size."
        )
    mask = _foreground(image)
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
    digest.update(np.ascontiguousarray(array).tobytes())
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


def _nearest_path(path: Path) -> str:
    """Return ` Did you mean <sibling>?` for a path that does not exist, or an empty string."""
    if path.exists() or not path.parent.is_dir():
        return ""
    return did_you_mean(str(path), [str(sibling) for sibling in path.parent.iterdir()])


def _open(path: Path, flag: str = "") -> Image.Image:
    """Return the decoded picture, turned upright, or raise UserError."""
    name = f"{flag} {path}".strip()
    if not path.is_file():
        raise UserError(f"{name}: no such file; a picture is needed.{_nearest_path(path)}")
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
        raise UserError(
            f"{name}: cannot be read as a picture ({error}); a whole PNG, JPEG, WebP or BMP is needed. "
            "Save it again."
        ) from error


def _has_alpha(image: Image.Image) -> bool:
    """Return whether the picture carries transparency."""
    return "A" in image.getbands() or "transparency" in image.info


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """Return the picture as RGB, 16-bit grey scaled down and transparency laid on white."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.int64).clip(0, 65535) // 257).astype(np.uint8))
    if _has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _foreground(image: Image.Image) -> Bool[np.ndarray, "H W"]:
    """Return where a mask picture shows the subject."""
    if _has_alpha(image):
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        # Drawing programs add an opaque alpha channel to every picture: only one that varies says something.
        if alpha.min() != alpha.max():
            return alpha >= 128
    if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
    else:
        values = np.asarray(image.convert("RGB")).max(axis=-1).astype(np.float64)
    # A palette may paint all its classes in one colour; then the numbers of the classes are the mask.
    if image.mode == "P" and values.min() == values.max():
        values = np.asarray(image).astype(np.float64)
    return (values > 0) & (values >= values.max() / 2)
