"""Trackers: which ones are told, what they are told, and the words where there are none."""

import numpy as np
import pytest
from accelerate import Accelerator, tracking
from PIL import Image

from persam_dreambooth.diffusion import trackers
from persam_dreambooth.errors import UserError


class Notebook(tracking.GeneralTracker):
    """A tracker that keeps what it is told, as a person may register one with accelerate."""

    name = "notebook"
    requires_logging_directory = False

    def __init__(self, run_name, **options):
        super().__init__()
        self.run_name, self.settings, self.values, self.pictures = run_name, None, [], []

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step=None, **options):
        self.values.append((step, values))

    def log_images(self, values, step=None, **options):
        self.pictures.append((step, values, options))


@pytest.fixture
def installed(monkeypatch):
    """Set which packages can be found."""

    def set_to(*names):
        monkeypatch.setattr(
            trackers.importlib.util, "find_spec", lambda name: name if name in names else None
        )

    return set_to


def test_tensorboard_where_it_is_installed_else_a_word(installed):
    installed("tensorboard")
    assert trackers.chosen_trackers(None) == (["tensorboard"], "")
    installed("tensorboardX", "wandb")
    assert trackers.chosen_trackers(None) == (["tensorboard"], "")
    installed("wandb")
    names, word = trackers.chosen_trackers(None)
    assert names == []
    assert "no tracker: tensorboard is not installed; the losses are in log.jsonl" in word


def test_all_is_what_is_installed_and_none_is_none(installed):
    installed("wandb", "tensorboard")
    assert trackers.chosen_trackers("all") == (["tensorboard", "wandb"], "")
    assert trackers.chosen_trackers("none") == ([], "")
    assert trackers.chosen_trackers("wandb, tensorboard") == (["wandb", "tensorboard"], "")
    installed()
    assert trackers.chosen_trackers("all") == (
        [],
        "no tracker: none is installed; the losses are in log.jsonl",
    )


def test_a_tracker_that_was_asked_for_must_be_there(installed):
    installed("tensorboard")
    with pytest.raises(
        UserError,
        match=r"--report_to wandb: the package wandb is not installed.*pip install wandb, or --repo",
    ):
        trackers.chosen_trackers("wandb")
    with pytest.raises(UserError, match=r"--report_to tensorbord: unknown; aim.* Did you mean tensorboard\?"):
        trackers.chosen_trackers("tensorbord")


def test_what_a_tracker_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "notebook", Notebook)
    accelerator = Accelerator()
    accelerator.log_with = ["notebook"]
    trackers.start_trackers(
        accelerator, "dreambooth", {"seed": 0, "lr": 1e-4, "flip": True, "mask": None, "masks": ["a", "b"]}
    )
    (notebook,) = accelerator.trackers
    assert notebook.run_name == "dreambooth"
    assert notebook.settings == {
        "seed": 0,
        "lr": 1e-4,
        "flip": True,
        "mask": "None",
        "masks": "['a', 'b']",
    }
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (6, 4), (number, 0, 0)).save(paths[-1])
    trackers.track_pictures(accelerator, "validation", paths, 3)
    ((step, values, options),) = notebook.pictures
    assert (step, options) == (3, {})
    assert values["validation"].shape == (2, 4, 6, 3)
    assert (values["validation"][1, ..., 0] == 1).all()


def test_without_trackers_no_picture_is_opened(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(Image, "open", opened.append)
    trackers.track_pictures(Accelerator(), "validation", [tmp_path / "missing.png"], 1)
    assert opened == []


def test_tensorboard_gets_pictures_and_settings_in_its_own_form(tmp_path):
    pytest.importorskip("torch.utils.tensorboard", exc_type=ImportError)
    accelerator = Accelerator(log_with=["tensorboard"], project_dir=tmp_path)
    trackers.start_trackers(accelerator, "dreambooth", {"masks": ["a"], "nothing": None})
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")
    accelerator.log({"loss": 0.5}, step=1)
    trackers.track_pictures(accelerator, "validation", [tmp_path / "a.png"], 1)
    accelerator.end_training()
    assert list((tmp_path / "dreambooth").rglob("events.out.tfevents.*"))
