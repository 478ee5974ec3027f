"""Whole runs on a random SAM: resuming to the bit, going back to the source, the adapter in use."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from sam_models import random_sam, scene
from wesam_cases import album, branches_of, labelled, stirred

from persam_dreambooth.commands.adapt_sam import WeakLabels, adapt_sam
from persam_dreambooth.errors import UserError
from persam_dreambooth.run import RunFolder
from persam_dreambooth.sam.adaptation import training
from persam_dreambooth.sam.adaptation.adapter_file import base_digest, read_adapter, write_adapter
from persam_dreambooth.sam.adaptation.checkpoint import CHECKPOINT_FILE, Progress
from persam_dreambooth.sam.adaptation.lora import lora_weights, set_lora_weights
from persam_dreambooth.sam.adaptation.training import adapt, begin, should_revert, why_stop
from persam_dreambooth.sam.loading import load_model
from persam_dreambooth.sam.segmenter import Segmenter, model_digest
from persam_dreambooth.settings.adaptation import AdaptConfig
from persam_dreambooth.signals import Interrupted

SHORT = {"iterations": 6, "evaluation_steps": 2, "checkpointing_steps": 4, "learning_rate": 1e-2}


@pytest.fixture
def base(tmp_path):
    """A random SAM's folder."""
    random_sam().save_pretrained(tmp_path / "sam")
    return str(tmp_path / "sam")


def a_run(photos, **settings):
    return begin(random_sam(), photos, AdaptConfig(**{**SHORT, **settings}), Accelerator(cpu=True))


class Killed(BaseException):
    """Stands for a power cut."""


def killed_at(step):
    def on_step(done):
        if done == step:
            raise Killed

    return on_step


@pytest.mark.parametrize("settings", [{}, {"teacher": "ema", "batch_size": 2}, {"teacher_grad": False}])
def test_a_run_that_was_killed_goes_on_to_the_bit(settings, tmp_path):
    photos = labelled(tmp_path)
    whole = adapt(a_run(photos, **settings), RunFolder(tmp_path / "whole"), lambda done: None)
    folder = RunFolder(tmp_path / "parts")
    with pytest.raises(Killed):
        adapt(a_run(photos, **settings), folder, killed_at(5))
    seen = []
    parts = adapt(a_run(photos, **settings), folder, seen.append)
    assert seen == [4, 5, 6]
    assert all(torch.equal(parts.weights[name], value) for name, value in whole.weights.items())
    assert (parts.adapted, parts.progress.looks) == (whole.adapted, whole.progress.looks)
    assert folder.read_log() == RunFolder(tmp_path / "whole").read_log()


def test_a_signal_ends_a_run_after_a_whole_step(tmp_path):
    photos, folder = labelled(tmp_path), RunFolder(tmp_path / "out")

    def on_step(done):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"^step 3 is saved\. Run the same command again to go on\.$"):
        adapt(a_run(photos), folder, on_step)
    seen = []
    adapt(a_run(photos), folder, seen.append)
    assert seen == [3, 4, 5, 6]


def test_a_checkpoint_of_other_settings_is_not_taken(tmp_path):
    photos, folder = labelled(tmp_path), RunFolder(tmp_path / "out")
    adapt(a_run(photos), folder, lambda done: None)
    seen = []
    adapt(a_run(photos, seed=1), folder, seen.append)
    assert seen[0] == 0


