"""Photos and masks in and out: orientation, kinds of files, kinds of masks, and the text of every refusal."""

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth import photos
from persam_dreambooth.errors import UserError

SIZE = (12, 10)  # (height, width)


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[3:9, 2:7] = True
    return mask


def test_photos_are_listed_by_name_without_masks_and_hidden_files(tmp_path, picture):
    for name in ("b.png", "a.JPG", "c.webp", "d.bmp", "e.tif", "f.gif", ".hidden.png", "b.mask.png"):
        picture.save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in photos.list_photos(tmp_path)] == [
        *("a.JPG", "b.png", "c.webp", "d.bmp", "e.tif", "f.gif")
    ]


def test_equal_pixels_have_equal_digests_whatever_the_file(tmp_path, picture):
    for name in ("one.png", "two.bmp"):
        picture.save(tmp_path / name)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "three.png")
    one, two, three = (photos.read_photo(tmp_path / name) for name in ("one.png", "two.bmp", "three.png"))
    assert one.digest == two.digest != three.digest
    assert (one.stem, one.size, one.pixels.dtype) == ("one", SIZE, np.uint8)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, picture, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(np.full(SIZE, 65535, dtype=np.uint16)).save(path)
    else:
        picture.convert(mode).save(path)
    pixels = photos.read_photo(path).pixels
    assert pixels.shape == (*SIZE, 3)
    assert mode != "I;16" or pixels.min() == 255


def test_transparent_pixels_are_laid_on_white(tmp_path, mask):
    pixels = np.zeros((*SIZE, 4), dtype=np.uint8)
    pixels[mask] = (200, 10, 10, 255)
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    read = photos.read_photo(tmp_path / "cut.png").pixels
    assert np.array_equal(read[mask][0], (200, 10, 10))
    assert (read[~mask] == 255).all()


def mask_pictures(mask: np.ndarray) -> dict[str, Image.Image]:
    grey = mask.astype(np.uint8)
    palette = Image.fromarray(grey).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0] + [0] * 750)
    blank_palette = Image.fromarray(grey).convert("P")
    blank_palette.putpalette([0] * 768)
    cut_out = np.dstack([np.full((*mask.shape, 3), 77, dtype=np.uint8), grey * 255])
    opaque = np.dstack(
        [np.repeat(grey[..., None] * 255, 3, axis=2), np.full(mask.shape, 255, dtype=np.uint8)]
    )
    return {
        "bool": Image.fromarray(mask),
        "0 and 1": Image.fromarray(grey),
        "0 and 255": Image.fromarray(grey * 255),
        "soft edge": Image.fromarray(np.where(mask, 255, 100).astype(np.uint8)),
        "16 bit": Image.fromarray(grey.astype(np.uint16) * 65535),
        "palette": palette,
        "palette of one colour": blank_palette,
        "alpha only": Image.fromarray(cut_out),
        "opaque alpha": Image.fromarray(opaque),
        "dark blue": Image.fromarray(np.where(mask[..., None], (0, 0, 128), 0).astype(np.uint8)),
        "dark red": Image.fromarray(np.where(mask[..., None], (128, 0, 0), 0).astype(np.uint8)),
    }


@pytest.mark.parametrize("kind", list(mask_pictures(np.ones((2, 2), dtype=bool))))
def test_every_kind_of_mask_reads_the_same(tmp_path, mask, kind):
    path = tmp_path / "00.mask.png"
    mask_pictures(mask)[kind].save(path)
    read = photos.read_mask(path, SIZE)
    assert read.dtype == bool
    assert np.array_equal(read, mask)


