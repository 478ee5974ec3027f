"""DiffSeg as the mask stage, as what proposes a reference, and as a command; and what it refuses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sam_models import random_sam
from tiny_pipelines import KINDS, tiny_models

from persam_dreambooth.cli import main
from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.models import load_models
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.candidates import candidates_of
from persam_dreambooth.masks.diffseg.segmentation import DiffSeg
from persam_dreambooth.masks.diffseg.source import Source
from persam_dreambooth.masks.diffseg.things import DiffSegThings, low_res_logits, thing_of
from persam_dreambooth.masks.stage import find_masks
from persam_dreambooth.photos import Photo, array_digest, read_photos, sample_images
from persam_dreambooth.sam.segmenter import Segmenter
from persam_dreambooth.settings import DiffSegConfig, MaskConfig
from persam_dreambooth.toyworld.scene import render


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def source(noun="cat", **settings):
    return Source(lambda: load_models("toy"), noun, DiffSegConfig(**settings))


@pytest.fixture
def album(tmp_path):
    """Return a folder of two photos of a cat of the toy world."""
    folder = tmp_path / "cat"
    folder.mkdir()
    for number, place in enumerate(("beach", "kitchen")):
        Image.fromarray(render("cat", place, 7, number, size=96).image).save(folder / f"{number}.png")
    return folder


def run(album, diffseg, **options):
    arguments = {"out_dir": album.parent / "masks", "method": "diffseg", "min_confidence": 0}
    return find_masks(read_photos(album), diffseg=diffseg, **{**arguments, **options})


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_segments_photos_of_any_shape(kind):
    models = tiny_models(kind)
    processors = dict(models.unet.attn_processors)
    diffseg = DiffSeg(models, DiffSegConfig(diffseg_anchors=4))
    segments = diffseg.segment(photo(24, 48), "a photo of a cat")
    labels = segments.labels()
    assert labels.shape == (24, 48)
    assert labels.min() >= 0
    assert torch.allclose(segments.proposals.sum(dim=1), torch.tensor(1.0), atol=1e-5)
    assert segments.of_tokens
    assert models.unet.attn_processors == processors
    again = diffseg.segment(photo(24, 48), None)
    assert torch.equal(again.proposals, segments.proposals)
    assert not again.of_tokens


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_crops_leave_out_what_they_cut_off(fit):
    diffseg = DiffSeg(
        tiny_models(), DiffSegConfig(diffseg_fit=fit, diffseg_noise=True, diffseg_auto_tau=True)
    )
    labels = diffseg.segment(photo(24, 48)).labels()
    assert (labels[:, :12] == -1).all() == (fit == "crop")
    assert (labels[:, 12:36] >= 0).all()
    assert labels.shape == (24, 48)


def test_the_stage_writes_masks_and_keeps_them(album, monkeypatch):
    diffseg = source()
    masks = run(album, diffseg)
    assert {stem: mask.source for stem, mask in masks.items()} == {"0": "diffseg", "1": "diffseg"}
    for number, place in enumerate(("beach", "kitchen")):
        truth = render("cat", place, 7, number, size=96).mask
        mask = masks[str(number)].mask
        assert mask.shape == truth.shape
        assert (mask & truth).sum() / truth.sum() > 0.5
        assert set(masks[str(number)].confidence_parts) == {"score", "lead", "noun"}
    record = json.loads((album.parent / "masks" / "masks.json").read_text())
    assert (record["method"], record["noun"]) == ("diffseg", "cat")

    # Without the method it needs, a second look would fail.
    monkeypatch.delattr(DiffSeg, "segment")
    assert run(album, diffseg) == masks
    with pytest.raises(AttributeError, match="segment"):
        run(album, source("dog"))


def test_photos_of_which_it_is_unsure_are_left_out_with_the_reason(album, monkeypatch):
    with pytest.raises(UserError, match=r"--min_confidence 0.999: each of the 2 photos was left out"):
        run(album, source(), min_confidence=0.999)
    left = json.loads((album.parent / "masks" / "masks.json").read_text())["left_out"]
    assert "unsure which segments" in left["0"]["reason"] or "no segment stands out" in left["0"]["reason"]
    # That is remembered: the same call segments nothing again, for which it would need the method.
    monkeypatch.delattr(DiffSeg, "segment")
    with pytest.raises(UserError, match=r"each of the 2 photos was left out"):
        run(album, source(), min_confidence=0.999)


def test_a_given_mask_stays(album):
    mask = np.zeros((96, 96), np.uint8)
    mask[:20] = 255
    Image.fromarray(mask).save(album / "0.mask.png")
    masks = run(album, source())
    assert masks["0"].source == "given"
    assert np.array_equal(masks["0"].mask, mask > 0)


def test_without_a_noun_it_says_what_decides(album, capsys):
    run(album, source(None))
    assert "--diffseg_noun: nobody says what the subject is called" in "".join(capsys.readouterr())


def test_hints_for_sam_are_refused(album):
    with pytest.raises(UserError, match=r"--reference_box: a hint for SAM, and --mask_method diffseg asks"):
        run(album, source(), reference_box=(1, 1, 9, 9))
    assert not (album.parent / "masks").exists()


def test_sizes_and_timesteps_that_cannot_be_are_refused():
    models = tiny_models()
    factor = models.vae_scale_factor
    with pytest.raises(UserError, match=rf"--diffseg_size {8 * factor + 1}: not a multiple of {factor}"):
        DiffSeg(models, DiffSegConfig(diffseg_size=8 * factor + 1))
    with pytest.raises(UserError, match=r"--diffseg_timestep 1000: out of range; at most 999"):
        DiffSeg(models, DiffSegConfig(diffseg_timestep=1000)).segment(photo(16, 16))
    with pytest.raises(UserError, match=r"photo: 32 x 1 pixels; in the model's square that is less than one"):
        DiffSeg(models, DiffSegConfig()).segment(photo(1, 32))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"diffseg_noun": " "}, r"--diffseg_noun ' ': no word; what the subject is called is needed"),
        ({"diffseg_tau": (0.9, 0.0)}, r"--diffseg_tau 0.0: out of range; a value above 0"),
        ({"diffseg_tau": (0.9,), "diffseg_auto_tau": True}, r"--diffseg_tau and --diffseg_auto_tau: both"),
        ({"diffseg_anchors": 0}, r"--diffseg_anchors 0: out of range; at least 1"),
        ({"diffseg_timestep": -1}, r"--diffseg_timestep -1: out of range"),
        ({"diffseg_size": 4}, r"--diffseg_size 4: out of range; at least 8"),
        ({"diffseg_weights": (1.0, -1.0)}, r"--diffseg_weights -1.0: out of range"),
        ({"diffseg_weights": (0.0, 0.0)}, r"--diffseg_weights: all are 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(UserError, match=text):
        DiffSegConfig(**settings)


def test_the_method_alone_asks_for_masks():
    assert MaskConfig(mask_method="diffseg").wanted
    assert not MaskConfig().wanted
    config = parse(["--mask_method", "diffseg", "--diffseg_tau", "0.9", "1.1", "--proposals", "both"])
    assert config.diffseg.diffseg_tau == (0.9, 1.1)
    assert config.diffseg.proposals == "both"


@pytest.fixture(scope="module")
def things():
    """Return a photo, its embedding, what DiffSeg sees, and the SAM."""
    scene = render("cat", "beach", 7, 0, size=96)
    one = Photo(None, scene.image, array_digest(scene.image))
    one = Photo(sample_images("cat") / "00.png", scene.image, one.digest)
    segmenter = Segmenter(random_sam())
    diffseg = DiffSeg(load_models("toy"), DiffSegConfig())
    return one, segmenter.encode(scene.image), diffseg, segmenter


def test_segments_are_candidates_and_the_word_speaks_for_some(things):
    one, _, diffseg, _ = things
    segmenter = Segmenter.load("toy")

    def found(noun, *, with_sam):
        source = DiffSegThings(diffseg, noun, with_sam=with_sam)
        embedding = segmenter.encode(one.pixels)
        return candidates_of(segmenter, [one], [embedding], max_candidates=99, source=source)

    segments, both = found("cat", with_sam=False), found("cat", with_sam=True)
    assert 0 < len(segments) < len(both)
    assert all(0 < candidate.prior["noun"] < 1 for candidate in both)
    assert all("noun" not in candidate.prior for candidate in found(None, with_sam=False))


def test_a_segment_keeps_its_outline_where_sam_draws_another_thing(things):
    _, embedding, _, segmenter = things
    mask = np.zeros((96, 96), bool)
    mask[30:60, 20:70] = True
    thing = thing_of(segmenter, embedding, mask)
    # A SAM with random weights draws something else.
    assert np.array_equal(thing.mask, mask)
    again = segmenter.mask_logits(low_res_logits(segmenter, embedding, mask)[None], embedding)[0] > 0
    overlap = (again.numpy() & mask).sum() / (again.numpy() | mask).sum()
    assert overlap > 0.85


def test_the_command_writes_map_labels_mask_and_numbers(album, capsys):
    out = album.parent / "out"
    caption = ["--caption", "a photo of a cat on a beach", "--diffseg_noun", "cat"]
    main(["diffseg", str(album / "0.png"), "--out", str(out), *caption])
    assert "subject" in capsys.readouterr().out
    told = json.loads((out / "0.json").read_text())
    assert {segment["noun"] for segment in told["segments"]} <= {"cat", "beach"}
    assert sum(segment["area_fraction"] for segment in told["segments"]) == pytest.approx(1, abs=1e-3)
    labels = np.asarray(Image.open(out / "0.labels.png"))
    assert {segment["number"] for segment in told["segments"]} == set(labels.flat)
    chosen = [segment["number"] for segment in told["segments"] if segment["is_subject"]]
    assert np.asarray(Image.open(out / "0.mask.png")).shape == (96, 96)
    # The legend is below the photo.
    assert np.asarray(Image.open(out / "0.png")).shape[0] > 96
    main(
        ["diffseg", str(album / "0.png"), "--out", str(out), "--pick", str(chosen[0]), "--voting", "majority"]
    )
    with pytest.raises(SystemExit):
        main(["diffseg", str(album / "0.png"), "--out", str(out), "--pick", "77"])
    assert "--pick 77: no such segment; one of those in the map is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--caption", "a cat", "--nouns", "dog"], "--nouns dog: not in the prompt 'a cat'"),
        (["--nouns", "dog"], "--nouns dog: words of a caption, which is missing"),
        (["--caption", " "], "--caption: empty; what is in the photo is needed"),
        (["--caption", "a cat", "--diffseg_noun", "dog"], "--diffseg_noun dog: not in the prompt 'a cat'"),
        (["--model", "./nowhere"], "--model ./nowhere: no such folder"),
    ],
)
def test_the_command_refuses(album, words, text, capsys):
    with pytest.raises(SystemExit) as exit_code:
        main(["diffseg", str(album / "0.png"), "--out", str(album / "out"), *words])
    error = capsys.readouterr().err
    assert exit_code.value.code == 2
    assert text in error
    assert error.count("\n") == 1
    assert not (album / "out").exists()


def test_segment_asks_diffseg(album, capsys):
    arguments = ["segment", "--photos", str(album), "--out", str(album.parent / "m"), "--method", "diffseg"]
    main([*arguments, "--diffseg_noun", "cat", "--min_confidence", "0", "--model", "toy"])
    assert "0: diffseg, " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*arguments, "--subjects", "a=b", "c=d"])
    assert "--method diffseg: finds one subject in photos; --subjects needs SAM" in capsys.readouterr().err


def test_segment_proposes_by_diffseg(album, capsys):
    """No hint: what DiffSeg sees is what could be the subject."""
    arguments = ["segment", "--photos", str(album), "--out", str(album.parent / "p"), "--min_confidence", "0"]
    main([*arguments, "--proposals", "diffseg", "--diffseg_noun", "cat", "--reference_choice", "1"])
    assert ": proposed, " in capsys.readouterr().out
    masks = {path.stem: np.asarray(Image.open(path)) > 0 for path in (album.parent / "p").glob("[01].png")}
    for number, place in enumerate(("beach", "kitchen")):
        truth = render("cat", place, 7, number, size=96).mask
        assert (masks[str(number)] & truth).sum() / truth.sum() > 0.5
