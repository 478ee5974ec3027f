"""What a comparison keeps on disk and reads from runs: features, curves, masks, samples."""

import json

import numpy as np
import pytest
from comparison_cases import write_album, write_run
from PIL import Image

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.album import read_album
from persam_dreambooth.leakage.feature_cache import KeptFeatures, kept
from persam_dreambooth.leakage.features import load_features
from persam_dreambooth.leakage.planning import compared_with, known_sample
from persam_dreambooth.leakage.provenance import poorly_seen
from persam_dreambooth.leakage.training_record import proof_of, training_of
from persam_dreambooth.photos import sample_images


@pytest.fixture
def album(tmp_path):
    write_album(tmp_path)
    return read_album(tmp_path / "photos", tmp_path / "masks")


class Counted:
    """Features that count how often they are asked."""

    name, version, digest, num_features = "counted", 1, "digest", 22

    def __init__(self):
        self.asked, self._ct = 0, load_features("ct")

    def cells(self, pixels, mask):
        self.asked += 1
        return self._ct.cells(pixels, mask)

    def subject(self, pixels, mask):
        self.asked += 1
        return self._ct.subject(pixels, mask)


def test_features_are_computed_once_and_come_back_to_the_bit(album, tmp_path):
    features = Counted()
    pixels, mask = album.pairs[0]
    for _ in range(2):
        # A new object, as in another process.
        stored = KeptFeatures(features, tmp_path / "kept")
        cells, subject = stored.cells(pixels, mask), stored.subject(pixels, mask)
        truth = features._ct.cells(pixels, mask)
        assert np.array_equal(cells.vectors, truth.vectors)
        assert cells.vectors.dtype == truth.vectors.dtype
        assert np.array_equal(cells.is_background, truth.is_background)
        assert np.array_equal(subject, features._ct.subject(pixels, mask))
    assert features.asked == 2
    stored.cells(pixels, None)
    stored.cells(album.pairs[1][0], mask)
    assert features.asked == 4
    features.digest = "other weights"
    KeptFeatures(features, tmp_path / "kept").cells(pixels, mask)
    assert features.asked == 5


def test_what_is_faster_to_compute_is_not_kept(tmp_path):
    features = load_features("ct")
    assert kept(features, tmp_path) is features


def test_what_a_run_says_of_its_training(tmp_path):
    run = write_run(tmp_path / "run", steps=(1, 2))
    assert training_of(run) == {
        "losses": [[1, 0.5], [2, 0.5]],
        "background_advantage": [],
        "background_influence": None,
    }
    assert proof_of(run) is None
    measured = {
        "background_advantage": 0.2,
        "background_advantage_low": 0.0,
        "background_advantage_high": 0.1,
    }
    with open(run / "log.jsonl", "a") as file:
        file.write(json.dumps({"step": 3, "loss": 0.25, **measured}) + "\n")
    (run / "background.json").write_text(json.dumps({"background_influence": 0.5}))
    told = training_of(run)
    assert told["losses"][-1] == [3, 0.25]
    assert told["background_advantage"] == [[3, 0.2, 0.0, 0.1]]
    assert told["background_influence"] == 0.5
    certificate = {"nan_canary": "pass", "weights_sha256": ["a", "a"], "background_influence": 0}
    (run / "certificate.json").write_text(json.dumps(certificate))
    assert proof_of(run) == certificate
    assert training_of(run)["background_influence"] == 0


def test_masks_know_where_they_came_from(tmp_path):
    write_album(tmp_path)
    masks = tmp_path / "masks"
    album = read_album(tmp_path / "photos", masks)
    assert album.references == ("00",)
    assert album.sam is None
    assert {mask.source for mask in album.masks.values()} == {"given"}
    own = album.masks["01"]
    record = {
        "sam": "some/sam",
        "references": [{"photo": "02.png", "source": "given", "hint": "02.mask.png"}],
        "masks": {stem: told(album.masks[stem], "persam_f") for stem in ("01", "02")},
        "left_out": {"00": {**told(own, ""), "reason": "not there"}},
    }
    (masks / "masks.json").write_text(json.dumps(record))
    (masks / "00.png").unlink()
    album = read_album(tmp_path / "photos", masks)
    assert album.left_out == ("00.png",)
    assert [photo.stem for photo in album.photos] == ["01", "02"]
    assert album.references == ("02",)
    assert album.sam == "some/sam"
    assert album.masks["01"].source == "persam_f"
    record["masks"]["01"]["digest"] = "of another mask"
    (masks / "masks.json").write_text(json.dumps(record))
    assert read_album(tmp_path / "photos", masks).masks["01"].source == "edited"


def told(mask, source):
    """An entry of masks.json."""
    known = {name: value for name, value in vars(mask).items() if name != "mask"}
    return known | {"source": source, "photo": f"{mask.stem}.png", "photo_digest": "", "inputs": ""}


def test_the_toys_own_photos_are_known(album, tmp_path):
    assert known_sample(album) is None
    folder = sample_images("cat")
    for path in folder.glob("0?.png"):
        size = 256
        mask = np.zeros((size, size), np.uint8)
        mask[100:150, 100:150] = 255
        (tmp_path / "cat").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "cat" / path.name)
    assert known_sample(read_album(folder, tmp_path / "cat")).subject == "cat"


def test_who_is_compared_with_whom():
    assert compared_with(None, ["a", "plain"]) == "plain"
    assert compared_with(None, ["a", "b"]) == "a"
    assert compared_with("b", ["a", "b"]) == "b"
    with pytest.raises(UserError, match=r"^--minus bb: no model has this name; one of aa, bbb is needed"):
        compared_with("bb", ["aa", "bbb"])


def test_a_measure_that_does_not_see_planted_leaks_is_warned_of():
    assert poorly_seen(None) == []
    assert poorly_seen({"gates_failed": 0, "smallest_share": 0.1}) == []
    (half,) = poorly_seen({"gates_failed": 3, "smallest_share": 0.5})
    assert half.startswith("3 of the checks with leaks planted")
    assert "the smallest found reliably is 50% of it" in half
    (never,) = poorly_seen({"gates_failed": 4, "smallest_share": None})
    assert "none is found reliably" in never