def test_a_written_mask_reads_back_and_leaves_no_other_file(tmp_path, mask):
    path = tmp_path / "new" / "00.mask.png"
    photos.write_mask(path, mask)
    assert np.array_equal(photos.read_mask(path, SIZE), mask)
    assert set(np.unique(photos.read_photo(path).pixels)) == {0, 255}
    assert [file.name for file in path.parent.iterdir()] == ["00.mask.png"]
    assert photos.mask_beside(tmp_path / "00.jpg") == tmp_path / "00.mask.png"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            np.zeros(SIZE, dtype=np.uint8),
            r"--reference_mask .*m\.png: the mask is empty; some pixels must be subject",
        ),
        (
            np.full(SIZE, 255, dtype=np.uint8),
            r"m\.png: the mask covers the whole photo; some pixels must be backgr",
        ),
        (
            np.eye(12, 10, dtype=np.uint8).T,
            r"m\.png: the mask is 12 x 10 pixels and its photo 10 x 12, which is the same turned on its "
            r"side; photos are turned upright by their EXIF orientation, and the mask must be too\. Rot",
        ),
        (
            np.eye(5, dtype=np.uint8),
            r"m\.png: the mask is 5 x 5 pixels and its photo 10 x 12; .*Save the mask at",
        ),
    ],
)
def test_masks_that_cannot_be(tmp_path, values, text):
    Image.fromarray(values).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=text):
        photos.read_mask(tmp_path / "m.png", SIZE, flag="--reference_mask")


def test_files_that_cannot_be(tmp_path, picture):
    picture.resize((200, 200)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    with pytest.raises(
        UserError, match=r"cut\.jpg: cannot be read as a picture \(.*truncated.*\); a whole PNG"
    ):
        photos.read_photo(tmp_path / "cut.jpg")
    with pytest.raises(UserError, match=r"wole\.jpg: no such file; .* Did you mean .*whole\.jpg\?"):
        photos.read_photo(tmp_path / "wole.jpg")


def test_folders_that_cannot_be(tmp_path, picture):
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"cta: no such folder; .* Did you mean .*/cat\?"):
        photos.list_photos(tmp_path / "cta")
    with pytest.raises(UserError, match=r"cat: no photos in this folder; at least one file of \.png"):
        photos.list_photos(tmp_path / "cat")
    picture.save(tmp_path / "cat" / "a.png")
    with pytest.raises(UserError, match=r"a\.png: this is a file; a folder of photos is needed"):
        photos.list_photos(tmp_path / "cat" / "a.png")
    picture.save(tmp_path / "cat" / "a.jpg")
    with pytest.raises(
        UserError, match=r"a\.png: same name as a\.jpg but for the suffix or upper and lower case"
    ):
        photos.read_photos(tmp_path / "cat")


def test_names_that_some_disks_take_for_one(tmp_path, picture):
    picture.save(tmp_path / "cafe\u0301.png")
    picture.save(tmp_path / "CAF\u00c9.jpg")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk takes them for one")
    with pytest.raises(
        UserError, match=r"same name as CAF.\.jpg but for the suffix or upper and lower case; masks"
    ):
        photos.read_photos(tmp_path)


def test_a_folder_with_one_photo(tmp_path, picture, capsys):
    picture.save(tmp_path / "only.png")
    assert [photo.stem for photo in photos.read_photos(tmp_path)] == ["only"]
    assert capsys.readouterr() == ("", "")


def test_photos_of_kinds_that_are_not_read_are_named(tmp_path, picture, capsys):
    for name in ("b.HEIC", "a.dng", "notes.txt", ".c.heic"):
        (tmp_path / name).touch()
    with pytest.raises(
        UserError, match=r"no photos in this folder; .* not read: a\.dng, b\.HEIC\. Save those as"
    ):
        photos.read_photos(tmp_path)
    picture.save(tmp_path / "c.png")
    assert len(photos.read_photos(tmp_path)) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}: skipped a.dng, b.HEIC: files of these kinds are not read; "
        "save them as JPEG or PNG to use them\n"
    )


def test_sample_subjects_that_are_not_there():
    with pytest.raises(UserError, match=r"instance_images/unicorn: no such sample subject; known are "):
        photos.sample_images("unicorn")


def test_file_digest(tmp_path):
    (tmp_path / "empty").touch()
    # The sha256 of nothing, as published.
    assert photos.file_digest(tmp_path / "empty").startswith("e3b0c44298fc1c14")
    assert photos.array_digest(np.zeros((2, 3))) != photos.array_digest(np.zeros((3, 2)))
