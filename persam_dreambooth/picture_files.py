"""Picture files in: opened whatever their kind, upright, as RGB, or as where a mask shows the subject.

What a kind of file becomes:

    EXIF orientation                         turned upright, all eight
    grey, palette, CMYK, 16 bits a channel   RGB of 8 bits a channel (the high byte)
    transparency                             laid on white in a photo; in a mask it is the mask
    GIF, WebP, PNG, AVIF with frames         refused: which frame is meant is not for us to guess
    MPO and TIFF with further pictures       the first: the others are previews, depth and light maps
    any of these under another's name        read: the content decides, not the name
    HEIC, camera raw, JPEG XL, ...           not read, and said so
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from persam_dreambooth.errors import UserError, did_you_mean

try:
    from PIL.AvifImagePlugin import SUPPORTED as _READS_AVIF
except ImportError:  # Pillow before 11.3
    _READS_AVIF = False

PHOTO_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *((".avif",) if _READS_AVIF else ()),
)
FOREIGN_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".psd", ".xcf", ".svg", ".pdf", ".mp4", ".mov"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Photos by their names too, but of kinds that are not read (AVIF: only where Pillow is too old for it)."""

MAX_PIXELS = 16384**2
"""268 megapixels, more than any camera's: 0.8 GB as RGB. A file of a few bytes can claim any size."""

# What may be opened (MPO through JPEG). Pillow knows more, among them kinds that start other programs (EPS).
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", *(("AVIF",) if _READS_AVIF else ()))
_MOVING_FORMATS = ("PNG", "WEBP", "GIF", "AVIF")

# What Pillow raises for files that are no picture, stop too early or hold nonsense.
_UNREADABLE = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        IndexError,
        OverflowError,
        RuntimeError,
    ),
    *(struct.error, zlib.error),
)

# The rows that are turned to RGB at a time, so that a large photo is not in memory three times.
_STRIP_ROWS = 512


def open_picture(path: Path, flag: str = "", *, upright: bool = True) -> Image.Image:
    """Return the decoded picture.

    Args:
        path: the file; its content decides what it is, whatever its name.
        flag: the flag that named the file, put in front of error texts.
        upright: turn it as its EXIF orientation says; else it is as it lies in the file.

    Raises:
        UserError: the file is missing, no picture, cut off, an animation, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    name = f"{flag} {path}".strip()
    if not path.is_file():
        raise UserError(f"{name}: no such file; a picture is needed.{nearest_path(path)}")
    try:
        with _our_limits(), Image.open(path, formats=_FORMATS) as image:
            _check_still(name, image)
            image.load()
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            return image
    except _UNREADABLE as error:
        raise UserError(
            f"{name}: cannot be read as a picture ({_why_unreadable(path, error)}); a whole PNG, JPEG, WebP, "
            "BMP or TIFF is needed. Save it again."
        ) from error


def rgb(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Return a picture as RGB, 0 to 255: 16 bits cut to the high 8, transparency laid on white.

    Args:
        image: any picture.
        name: of its file, for the error text.

    Raises:
        UserError: its pixels are of a kind that says no colour (floating point, Lab).
    """
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
        try:
            pixels[top : top + _STRIP_ROWS] = _rgb_strip(strip)
        except ValueError as error:
            raise UserError(
                f"{name}: its pixels are of the kind {image.mode}, which has no fixed black and white; "
                "8 or 16 bits a channel are needed. Save it as PNG."
            ) from error
    return pixels


def foreground(image: Image.Image) -> Bool[np.ndarray, "H W"]:
    """Return where a mask picture shows the subject.

    Transparent pixels are background. Else a pixel is subject if its brightest channel is at least half as
    bright as the brightest pixel's: so 0 and 1, 0 and 255, any colour and order of channels read the same.
    """
    if _has_alpha(image):
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        # Drawing programs add an opaque alpha channel to every picture: only one that varies says something.
        if alpha.min() != alpha.max():
            return alpha >= 128
    if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
        values = np.asarray(image)
    else:
        values = np.asarray(image.convert("RGB")).max(axis=-1)
    # A palette may paint all its classes in one colour; then the numbers of the classes are the mask.
    if image.mode == "P" and values.min() == values.max():
        values = np.asarray(image)
    return (values > 0) & (values >= values.max() / 2)


def nearest_path(path: Path) -> str:
    """Return ` Did you mean <sibling>?` for a path that does not exist, or an empty string."""
    if path.exists() or not path.parent.is_dir():
        return ""
    return did_you_mean(str(path), [str(sibling) for sibling in path.parent.iterdir()])


@contextmanager
def _our_limits() -> Iterator[None]:
    """Let Pillow open any size, which is checked here, and keep its remarks on odd metadata to itself."""
    # Pillow's limit (89 megapixels warn, 179 are an error) is below today's cameras and set for the process.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_still(name: str, image: Image.Image) -> None:
    """Raise UserError if a picture that is not decoded yet is too large, or moves."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{name}: {width} x {height} pixels are {width * height / 1e6:.0f} megapixels; "
            f"{MAX_PIXELS / 1e6:.0f} (16384 x 16384) is the most that is read. Make it smaller."
        )
    if image.format in _MOVING_FORMATS and getattr(image, "is_animated", False):
        raise UserError(
            f"{name}: an animation of {image.n_frames} frames; a single picture is needed. "
            "Save the frame that you want as PNG."
        )


def _why_unreadable(path: Path, error: Exception) -> str:
    """Return in a few words why a file could not be read."""
    with open(path, "rb") as file:
        head = file.read(12)
    if not head:
        return "the file is empty"
    # ISO media files carry their kind in bytes 4 to 12; phones rename their HEIC photos to .jpg.
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"):
        return "it is a HEIC file"
    if isinstance(error, UnidentifiedImageError):
        return "what is in the file is no picture of a known kind"
    return str(error) or type(error).__name__


def _has_alpha(image: Image.Image) -> bool:
    """Return whether the picture carries transparency."""
    return "A" in image.getbands() or "transparency" in image.info


def _rgb_strip(image: Image.Image) -> UInt8[np.ndarray, "h W 3"]:
    """Return some rows as RGB, or raise ValueError."""
    if image.mode == "F":
        raise ValueError("floating point")
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.int64).clip(0, 65535) >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if _has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))
