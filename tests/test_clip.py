"""Clips: frames in order, videos, label maps in and out, and what a person may mark on the first frame."""

import sys

import numpy as np
import pytest
from PIL import Image
from sam_models import random_segmenter, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.clip import Frame, palette, read_frames, write_label_map
from persam_dreambooth.masks.first_frame import label_map_objects, marked_objects
from persam_dreambooth.photos import write_mask
from persam_dreambooth.settings import SearchConfig

SIZE = (64, 80)


def save_frames(folder, names, size=SIZE):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size[::-1], (number, 0, 0)).save(folder / name)


@pytest.fixture(scope="module")
def marked():
    """Return a segmenter, and a frame with its embedding and the mask of what is on it."""
    pixels, mask = scene(*SIZE)
    segmenter = random_segmenter()
    return segmenter, Frame("0", pixels), segmenter.encode(pixels), mask


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    save_frames(tmp_path / "clip", ["f10.png", "f2.png", "f1.png"])
    frames = list(read_frames(tmp_path / "clip"))
    assert [frame.name for frame in frames] == ["f1", "f2", "f10"]
    assert [frame.pixels[0, 0, 0] for frame in frames] == [2, 1, 0]


def test_a_clip_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"^--video .*nowhere: no such file or folder; .* is needed\.$"):
        next(read_frames(tmp_path / "nowhere"))


def test_frames_of_another_size_are_named(tmp_path):
    save_frames(tmp_path, ["1.png"])
    save_frames(tmp_path, ["2.png"], (64, 82))
    expected = r"^--video .*: frame 2 is 82 x 64 pixels and frame 1 80 x 64; all must have one size\. "
    with pytest.raises(UserError, match=expected):
        list(read_frames(tmp_path))


def test_a_video_without_a_decoder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "clip.mp4").write_bytes(b"x")
    expected = r"^--video .*clip\.mp4: .*; PyAV is needed .* `pip install av`, or .*ffmpeg -i .* frames/%05d"
    with pytest.raises(UserError, match=expected):
        next(read_frames(tmp_path / "clip.mp4"))


