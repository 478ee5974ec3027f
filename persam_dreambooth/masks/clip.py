"""Clips in and label maps out.

A clip is a folder of frames, sorted by the numbers in their names, or a video file, which needs PyAV.
A label map says which object each pixel belongs to: 0 none, else the object's number.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from persam_dreambooth.errors import UserError, one_line
from persam_dreambooth.files import atomic_path
from persam_dreambooth.photos import photo_paths, read_photo

_HOW_ELSE = "make a folder of frames: mkdir frames && ffmpeg -i {path} frames/%05d.png"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a clip."""

    name: str
    """Of the files that are written for it: the frame's own without suffix, or its number in a video."""
    pixels: UInt8[np.ndarray, "H W 3"]


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of a clip, in order, one at a time.

    Args:
        path: a folder of pictures, or a video file.

    Raises:
        UserError: there is no such clip, it cannot be read, or its frames differ in size.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"--video {path}: no such file or folder; a folder of frames or a video is needed.")
    first: Frame | None = None
    for frame in _folder_frames(path) if path.is_dir() else _decoded_frames(path):
        first = first or frame
        if frame.pixels.shape != first.pixels.shape:
            raise UserError(
                f"--video {path}: frame {frame.name} is {_size_text(frame)} pixels and frame {first.name} "
                f"{_size_text(first)}; all must have one size. Cut the clip there."
            )
        yield frame


def write_label_map(path: Path, labels: UInt8[np.ndarray, "H W"]) -> None:
    """Write a label map atomically, as a picture whose palette gives every number a colour of its own."""
    picture = Image.fromarray(labels)
    picture.putpalette(palette())
    with atomic_path(path) as temporary:
        picture.save(temporary)


def palette() -> bytes:
    """Return 256 colours, 3 bytes each: black, dark red, dark green, ... as DAVIS and Pascal VOC have them.

    The lowest three bits of the number are the highest bits of red, green and blue, the next three bits the
    next lower ones, and so on.

    Source: Pascal VOC development kit, VOClabelcolormap.m.
    """
    colours = bytearray()
    for number in range(256):
        for channel in range(3):
            bits = [number >> (3 * place + channel) & 1 for place in range(3)]
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return bytes(colours)


def _folder_frames(folder: Path) -> Iterator[Frame]:
    """Yield the pictures of a folder; 2.png comes before 10.png."""
    for path in sorted(photo_paths(folder), key=lambda path: _numbers_in_order(path.stem)):
        yield Frame(path.stem, read_photo(path).pixels)


def _numbers_in_order(name: str) -> list[str | int]:
    """Return a name as texts and numbers in turn, which sort as people count."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"([0-9]+)", name))]


def _decoded_frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of a video file, upright.

    Raises:
        UserError: there is no decoder, or it cannot read the file.
    """
    how_else = _HOW_ELSE.format(path=path)
    try:
        import av  # optional: folders of frames work without
    except ImportError as error:
        raise UserError(
            f"--video {path}: a file, and there is no decoder; PyAV is needed to read videos. "
            f"Run `pip install av`, or {how_else}"
        ) from error
    number = 0
    try:
        with av.open(str(path)) as container:
            for decoded in container.decode(video=0):
                # Phones store upright videos lying down; the angle counts anticlockwise, as rot90 turns.
                turns = round(decoded.rotation / 90)
                pixels = np.ascontiguousarray(np.rot90(decoded.to_ndarray(format="rgb24"), turns))
                yield Frame(f"{number:05d}", pixels)
                number += 1
    except (av.FFmpegError, IndexError) as error:
        reason = one_line(error) if isinstance(error, av.FFmpegError) else "it holds no pictures"
        raise UserError(
            f"--video {path}: cannot be decoded ({reason}); a video is needed. Or {how_else}"
        ) from error
    if number == 0:
        raise UserError(f"--video {path}: no frames in it; a video is needed. Or {how_else}")


def _size_text(frame: Frame) -> str:
    """Return a frame's size as people write it."""
    return f"{frame.pixels.shape[1]} x {frame.pixels.shape[0]}"