@pytest.mark.parametrize("content", [b"", b"half", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(99)])
def test_a_damaged_checkpoint_is_said(content, tmp_path):
    photos, folder = labelled(tmp_path), RunFolder(tmp_path / "out")
    folder.path.mkdir()
    (folder.path / CHECKPOINT_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged \(.+\)\. Remove it and start anew\.$"):
        adapt(a_run(photos), folder, lambda done: None)


def test_poisoned_adapters_are_taken_back(tmp_path):
    run = begin(load_model("toy"), labelled(tmp_path), AdaptConfig(**SHORT), Accelerator(cpu=True))
    rng = torch.Generator().manual_seed(0)
    good = lora_weights(run.adapters)
    poison = {name: 2 * torch.randn(value.shape, generator=rng) for name, value in good.items()}
    result = training._result(run, Progress(step=6, best=0.0, best_weights=poison))
    # By more than the 0.01 that chance may make.
    assert np.mean(result.adapted) < np.mean(result.source) - 0.05
    assert result.reverted
    assert not any(value.any() for name, value in result.weights.items() if name.endswith(".b"))
    assert training.consistencies(run.branches, run.photos, run.plan) == result.source


def test_losses_that_are_no_numbers_end_a_run(tmp_path):
    run = a_run(labelled(tmp_path), learning_rate=1e30)
    with pytest.raises(
        UserError,
        match=r"^--learning_rate 1e\+30: losses or gradients of step \d are no numbers any more; fin",
    ):
        adapt(run, RunFolder(tmp_path / "out"), lambda done: None)
    assert all(value.isfinite().all() for value in lora_weights(run.adapters).values())


def test_going_back_needs_more_than_chance():
    assert should_revert([0.9, 0.9], [0.9, 0.87])
    assert not should_revert([0.9, 0.9], [0.9, 0.885])
    assert not should_revert([0.5], [0.9])


def test_a_run_stops_when_it_drifts_or_stands_still():
    drifting = Progress(step=8, best_step=8, anchor_losses=[0.1] * 4 + [0.16] * 4)
    assert why_stop(drifting, 4) == "the anchor's loss has risen by 0.06"
    assert why_stop(Progress(step=8, best_step=8, anchor_losses=[0.1] * 4 + [0.14] * 4), 4) is None
    assert why_stop(Progress(step=75, best_step=25), 25) == "the last 50 steps brought nothing better"
    assert why_stop(Progress(step=74, best_step=25), 25) is None


def adapted_folder(tmp_path, base, **settings):
    photos, boxes, _ = album(tmp_path)
    options = {"photos": photos, "out": tmp_path / "out", "labels": WeakLabels(boxes=boxes), "sam": base}
    adapt_sam(
        **options,
        config=AdaptConfig(**{**SHORT, "preset": "paper", "input": "sam", **settings}),
        merge=tmp_path / "merged",
    )
    return options


def test_the_command_writes_an_adapter_that_segmenters_take(tmp_path, base, capsys):
    options = adapted_folder(tmp_path, base)
    out = options["out"]
    assert "masks keep to the weak labels by " in capsys.readouterr().out
    path = out / "sam_adapter.safetensors"
    weights = load_file(path)
    assert all(name.split(".")[-1] in "ab" and name.split(".")[-2] in "qv" for name in weights)
    assert sum(value.numel() for value in weights.values()) == 2 * 4 * 4 * 32
    record = json.loads((out / "adapt.json").read_text())
    assert sorted(record["consistency"]) == ["00.png", "01.png", "02.png"]
    assert sorted(each.name for each in (out / "masks").iterdir()) == ["00.png", "01.png", "02.png"]
    pixels, _ = scene(96, 128)
    by_adapter = Segmenter.load(base, adapter=path).encode(pixels).features
    assert torch.equal(by_adapter, Segmenter.load(str(tmp_path / "merged")).encode(pixels).features)
    assert not torch.equal(by_adapter, Segmenter.load(base).encode(pixels).features)
    assert model_digest(base, path) != model_digest(base)


def test_the_same_command_again_does_nothing_again(tmp_path, base, capsys):
    options = adapted_folder(tmp_path, base)
    before = (options["out"] / "sam_adapter.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    adapt_sam(**options, config=AdaptConfig(**{**SHORT, "preset": "paper", "input": "sam"}))
    assert "made from the same photos, labels and settings already" in capsys.readouterr().out
    assert (options["out"] / "sam_adapter.safetensors").stat().st_mtime_ns == before


def an_adapter(path, model, **told):
    write_adapter(
        path,
        lora_weights(stirred(branches_of(model)).adapters),
        {"base": "toy", "base_digest": base_digest(random_sam()), "input": "sam", **told},
    )
    return path


def test_an_adapter_of_another_base_is_refused(tmp_path, base):
    path = an_adapter(tmp_path / "a.safetensors", random_sam())
    Segmenter.load(base, adapter=path)
    random_sam(seed=2).save_pretrained(tmp_path / "other")
    with pytest.raises(
        UserError, match=r"^--sam_adapter \S+: made for another base \(toy\) than --sam \S+other;"
    ):
        Segmenter.load(str(tmp_path / "other"), adapter=path)


def test_an_adapter_that_saw_photos_as_the_authors_feed_them_is_refused(tmp_path, base):
    path = an_adapter(tmp_path / "a.safetensors", random_sam(), input="wesam")
    with pytest.raises(
        UserError, match=r"^--sam_adapter \S+: made with --input wesam, .* again with --input sam"
    ):
        Segmenter.load(base, adapter=path)


def test_files_that_are_no_adapters(tmp_path, base):
    with pytest.raises(UserError, match=r"^--sam_adapter \S+none: no such file; an adapter"):
        Segmenter.load(base, adapter=tmp_path / "none")
    with pytest.raises(UserError, match=r"^--sam_adapter \S+none: no such file; an adapter"):
        model_digest(base, tmp_path / "none")
    (tmp_path / "text").write_text("an adapter")
    with pytest.raises(UserError, match=r"^--sam_adapter \S+text: cannot be read \(.+\); an adapter"):
        read_adapter(tmp_path / "text")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"^--sam_adapter \S+: a safetensors file, but no adapter of a SAM"):
        read_adapter(tmp_path / "other.safetensors")


def test_a_file_comes_back_as_it_went(tmp_path):
    branches = stirred(branches_of())
    path = Path(tmp_path / "a.safetensors")
    write_adapter(path, lora_weights(branches.adapters), {"base": "toy"})
    other = branches_of()
    set_lora_weights(other.adapters, read_adapter(path).weights)
    assert all(
        torch.equal(value, lora_weights(other.adapters)[name])
        for name, value in lora_weights(branches.adapters).items()
    )


def test_without_labels_sam_prompts_itself(tmp_path, capsys):
    photos, _, _ = album(tmp_path)
    config = AdaptConfig(iterations=1, max_masks=2)
    adapt_sam(photos=photos, out=tmp_path / "out", config=config)
    assert "3 of 3 photos have no label: SAM's own automatic prompts are taken" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "adapt.json").read_text())
    assert all(told["automatic"] for told in record["consistency"].values())
    # Its own masks' boxes are what its masks keep to.
    assert min(told["source"] for told in record["consistency"].values()) > 0.5