def test_a_video_is_decoded_frame_by_frame(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        for grey in (40, 120, 200):
            picture = av.VideoFrame.from_ndarray(np.full((64, 80, 3), grey, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    frames = list(read_frames(tmp_path / "clip.mp4"))
    assert [frame.name for frame in frames] == ["00000", "00001", "00002"]
    assert all(frame.pixels.shape == (64, 80, 3) for frame in frames)
    assert [frame.pixels.mean() for frame in frames] == pytest.approx([40, 120, 200], abs=6)


def test_a_video_that_lies_on_its_side_is_turned_upright(tmp_path):
    av = pytest.importorskip("av")
    pixels = np.zeros((64, 80, 3), np.uint8)
    pixels[:, :40] = 200
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write such a video")
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        stream.set_display_rotation(-90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    (frame,) = read_frames(tmp_path / "clip.mp4")
    assert frame.pixels.shape == (80, 64, 3)
    # A quarter turn clockwise brings the left edge to the top.
    assert frame.pixels[:30].mean() > 150
    assert frame.pixels[50:].mean() < 50


def test_a_file_that_is_no_video_is_named(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "clip.mp4").write_text("no video")
    with pytest.raises(
        UserError, match=r"^--video .*clip\.mp4: cannot be decoded \(.*\); a video is needed\. "
    ):
        next(read_frames(tmp_path / "clip.mp4"))


def test_the_palette_is_that_of_davis():
    colours = np.frombuffer(palette(), np.uint8).reshape(256, 3).tolist()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[8:10] == [[64, 0, 0], [192, 0, 0]]
    assert colours[255] == [224, 224, 192]
    assert len({tuple(colour) for colour in colours}) == 256


def test_a_label_map_is_read_as_it_was_written(tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    labels[:10], labels[20:30], labels[40:] = 1, 7, 255
    write_label_map(tmp_path / "labels.png", labels)
    with Image.open(tmp_path / "labels.png") as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((0, 0)) == (128, 0, 0)
    objects = label_map_objects(tmp_path / "labels.png", SIZE)
    assert list(objects) == [1, 7]
    assert all((mask == (labels == number)).all() for number, mask in objects.items())


@pytest.mark.parametrize("values", [(0, 255), (0, 90, 255), (0, 0)])
def test_an_ordinary_mask_is_no_label_map(tmp_path, values):
    pixels = np.resize(np.array(values, np.uint8), SIZE)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert label_map_objects(tmp_path / "mask.png", SIZE) == {}


def test_a_label_map_of_another_size_is_named(tmp_path):
    write_label_map(tmp_path / "labels.png", np.ones((5, 6), np.uint8))
    with pytest.raises(UserError, match=r"^--reference_mask .*: the label map is 6 x 5 pixels and the first"):
        label_map_objects(tmp_path / "labels.png", SIZE)


def test_objects_are_marked_by_a_label_map_or_by_masks(marked, tmp_path):
    segmenter, frame, embedding, mask = marked
    other = np.roll(mask, 12, axis=1)
    write_mask(tmp_path / "a.png", mask)
    write_mask(tmp_path / "b.png", other)
    write_label_map(tmp_path / "labels.png", np.where(mask, np.uint8(3), np.uint8(0)))

    def found(*names):
        search = SearchConfig(reference_mask=tuple(tmp_path / name for name in names))
        return marked_objects(segmenter, frame, embedding, search)

    assert list(found("labels.png")) == [3]
    assert list(found("a.png")) == [1]
    both = found("a.png", "b.png")
    assert [each.name for each in both.values()] == ["1", "2"]
    assert (both[2].reference.mask == other).all()


def test_objects_may_have_names(marked, tmp_path):
    segmenter, frame, embedding, mask = marked
    write_mask(tmp_path / "a.png", mask)
    texts = [f"cat={tmp_path / 'a.png'}", f"dog={tmp_path / 'a.png'}"]
    objects = marked_objects(segmenter, frame, embedding, SearchConfig(), texts)
    assert {number: each.name for number, each in objects.items()} == {1: "cat", 2: "dog"}
    assert (objects[1].reference.mask == mask).all()


@pytest.mark.parametrize(
    "hint", [{"reference_box": (20.0, 16.0, 60.0, 50.0)}, {"reference_points": (40.0, 32.0)}]
)
def test_a_box_or_points_mark_one_object(marked, hint):
    segmenter, frame, embedding, _ = marked
    objects = marked_objects(segmenter, frame, embedding, SearchConfig(**hint))
    assert list(objects) == [1]
    assert 0 < objects[1].reference.mask.mean() < 1


@pytest.mark.parametrize(
    ("hint", "subjects", "expected"),
    [
        ({}, (), r"^--video: nothing marks the subject on the first frame; a hint is needed\. Give "),
        ({"reference_photo": "1"}, (), r"^--reference_photo 1: is for photos; with --video the reference is"),
        ({"reference_choice": 2}, (), r"^--reference_choice 2: is for photos; "),
        ({"save_intermediates": True}, (), r"^--save_intermediates: is for photos; "),
        ({"min_confidence": 0.5}, (), r"^--min_confidence 0\.5: is for photos; .* presence"),
        ({"min_confidence": 0}, ("a=b",), r"^--min_confidence 0: is for photos; "),
        ({"reference_points": (1.0, 2.0)}, ("a=b",), r"^--subjects: goes with none of --reference_\.\.\.; "),
        ({}, ("cat",), r"^--subjects cat: is not name=mask, or .* For example --subjects cat=cat\.png dog"),
        ({}, ("../cat=x.png",), r"^--subjects \.\./cat=x\.png: is not name=mask, "),
    ],
)
def test_what_makes_no_sense_for_a_clip_is_refused(marked, hint, subjects, expected):
    segmenter, frame, embedding, _ = marked
    with pytest.raises(UserError, match=expected):
        marked_objects(segmenter, frame, embedding, SearchConfig(**hint), subjects)
