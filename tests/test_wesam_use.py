"""--sam_adapter wherever --sam is: the same masks as by the whole model that --merge writes."""

import json

import numpy as np
import pytest
from wesam_cases import album, branches_of, stirred

from persam_dreambooth.cli import main
from persam_dreambooth.config import parse
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.stage import find_masks
from persam_dreambooth.photos import read_photos
from persam_dreambooth.sam.adaptation.adapter_file import base_digest, write_adapter
from persam_dreambooth.sam.adaptation.lora import lora_weights
from persam_dreambooth.sam.automatic import AutomaticParameters, automatic_masks
from persam_dreambooth.sam.loading import load_model
from persam_dreambooth.sam.segmenter import Segmenter


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """An adapter of the toy SAM that changes its masks, and the whole model."""
    folder = tmp_path_factory.mktemp("adapted")
    digest = base_digest(load_model("toy"))
    weights = lora_weights(stirred(branches_of(load_model("toy")), 0.05).adapters)
    write_adapter(folder / "a.safetensors", weights, {"base": "toy", "base_digest": digest, "input": "sam"})
    load_model("toy", folder / "a.safetensors").save_pretrained(folder / "merged")
    return folder / "a.safetensors", str(folder / "merged")


def test_the_mask_stage_takes_it(tmp_path, adapted):
    adapter, merged = adapted
    photos, boxes, _ = album(tmp_path)
    photos = read_photos(photos)
    settings = {"reference_box": tuple(json.loads(boxes.read_text())["00.png"]), "min_confidence": 0.0}
    by_adapter = find_masks(photos, out_dir=tmp_path / "a", sam_adapter=adapter, **settings)
    by_model = find_masks(photos, out_dir=tmp_path / "b", sam=merged, **settings)
    by_source = find_masks(photos, out_dir=tmp_path / "c", **settings)
    assert all(np.array_equal(by_adapter[stem].mask, by_model[stem].mask) for stem in by_model)
    assert any(not np.array_equal(by_adapter[stem].mask, by_source[stem].mask) for stem in by_source)
    assert json.loads((tmp_path / "a" / "masks.json").read_text())["sam_adapter"] == str(adapter)
    # Without the adapter the masks in the folder are another model's: they are found again.
    again = find_masks(photos, out_dir=tmp_path / "a", **settings)
    assert all(np.array_equal(again[stem].mask, by_source[stem].mask) for stem in by_source)


def test_automatic_masks_take_it(tmp_path, adapted):
    adapter, merged = adapted
    pixels = read_photos(album(tmp_path)[0])[0].pixels
    few = AutomaticParameters(points_per_side=3, pred_iou_thresh=0.2, stability_score_thresh=0.2)
    found = [
        automatic_masks(one, one.encode(pixels), few)
        for one in (Segmenter.load("toy", adapter=adapter), Segmenter.load(merged))
    ]
    assert [one.box for one in found[0]] == [one.box for one in found[1]]
    assert found[0]


def test_training_and_segment_have_the_flag(tmp_path, adapted, capsys):
    adapter, _ = adapted
    assert parse(["--use_persam", "--sam_adapter", str(adapter)]).model.sam_adapter == adapter
    photos, boxes, _ = album(tmp_path)
    box = [str(value) for value in json.loads(boxes.read_text())["00.png"]]
    options = ["--reference_box", *box, "--min_confidence", "0", "--out", str(tmp_path / "out")]
    main(["segment", "--photos", str(photos), "--sam_adapter", str(adapter), *options])
    assert "masks, masks.json" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["segment", "--photos", str(photos), "--sam_adapter", "none.safetensors", *options])
    assert capsys.readouterr().err == (
        "error: --sam_adapter none.safetensors: no such file; an adapter that `persam-dreambooth adapt-sam` "
        "wrote is needed. Check the path.\n"
    )


def test_the_stage_says_a_missing_adapter_before_it_writes(tmp_path):
    photos = read_photos(album(tmp_path)[0])
    with pytest.raises(UserError, match=r"^--sam_adapter none: no such file"):
        find_masks(photos, out_dir=tmp_path / "out", sam_adapter="none", reference_box=(10, 10, 60, 60))
    assert not (tmp_path / "out").exists()


def test_the_command_line_reaches_the_settings(tmp_path, capsys):
    photos, boxes, _ = album(tmp_path)
    options = "--iterations 1 --teacher_grad false --gradient_checkpointing true --loss_weights 1 2 3 4 5"
    out = tmp_path / "out"
    options = [*options.split(), "--photos", str(photos), "--boxes", str(boxes), "--out", str(out)]
    main(["adapt-sam", *options])
    assert capsys.readouterr().out.endswith(f"adapter: {out / 'sam_adapter.safetensors'}\n")
    settings = json.loads((out / "adapt.json").read_text())["settings"]
    assert (settings["teacher_grad"], settings["gradient_checkpointing"]) == (False, True)
    assert settings["loss_weights"] == [1, 2, 3, 4, 5]
