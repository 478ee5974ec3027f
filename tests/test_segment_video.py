"""`segment --video`: what it writes, what it refuses, and what a failure leaves."""

import json

import numpy as np
import pytest
from PIL import Image
from sam_models import random_sam
from video_cases import clip, save_clip

from persam_dreambooth.commands.segment_video import segment_video
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.clip import write_label_map
from persam_dreambooth.photos import write_mask
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import SearchConfig


def test_the_command_writes_label_maps_masks_and_a_record(tmp_path, capsys):
    frames, masks = clip(3)
    save_clip(tmp_path / "clip", frames)
    labels = np.where(masks[0], np.uint8(5), np.uint8(0))
    write_label_map(tmp_path / "labels.png", labels)
    random_sam().save_pretrained(tmp_path / "sam")
    stale = tmp_path / "out" / "masks" / "5" / "02.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier run")
    search = SearchConfig(reference_mask=(tmp_path / "labels.png",))
    options = {"video": tmp_path / "clip", "out": tmp_path / "out", "search": search}
    segment_video(**options, sam=str(tmp_path / "sam"), method="persam-f")
    record = json.loads((tmp_path / "out" / "video.json").read_text())
    assert record["objects"] == [{"id": 5, "name": "5"}]
    assert [frame["frame"] for frame in record["frames"]] == ["00", "01", "02"]
    assert record["frames"][0]["objects"]["5"]["area_fraction"] == pytest.approx(masks[0].mean())
    for frame in record["frames"]:
        with Image.open(tmp_path / "out" / "labels" / f"{frame['frame']}.png") as image:
            present = (np.asarray(image) == 5).any()
        assert frame["objects"]["5"]["present"] == present
        assert (tmp_path / "out" / "masks" / "5" / f"{frame['frame']}.png").exists() == present
    count = sum(frame["objects"]["5"]["present"] for frame in record["frames"])
    assert f"object 5: on {count} of 3 frames" in capsys.readouterr().out


def test_what_was_found_before_a_bad_frame_stays(tmp_path):
    frames, masks = clip(3)
    save_clip(tmp_path / "clip", frames)
    write_mask(tmp_path / "mask.png", masks[0])
    (tmp_path / "clip" / "02.png").write_bytes(b"x")
    random_sam().save_pretrained(tmp_path / "sam")
    search = SearchConfig(reference_mask=(tmp_path / "mask.png",))
    with pytest.raises(UserError, match=r"02\.png: cannot be read as a picture"):
        segment_video(video=tmp_path / "clip", out=tmp_path / "out", sam=str(tmp_path / "sam"), search=search)
    record = json.loads((tmp_path / "out" / "video.json").read_text())
    assert [frame["frame"] for frame in record["frames"]] == ["00", "01"]
    assert (tmp_path / "out" / "labels" / "01.png").is_file()


def test_flags_are_refused_before_a_model_is_loaded_or_anything_is_written(tmp_path):
    search = SearchConfig(min_confidence=0.5)
    with pytest.raises(UserError, match=r"^--min_confidence 0\.5: "):
        segment_video(video=tmp_path / "clip", out=tmp_path / "out", sam="./nowhere", search=search)
    assert not (tmp_path / "out").exists()


def test_the_traceback_of_a_defect_names_the_frame(tmp_path, monkeypatch):
    class Breaking(Segmenter):
        num_encoded = 0

        def encode_batch(self, photos):
            self.num_encoded += 1
            return super().encode_batch(photos) if self.num_encoded < 3 else 1 / 0

    monkeypatch.setattr(Segmenter, "load", lambda *_: Breaking(random_sam()))
    frames, masks = clip(4)
    save_clip(tmp_path / "clip", frames)
    write_mask(tmp_path / "mask.png", masks[0])
    search = SearchConfig(reference_mask=(tmp_path / "mask.png",))
    with pytest.raises(ZeroDivisionError) as failed:
        segment_video(video=tmp_path / "clip", out=tmp_path / "out", search=search)
    assert failed.value.__notes__ == ["This happened at frame 02."]
    record = json.loads((tmp_path / "out" / "video.json").read_text())
    assert [frame["frame"] for frame in record["frames"]] == ["00", "01"]


@pytest.mark.parametrize("name", ["out/labels", "out/masks/1", "out/masks/cat"])
def test_a_clip_where_the_results_would_go_is_refused(tmp_path, name):
    frames, masks = clip(2)
    (tmp_path / name).parent.mkdir(parents=True)
    save_clip(tmp_path / name, frames)
    write_mask(tmp_path / "mask.png", masks[0])
    before = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    search = SearchConfig(reference_mask=(tmp_path / "mask.png",))
    with pytest.raises(UserError, match=r"^--out .*out: the frames are in .* Name another one\.$"):
        segment_video(video=tmp_path / name, out=tmp_path / "out", sam="./nowhere", search=search)
    assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == before
