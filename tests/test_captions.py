"""Captions: from files beside the photos, from metadata, or one prompt for all."""

import json

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth.diffusion.captions import read_dataset, read_folder
from persam_dreambooth.errors import UserError

PROMPT = "a photo of sks cat"


def write_photos(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (12, 14, 3), dtype=np.uint8)).save(path)
    return folder


def write_metadata(folder, *records):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(folder)


def test_a_text_beside_a_photo_is_its_caption(tmp_path):
    folder = write_photos(tmp_path / "cat", "00.png", "01.jpg", "02.png")
    (folder / "01.txt").write_bytes(b"\xef\xbb\xbf sks cat\n asleep \n")
    (folder / "notes.txt").write_text("not a caption")
    album = read_folder(folder, PROMPT)
    assert album.prompts == [PROMPT, "sks cat asleep", PROMPT]
    assert [caption.source for caption in album.captions] == [
        "--instance_prompt",
        str(folder / "01.txt"),
        "--instance_prompt",
    ]
    assert album.own_captions == {str(folder / "01.txt"): "sks cat asleep"}
    part = album.only({"01", "02"})
    assert [photo.stem for photo in part.photos] == ["01", "02"]
    assert part.prompts == ["sks cat asleep", PROMPT]


def test_a_dataset_is_a_folder_with_metadata(tmp_path):
    folder = write_photos(tmp_path / "set", "b.png", "a.png", "more/c.png")
    name = write_metadata(
        folder,
        {"file_name": "b.png", "text": "sks cat, on a bed", "other": "x"},
        "",
        {"file_name": "more/c.png", "text": None},
    )
    album = read_dataset(name, caption_column="text", instance_prompt=PROMPT)
    assert [photo.path.name for photo in album.photos] == ["b.png", "c.png"]
    assert album.prompts == ["sks cat, on a bed", PROMPT]
    assert album.captions[0].source == f"{folder / 'metadata.jsonl'} line 1"
    assert read_dataset(name, instance_prompt=PROMPT).prompts == [PROMPT, PROMPT]
    by_column = {"image_column": "file_name", "caption_column": "other"}
    assert read_dataset(name, **by_column, instance_prompt=PROMPT).prompts == ["x", PROMPT]


def test_a_dataset_without_metadata_is_a_folder_of_photos(tmp_path):
    write_photos(tmp_path / "set" / "train", "a.png", "b.png")
    album = read_dataset(str(tmp_path / "set"), instance_prompt=PROMPT)
    assert [photo.stem for photo in album.photos] == ["a", "b"]
    assert album.prompts == [PROMPT, PROMPT]


def test_captions_that_cannot_be_used(tmp_path):
    folder = write_photos(tmp_path / "cat", "00.png")
    (folder / "00.txt").write_text(" \n")
    with pytest.raises(
        UserError, match=r"00\.txt: empty; a caption is needed\. Write one, or remove the file"
    ):
        read_folder(folder, PROMPT)
    (folder / "00.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"00\.txt: no UTF-8 text \(invalid start byte\)"):
        read_folder(folder, PROMPT)


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        (["{"], {}, r"metadata\.jsonl line 1: no JSON \(.*\); a record is needed"),
        (["", "[1]"], {}, r"metadata\.jsonl line 2: '\[1\]'; a JSON object is needed"),
        ([""], {}, r"metadata\.jsonl: empty; a line for each photo"),
        ([{"name": "a.png"}], {}, r"--image_column file_name: not in .*metadata\.jsonl, which has name"),
        (
            [{"file_name": "a.png", "text": "x"}],
            {"caption_column": "txt"},
            r"--caption_column txt: not in .*which has file_name, text; .*Did you mean text\?",
        ),
        ([{"file_name": "a.png", "text": 3}], {"caption_column": "text"}, r"line 1: text is 3; a text"),
        ([{"file_name": "../x.png"}], {}, r"line 1: file '\.\./x\.png'; one inside"),
        ([{"file_name": ""}], {}, r"line 1: file ''; one inside"),
        (
            [{"file_name": "a.png"}, {"file_name": "more/a.png"}],
            {},
            r"more/a\.png has the same name as .*a\.png",
        ),
        ([{"file_name": "gone.png"}], {}, r"gone\.png: no such file"),
    ],
)
def test_metadata_that_cannot_be_used(tmp_path, records, options, message):
    folder = write_photos(tmp_path / "set", "a.png", "more/a.png")
    name = write_metadata(folder, *records)
    with pytest.raises(UserError, match=message):
        read_dataset(name, instance_prompt=PROMPT, **options)


def test_datasets_that_are_not_there(tmp_path):
    with pytest.raises(
        UserError, match=r"--dataset_name someone/cats: .*not read from the hub.*hf download someone"
    ):
        read_dataset("someone/cats", instance_prompt=PROMPT)
    with pytest.raises(UserError, match=r"--dataset_name .*/none: no such folder; .*Check the path"):
        read_dataset(str(tmp_path / "none"), instance_prompt=PROMPT)
    folder = write_photos(tmp_path / "set", "a.png")
    with pytest.raises(
        UserError, match=r"metadata\.jsonl: no such file; --image_column and --caption_column"
    ):
        read_dataset(str(folder), caption_column="text", instance_prompt=PROMPT)
