"""--sam_adapter wherever --sam is: the same masks as by the whole model that --merge writes."""

import json

import numpy as np
import pytest
from PIL import Image
from sam_models import scene
from video_cases import clip, save_clip
from wesam_cases import album, branches_of, stirred

from persam_dreambooth.cli import main
from persam_dreambooth.config import parse
from persam_dreambooth.dreambooth import find_subject
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.clip import Frame
from persam_dreambooth.masks.stage import find_masks
from persam_dreambooth.photos import read_photos, write_mask
from persam_dreambooth.run import RunFolder
from persam_dreambooth.sam.adaptation.adapter_file import base_digest, write_adapter
from persam_dreambooth.sam.adaptation.lora import lora_weights
from persam_dreambooth.sam.automatic import AutomaticParameters, automatic_masks
from persam_dreambooth.sam.loading import load_model
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.toyworld.scene import render


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


def written(folder):
    """Return the masks, label maps included, of a folder and those in it, by their places."""
    files = sorted(folder.rglob("*.png"))
    assert files
    return {str(path.relative_to(folder)): np.asarray(Image.open(path)) for path in files}


def by_both(words, folder, adapted):
    """Run a command with the adapter, with the whole model (the same), with neither; return the masks."""
    adapter, merged = adapted
    flags = {"a": ["--sam_adapter", str(adapter)], "b": ["--sam", merged], "c": []}
    for name, flag in flags.items():
        main([*words, *flag, "--out", str(folder / name)])
    by_adapter, by_model, by_source = (written(folder / name) for name in flags)
    assert by_adapter.keys() == by_model.keys()
    assert all(np.array_equal(value, by_model[name]) for name, value in by_adapter.items())
    return by_adapter, by_source


def assert_other(by_adapter, by_source):
    """The adapter has changed some mask."""
    assert not all(np.array_equal(value, by_source.get(name)) for name, value in by_adapter.items())


def test_videos_take_it(tmp_path, adapted):
    scene = render("cat", "beach", 7, 0)
    save_clip(tmp_path / "clip", [Frame(name, scene.image) for name in ("00", "01")])
    write_mask(tmp_path / "mask.png", scene.mask)
    words = ["segment", "--video", str(tmp_path / "clip"), "--reference_mask", str(tmp_path / "mask.png")]
    by_both(words, tmp_path, adapted)
    told = [json.loads((tmp_path / name / "video.json").read_text()) for name in "abc"]
    assert told[0]["sam_adapter"] == str(adapted[0])
    # What SAM says of every frame.
    assert told[0]["frames"] == told[1]["frames"] != told[2]["frames"]


def test_several_subjects_take_it(tmp_path, adapted):
    photos, _, masks = album(tmp_path)
    corner = np.zeros_like(masks[0])
    corner[4:24, 4:30] = True
    for name, mask in (("disc", masks[0]), ("corner", corner)):
        write_mask(tmp_path / name / "00.png", mask)
    named = [f"{name}={tmp_path / name / '00.png'}" for name in ("disc", "corner")]
    words = ["segment", "--photos", str(photos), "--min_confidence", "0", "--subjects", *named]
    assert_other(*by_both(words, tmp_path, adapted))
    assert json.loads((tmp_path / "a" / "disc" / "masks.json").read_text())["sam_adapter"] == str(adapted[0])


def perseg(folder):
    """Write three photos of an object, and their masks, as PerSeg has them; return the folder."""
    for number in range(3):
        pixels, mask = scene(96, 128, seed=number)
        (folder / "Images" / "disc").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "Images" / "disc" / f"{number:02}.jpg")
        write_mask(folder / "Annotations" / "disc" / f"{number:02}.png", mask)
    return folder


def test_evaluating_masks_takes_it(tmp_path, adapted):
    assert_other(*by_both(["evaluate-masks", "--data", str(perseg(tmp_path / "data"))], tmp_path, adapted))
    assert json.loads((tmp_path / "a" / "evaluation.json").read_text())["sam_adapter"] == str(adapted[0])


def test_training_takes_it(tmp_path, adapted):
    photos, boxes, _ = album(tmp_path)
    box = [str(value) for value in json.loads(boxes.read_text())["00.png"]]
    words = ["--use_persam", "--instance_data_dir", str(photos), "--reference_box", *box]
    words += ["--min_confidence", "0"]
    found = []
    for name, flags in (("a", ["--sam_adapter", str(adapted[0])]), ("b", ["--sam", adapted[1]])):
        run = RunFolder(tmp_path / name)
        config = parse([*words, *flags])
        found.append(find_subject(read_photos(photos), config, run, None, latent_side=8, device="cpu"))
    assert all(np.array_equal(found[0][stem].mask, mask.mask) for stem, mask in found[1].items())
    told = json.loads((tmp_path / "a" / "masks" / "masks.json").read_text())
    assert told["sam_adapter"] == str(adapted[0])


@pytest.mark.parametrize(
    "words",
    [
        ["segment", "--video", "clip", "--reference_mask", "mask.png"],
        ["evaluate-masks", "--data", "data"],
    ],
)
def test_an_adapter_that_is_none_is_said_before_anything_is_written(tmp_path, words, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames, masks = clip(2, (96, 128))
    save_clip(tmp_path / "clip", frames)
    write_mask(tmp_path / "mask.png", masks[0])
    perseg(tmp_path / "data")
    (tmp_path / "text").write_text("no adapter")
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--out", "out", "--sam_adapter", "text"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: --sam_adapter text: cannot be read (")
    assert not (tmp_path / "out").exists()
