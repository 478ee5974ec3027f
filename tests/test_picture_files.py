"""Picture files of every kind: what becomes of their pixels, and one line for each that cannot be read."""

import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from persam_dreambooth import photos
from persam_dreambooth.errors import UserError
from persam_dreambooth.picture_files import MAX_PIXELS, open_picture

SIZE = (12, 10)  # (height, width)
ORIENTATION = 0x0112

# How a picture that lies in the file is turned upright, by its EXIF orientation (TIFF 6.0, tag 274).
TURNS = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.swapaxes(pixels, 0, 1), 2),
    8: np.rot90,
}


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def png(width: int, height: int, bit_depth: int, colour_type: int, data: bytes) -> bytes:
    """Return a PNG file of filtered rows: also of kinds that Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data, 1))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_and_mask_are_turned_upright(tmp_path, pixels, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    mask = pixels[..., 0] > 100
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(mask).save(tmp_path / "m.png", exif=exif)
    photo = photos.read_photo(tmp_path / "a.png")
    upright = TURNS[orientation](pixels)
    assert np.array_equal(photo.pixels, upright)
    assert np.array_equal(photos.read_mask(tmp_path / "m.png", photo.size), TURNS[orientation](mask))
    # Equal pictures have equal digests, whichever way they lie in the file.
    Image.fromarray(np.ascontiguousarray(upright)).save(tmp_path / "b.png")
    assert photos.read_photo(tmp_path / "b.png").digest == photo.digest


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\0" * 10])
def test_a_photo_with_broken_exif_is_read_as_it_lies(tmp_path, pixels, exif):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    assert photos.read_photo(tmp_path / "a.jpg").size == SIZE


def test_16_bits_keep_the_high_byte(tmp_path):
    rows = np.zeros((8, 8, 3), dtype=">u2")
    rows[...] = (0x1234, 0xFFFF, 0x00FF)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    (tmp_path / "colour.png").write_bytes(png(8, 8, 16, 2, data))
    assert (photos.read_photo(tmp_path / "colour.png").pixels == (0x12, 0xFF, 0x00)).all()
    grey = np.full((8, 8), 0x1234, dtype=np.uint16)
    grey[0] = 0xFFFF
    Image.fromarray(grey).save(tmp_path / "grey.png")
    read = photos.read_photo(tmp_path / "grey.png").pixels
    assert (read[0] == 0xFF).all()
    assert (read[1:] == 0x12).all()


def test_cmyk_and_palette_become_their_colours(tmp_path):
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cyan.tif")
    assert (photos.read_photo(tmp_path / "cyan.tif").pixels == (0, 255, 255)).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "palette.png")
    assert (photos.read_photo(tmp_path / "palette.png").pixels == (200, 100, 50)).all()
    palette.save(tmp_path / "clear.png", transparency=1)
    assert (photos.read_photo(tmp_path / "clear.png").pixels == 255).all()
    palette.save(tmp_path / "still.gif")
    assert (photos.read_photo(tmp_path / "still.gif").pixels == (200, 100, 50)).all()


def test_floating_point_has_no_white(tmp_path):
    Image.new("F", (8, 8), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(
        UserError, match=r"a\.tif: its pixels are of the kind F, which has no fixed black and"
    ):
        photos.read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_animations_are_refused(tmp_path, pixels, suffix):
    if suffix == ".avif" and "avif" not in features.get_supported_modules():
        pytest.skip("this Pillow reads no AVIF")
    frames = [Image.fromarray(np.roll(pixels, shift, axis=1)) for shift in range(3)]
    path = tmp_path / f"wave{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(
        UserError, match=r"an animation of 3 frames; a single .* Save the frame that you want"
    ):
        photos.read_photo(path)


def test_further_pictures_of_phones_are_left_alone(tmp_path, pixels):
    for name, kind in (("portrait.jpg", "MPO"), ("pages.tif", "TIFF")):
        depth = [Image.new("RGB", SIZE[::-1])]
        Image.fromarray(pixels).save(tmp_path / name, format=kind, save_all=True, append_images=depth)
    with Image.open(tmp_path / "portrait.jpg") as image:
        assert image.n_frames == 2
        assert np.array_equal(photos.read_photo(tmp_path / "portrait.jpg").pixels, np.asarray(image))
    assert np.array_equal(photos.read_photo(tmp_path / "pages.tif").pixels, pixels)


def test_the_content_decides_and_not_the_name(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(photos.read_photo(tmp_path / "a.jpg").pixels, pixels)
    # EPS would start another program.
    contents = {
        "text.jpg": (b"this is no picture", "what is in the file is no picture of a known kind"),
        "script.png": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
            "no picture of a known kind",
        ),
        "empty.webp": (b"", "the file is empty"),
        "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC file"),
    }
    for name, (content, why) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: cannot be read as a picture \(.*{why}\); a whole PNG"):
            photos.read_photo(tmp_path / name)


def refusal(path: Path) -> str | None:
    """Return with which words a photo is refused, or None."""
    try:
        photos.read_photo(path)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, pixels, kind):
    if kind == "AVIF" and "avif" not in features.get_supported_modules():
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, format=kind)
    whole, luck, refused = path.read_bytes(), random.Random(0), 0
    for number in range(40):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[luck.randrange(len(whole)) :]
        else:
            damaged[luck.randrange(min(len(whole), 300))] ^= 1 << luck.randrange(8)
        path.write_bytes(damaged)
        line = refusal(path)
        assert line is None or (line.startswith(f"{path}: ") and "\n" not in line)
        refused += line is not None
    assert refused > 5


def test_the_smallest_and_the_longest_photo(tmp_path):
    for name, size in {"dot": (1, 1), "strip": (12000, 300), "small": (7, 20)}.items():
        Image.new("1", size).save(tmp_path / f"{name}.png")
        text = (
            rf"{name}\.png: {size[0]} x {size[1]} pixels; a photo has at least 8 on each side, and its longer"
        )
        with pytest.raises(UserError, match=text):
            photos.read_photo(tmp_path / f"{name}.png")
    Image.new("1", (8, 8)).save(tmp_path / "least.png")
    assert photos.read_photo(tmp_path / "least.png").size == (8, 8)
    Image.new("1", (12000, 400), 1).save(tmp_path / "long.png")
    photo = photos.read_photo(tmp_path / "long.png")
    assert photo.size == (400, 12000)
    assert photo.pixels.min() == 255


def test_more_rows_than_are_converted_at_a_time(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(
        photos.read_photo(tmp_path / "a.png").pixels, np.repeat(pixels[..., None], 3, axis=2)
    )


def one_bit_png(path: Path, width: int, height: int) -> None:
    """Write a black picture of any size, without making it first."""
    path.write_bytes(png(width, height, 1, 0, bytes((1 + (width + 7) // 8) * height)))


def test_144_megapixels_are_a_photo_and_pillows_limit_is_left_as_it_was(tmp_path):
    one_bit_png(tmp_path / "large.png", 12000, 12000)
    limit = Image.MAX_IMAGE_PIXELS
    assert open_picture(tmp_path / "large.png").size == (12000, 12000)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.warns(Image.DecompressionBombWarning), Image.open(tmp_path / "large.png"):
        pass


def test_a_few_bytes_that_claim_a_huge_picture(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, 8, 2, b""))
    text = (
        r"bomb\.png: 60000 x 60000 pixels are 3600 megapixels; 268 \(16384 x 16384\) is the most that is read"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=text):
            photos.read_photo(tmp_path / "bomb.png")
    assert MAX_PIXELS > 12000 * 12000
